"""Files on disk: whole or not there, private, and never where an id does not say."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import StorageUnavailable
from plugins.storage.providers.local import Folder
from plugins.storage.shelf import is_id, new_id
from tests.plugins.storage.kit import files, once

ID = new_id(datetime(2026, 11, 29, 12, tzinfo=UTC))
FULL = Path("/dev/full")
SOON = datetime.now(UTC) + timedelta(days=1)


async def resting(shelf: Folder, since: datetime = SOON) -> list[str]:
    return [id async for ids in shelf.resting(since) for id in ids]


async def test_nothing_has_its_name_before_it_is_whole(tmp_path: Path) -> None:
    shelf = Folder(tmp_path)
    seen: list[list[str]] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 300_000
        seen.append([path.name for path in files(tmp_path)])

    assert await shelf.write(ID, pieces()) == 300_000
    assert seen == [[f"{ID}.part"]]
    assert [path.name for path in files(tmp_path)] == [ID]


async def test_only_its_user_may_read_what_is_kept(tmp_path: Path) -> None:
    shelf = Folder(tmp_path / "objects")
    await shelf.open()
    await shelf.write(ID, once(b"private"))
    [file] = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (file.parent, tmp_path / "objects")} == {0o700}


@given(st.text(max_size=40) | st.sampled_from(["../../etc/passwd", f"{ID}/..", f"{ID}\n", f"/{ID}", ID.upper()]))
def test_what_is_no_id_names_no_file(text: str) -> None:
    if is_id(text):
        return
    with pytest.raises(ValueError, match="no object's id"):
        Folder(Path("objects")).place(text)


async def test_an_id_is_not_written_twice(tmp_path: Path) -> None:
    shelf = Folder(tmp_path)

    async def meanwhile() -> AsyncIterator[bytes]:
        yield b"first"
        with pytest.raises(StorageUnavailable):
            await shelf.write(ID, once(b"second"))

    await shelf.write(ID, meanwhile())
    assert files(tmp_path)[0].read_bytes() == b"first"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
async def test_a_full_disk_is_told_without_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    shelf = Folder(tmp_path)
    place = shelf.place(ID)
    place.parent.mkdir()

    async def pieces() -> AsyncIterator[bytes]:
        fill_the_disk_of(place.with_name(f"{ID}.part"))
        yield b"x" * 1_000_000

    with pytest.raises(StorageUnavailable, match=os.strerror(errno.ENOSPC)) as refusal:
        await shelf.write(ID, pieces())
    assert str(tmp_path) not in refusal.value.message
    assert files(tmp_path) == []


def fill_the_disk_of(draft: Path) -> None:
    """What is written to the open file from here on goes where there is never any room."""
    descriptor = next(int(link.name) for link in Path("/proc/self/fd").iterdir() if leads_to(link, draft))
    full = os.open(FULL, os.O_WRONLY)
    os.dup2(full, descriptor)
    os.close(full)


def leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except OSError:
        return False


async def test_what_is_missing_or_shorter_than_it_was_is_told(tmp_path: Path) -> None:
    shelf = Folder(tmp_path)
    with pytest.raises(StorageUnavailable, match="not there"):
        [piece async for piece in shelf.read(ID, 0, 10)]
    await shelf.write(ID, once(b"x" * 5))
    with pytest.raises(StorageUnavailable, match="shorter"):
        [piece async for piece in shelf.read(ID, 0, 10)]


async def test_what_rests_is_listed_whole_or_in_part_and_nothing_of_others(tmp_path: Path) -> None:
    shelf = Folder(tmp_path)
    await shelf.write(ID, once(b"whole"))
    part = new_id(SOON)
    shelf.place(part).parent.mkdir(exist_ok=True)
    shelf.place(part).with_name(f"{part}.part").write_bytes(b"half")
    (tmp_path / "readme.txt").write_text("the operator's")
    (tmp_path / ID[-2:] / "notes").write_text("the operator's")
    assert sorted(await resting(shelf)) == sorted([ID, part])
    assert await resting(shelf, datetime.now(UTC) - timedelta(hours=1)) == []
    for id in (ID, part, new_id(SOON)):
        await shelf.remove(id)
    assert sorted(path.name for path in files(tmp_path)) == ["notes", "readme.txt"]


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        await Folder(tmp_path / "file" / "objects").open()


@given(st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)), max_size=20))
def test_ids_sort_by_their_time(moments: list[datetime]) -> None:
    ids = [new_id(at) for at in sorted({int(at.timestamp()): at for at in moments}.values())]
    assert ids == sorted(ids) and all(map(is_id, ids))
