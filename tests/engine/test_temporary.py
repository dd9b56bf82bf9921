"""Temporary files: a disk that takes no more is an error of its own, and nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from engine.api import StorageUnavailable, disk_errors, temporary_file, write_temporary


@pytest.fixture
def full() -> Iterator[IO[bytes]]:
    with Path("/dev/full").open("wb", buffering=0) as device:
        yield device


async def test_a_full_disk_is_said_to_be_full(full: IO[bytes]) -> None:
    with pytest.raises(StorageUnavailable, match="the disk for temporary files is full") as caught:
        await write_temporary(full, b"sound")
    assert (caught.value.status, caught.value.retryable) == (503, True)


def test_any_other_refusal_says_why() -> None:
    with pytest.raises(StorageUnavailable, match="cannot be written: Permission denied"), disk_errors():
        raise PermissionError(13, "Permission denied", "/secret/place")


async def test_a_large_file_is_gone_after_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_file() as file:
        await write_temporary(file, bytes(2 << 20))
        assert file.seek(0, os.SEEK_END) == 2 << 20
    assert os.listdir(tmp_path) == []  # noqa: PTH208 (a path's own way is not for coroutines)
