"""The other side of `plugins.vendors.model_process`: what a program that holds a model does with its pipes.

Frames are read by one thread, in order, and what they ask for is done by the model's own threads. The program imports
nothing of the server but this and its model, and lives no longer than its parent.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Protocol

from plugins.vendors.model_frames import (
    END,
    FAILED,
    HEAD,
    LONGEST,
    ORDER,
    PROCESS,
    READY,
    REFUSED,
    TOLD,
    frame,
)

NICENESS = 5
"""The server's own loop goes first."""


class Replies:
    """Frames to the server, from any thread."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._lock = Lock()

    def send(self, number: int, kind: int, payload: bytes = b"") -> None:
        """One frame, whole."""
        with self._lock:
            self._output.write(frame(number, kind, payload))
            self._output.flush()

    def tell(self, number: int, what: dict[str, Any]) -> None:
        """Something of an exchange, as JSON."""
        self.send(number, TOLD, json.dumps(what).encode())

    def end(self, number: int) -> None:
        """An exchange is over."""
        self.send(number, END)

    def fail(self, number: int, reason: str) -> None:
        """An exchange is over before its end."""
        self.send(number, FAILED, reason.encode())


class Service(Protocol):
    """A loaded model."""

    description: dict[str, Any]

    def take(self, number: int, kind: int, payload: bytes) -> None:
        """A frame of an exchange; called by one thread, which reads no further meanwhile."""
        ...


class CannotLoad(Exception):
    """The model cannot be loaded; the text says why, and what would help."""


def run(load: Callable[[dict[str, Any], Replies], Service]) -> int:
    """Load what the first frame orders, then answer until the server closes its end; the status of the program."""
    replies = Replies(_claim_stdout())
    read = sys.stdin.buffer.read
    first = _next(read)
    if first is None or first[1] != ORDER:
        return 2
    order = json.loads(first[2])
    _die_with(order["parent"])
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        service = load(order, replies)
    except CannotLoad as error:
        replies.send(PROCESS, REFUSED, str(error).encode())
        return 1
    replies.send(PROCESS, READY, json.dumps(service.description).encode())
    while (came := _next(read)) is not None:
        service.take(*came)
    # Threads that still compute would only delay an end that nobody waits for.
    os._exit(0)


def check_files(folder: Path, sha256: Mapping[str, str]) -> None:
    """Raise `CannotLoad` where a file is not the one that is known by its hash."""
    for name, known in sha256.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CannotLoad(f"{path} cannot be read: {error.strerror}") from None
        if found != known:
            raise CannotLoad(f"{path} is not the file that is known by this name: its SHA-256 is {found[:16]}…")


def _next(read: Callable[[int], bytes]) -> tuple[int, int, bytes] | None:
    head = read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    number, kind, size = HEAD.unpack(head)
    payload = read(size) if size <= LONGEST else b""
    return (number, kind, payload) if len(payload) == size else None


def _claim_stdout() -> BinaryIO:
    """Keep standard output for frames; what native code prints goes to standard error."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def _die_with(parent: int) -> None:
    """Have Linux kill this process with its parent, also while the model loads; elsewhere the end of input does it."""
    if sys.platform != "linux":
        return
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(0)
