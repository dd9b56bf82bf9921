"""Objects as files of one folder: written aside, made to last, and only then put in their place."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO

import structlog

from engine.api import StorageUnavailable
from plugins.storage.shelf import is_id

log = structlog.get_logger(__name__)

_PIECE = 256 << 10
"""Bytes that go to or from the disk at a time: a thread is asked for each."""

_BATCH = 500
_DRAFT = ".part"


class Folder:
    """Implements `Shelf`. Only the user of this process may read what lies here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> None:
        await asyncio.to_thread(_make, self._folder)

    async def write(self, id: str, pieces: AsyncIterator[bytes]) -> int:
        place = self.place(id)
        draft = place.with_name(f"{id}{_DRAFT}")
        with _told("kept"):
            file = await asyncio.to_thread(_begin, draft)
        size, waiting = 0, bytearray()
        try:
            async for piece in pieces:
                size += len(piece)
                waiting += piece
                if len(waiting) >= _PIECE:
                    full, waiting = waiting, bytearray()
                    with _told("kept"):
                        await asyncio.to_thread(file.write, full)
            with _told("kept"):
                await asyncio.to_thread(_finish, file, bytes(waiting), draft, place)
        except BaseException:
            # Nothing is awaited here: a second cancel would leave the draft behind.
            draft.unlink(missing_ok=True)
            raise
        finally:
            _close(file)
        return size

    async def read(self, id: str, start: int, end: int) -> AsyncIterator[bytes]:
        with _told("read"):
            file = await asyncio.to_thread(_open_at, self.place(id), start)
        try:
            while start < end:
                with _told("read"):
                    piece = await asyncio.to_thread(file.read, min(_PIECE, end - start))
                if not piece:
                    raise StorageUnavailable("the file of this object is shorter than it was")
                start += len(piece)
                yield piece
        finally:
            file.close()

    async def remove(self, id: str) -> None:
        place = self.place(id)
        with _told("removed"):
            for path in (place, place.with_name(f"{id}{_DRAFT}")):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def resting(self, since: datetime) -> AsyncIterator[Sequence[str]]:
        found = _resting(self._folder, since.timestamp())
        with _told("listed"):
            while ids := await asyncio.to_thread(lambda: list(islice(found, _BATCH))):
                yield ids

    def place(self, id: str) -> Path:
        """Where the file of an object lies; raises `ValueError` for what is no id."""
        if not is_id(id):
            raise ValueError(f"{id!r} is no object's id, so it names no file")
        # The last digits are random, and spread the files over 256 folders.
        return self._folder / id[-2:] / id


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raise the disk's errors as ours; the operator's log has the path, the caller's error has not."""
    try:
        yield
    except FileNotFoundError:
        raise StorageUnavailable(f"the object cannot be {what}: its file is not there") from None
    except OSError as error:
        log.error("objects_folder_failed", doing=what, path=error.filename, error=error.strerror)
        raise StorageUnavailable(f"the object cannot be {what}: {error.strerror or type(error).__name__}") from None


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ValueError(f"the folder {folder} cannot be written; [plugins.storage] folder names another")


def _begin(draft: Path) -> IO[bytes]:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _finish(file: IO[bytes], rest: bytes, draft: Path, place: Path) -> None:
    """Have the file outlast a loss of power before it has its name, and its name after."""
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())
    draft.rename(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _close(file: IO[bytes]) -> None:
    try:
        file.close()
    except OSError:
        pass  # a full disk was told when it was written to


def _open_at(place: Path, start: int) -> IO[bytes]:
    file = place.open("rb")
    file.seek(start)
    return file


def _resting(folder: Path, since: float) -> Iterator[str]:
    for inner in folder.iterdir():
        for path in inner.iterdir() if inner.is_dir() else ():
            id = path.name.removesuffix(_DRAFT)
            if is_id(id) and _written(path) < since:
                yield id


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf  # it went, or got its name, while others were looked at
