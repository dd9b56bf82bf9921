"""Temporary files: in memory while they are small, and a full disk is an error that says so."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from engine.api.errors import StorageUnavailable

_IN_MEMORY = 1 << 20
"""Bytes of a file that stay in memory; a larger one goes to disk."""


@contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """A file that is gone after the block."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (closed below)
    try:
        yield file
    finally:
        # What is still to be written has no place on a full disk, and is not wanted any more.
        with suppress(OSError):
            file.close()


async def write_temporary(file: IO[bytes], data: bytes) -> None:
    """Write in a thread; raises `StorageUnavailable` where the disk takes no more."""
    with disk_errors():
        await asyncio.to_thread(file.write, data)


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the system says in the block when a temporary file cannot be written, as `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = (
            "the disk for temporary files is full" if full else f"a temporary file cannot be written: {error.strerror}"
        )
        raise StorageUnavailable(reason) from None
