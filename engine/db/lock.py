"""Keeps an embedded database to one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from engine.db.errors import DatabaseInUse


class ProcessLock:
    """An exclusive lock on `<database>.lock`; the system drops it when the process dies, however it dies."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once, or raise DatabaseInUse with the pid that holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DatabaseInUse(
                f"The database {self._database} is in use by process {holder} (lock file {self._path}). "
                "Stop that process, or give this one another file, by its address under [databases] "
                "(BETTERAI__DATABASES__DEFAULT for the default one)."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
