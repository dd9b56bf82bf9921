"""The name under which a process owns its turns, and whether the process of such a name lives or is dead for certain."""

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
_NAME = re.compile(r".*-(?P<place>[0-9a-f]{10})-(?P<pid>[0-9]{1,10})(?:-(?P<began>[0-9]{1,12}))?-[0-9a-f]{8}")


def owner_name() -> str:
    """A name for this process, of at most 64 characters: its host, where its process id counts, the id, when the process
    began, and a random part."""
    began = _began(os.getpid())
    known = "" if began is None else f"-{began}"
    return f"{socket.gethostname()[:20]}-{place() or 'unknown'}-{os.getpid()}{known}-{secrets.token_hex(4)}"


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


def _began(pid: int) -> int | None:
    """When a process began, in the system's ticks since its boot: an id is given again, not to one that began at the same
    moment. None where the system does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(told.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def is_dead(owner: str) -> bool:
    """True only where the process was one of this place, and its id is nobody's any more, or another's; else its lease
    decides."""
    found = _here(owner)
    if found is None:
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    began = _began(int(found["pid"]))
    return found["began"] is not None and began is not None and began != int(found["began"])


def is_alive(owner: str) -> bool:
    """True only where the process is one of this place and runs: whatever its lease says, its turns are its own."""
    found = _here(owner)
    if found is None or found["began"] is None or is_dead(owner):
        return False
    return _began(int(found["pid"])) == int(found["began"])


def _here(owner: str) -> re.Match[str] | None:
    found = _NAME.fullmatch(owner)
    return found if found is not None and place() is not None and found["place"] == place() else None
