"""The name under which a process owns its turns, and whether the process of such a name is dead for certain."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from functools import cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PIDS = Path("/proc/self/ns/pid")
_NAME = re.compile(r".*-(?P<place>[0-9a-f]{10})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}")


def owner_name() -> str:
    """A name for this process, of at most 64 characters: its host, where its process id counts, the id, and a random part."""
    return f"{socket.gethostname()[:30]}-{place() or 'unknown'}-{os.getpid()}-{secrets.token_hex(4)}"


@cache
def place() -> str | None:
    """This boot of this machine and the namespace of process ids, None where the system does not tell.

    Two processes of one place see each other by their ids; a host's name does not promise that, as containers may share one.
    """
    try:
        told = f"{_BOOT.read_text().strip()} {_PIDS.readlink()}"
    except OSError:
        return None
    return hashlib.sha256(told.encode()).hexdigest()[:10]


def is_dead(owner: str) -> bool:
    """True only where the process was one of this place, and its id is nobody's any more; else its lease decides."""
    found = _NAME.fullmatch(owner)
    if found is None or place() is None or found["place"] != place():
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
