"""Each owner's tables follow its own history, which can be run again wherever it stopped."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table, inspect

from engine.api.columns import Json, Key, LongText, UtcDateTime
from engine.db.databases import Database, Databases
from engine.db.errors import MigrationFailed, MigrationHistoryInvalid
from engine.db.history import Migrations
from engine.db.migrations import Pending, pending, upgrade
from engine.testing.migrations import migration_differences
from tests.databases import drop_all_tables

FIRST = """
from alembic import op
from sqlalchemy import Column, Integer
from engine.api.revisions import create_table_if_missing
from engine.api.columns import Json, Key, LongText, UtcDateTime

revision = "{owner}_1"
down_revision: str | None = None


def upgrade() -> None:
    create_table_if_missing(
        "{owner}_notes",
        Column("id", Key(), primary_key=True),
        Column("count", Integer, nullable=False),
        Column("at", UtcDateTime),
        Column("data", Json),
    )
"""

SECOND = """
from sqlalchemy import Column
from engine.api.revisions import add_column_if_missing, create_index_if_missing, create_table_if_missing
from engine.api.columns import Key, LongText

revision = "{owner}_2"
down_revision = "{owner}_1"


def upgrade() -> None:
    add_column_if_missing("{owner}_notes", Column("text", LongText))
    {fault}
    create_index_if_missing("{owner}_notes_count", "{owner}_notes", ["count"])
"""


def metadata(owner: str) -> MetaData:
    described = MetaData()
    Table(
        f"{owner}_notes",
        described,
        Column("id", Key(), primary_key=True),
        Column("count", Integer, nullable=False),
        Column("at", UtcDateTime),
        Column("data", Json),
        Column("text", LongText),
        Index(f"{owner}_notes_count", "count"),
    )
    return described


def history(folder: Path, owner: str = "notes", *, revisions: int = 2, fault: str = "") -> Migrations:
    path = folder / f"{owner}_{revisions}_{'broken' if fault else 'whole'}"
    path.mkdir()
    (path / "__init__.py").write_text('"""The migrations."""\n')
    for number, source in enumerate((FIRST, SECOND)[:revisions], start=1):
        filled = source.replace("{owner}", owner).replace("{fault}", fault)
        (path / f"{number:04}_{owner}.py").write_text(filled)
    return Migrations(owner, metadata(owner), path)


async def tables(database: Database) -> list[str]:
    return await database.run(lambda connection: sorted(inspect(connection).get_table_names()))


async def columns(database: Database, table: str) -> list[str]:
    return await database.run(lambda connection: [c["name"] for c in inspect(connection).get_columns(table)])


async def test_an_empty_database_is_built_from_the_first_revision(database: Database, tmp_path: Path) -> None:
    notes = history(tmp_path)
    assert await pending(database, [notes]) == [Pending("notes", ("notes_1", "notes_2"))]
    assert await upgrade(database, [notes]) == [Pending("notes", ("notes_1", "notes_2"))]
    assert await pending(database, [notes]) == []
    assert await tables(database) == ["alembic_notes", "notes_notes"]


async def test_an_upgrade_that_has_nothing_to_do_changes_nothing(database: Database, tmp_path: Path) -> None:
    notes = history(tmp_path)
    await upgrade(database, [notes])
    assert await upgrade(database, [notes]) == []


async def test_only_revisions_after_the_last_one_run(database: Database, tmp_path: Path) -> None:
    await upgrade(database, [history(tmp_path, revisions=1)])
    assert await upgrade(database, [history(tmp_path)]) == [Pending("notes", ("notes_2",))]
    assert "text" in await columns(database, "notes_notes")


async def test_two_owners_keep_their_own_histories_in_one_database(database: Database, tmp_path: Path) -> None:
    notes, songs = history(tmp_path, "notes"), history(tmp_path, "songs", revisions=1)
    await upgrade(database, [notes, songs])
    assert await tables(database) == ["alembic_notes", "alembic_songs", "notes_notes", "songs_notes"]
    assert await upgrade(database, [notes, history(tmp_path, "songs")]) == [Pending("songs", ("songs_2",))]


async def test_a_revision_that_failed_half_way_can_be_run_again(database: Database, tmp_path: Path) -> None:
    broken = history(tmp_path, fault='raise RuntimeError("power cut")')
    with pytest.raises(MigrationFailed, match="Revision notes_2 of notes failed on default: RuntimeError: power cut"):
        await upgrade(database, [broken])
    # MySQL cannot take DDL back, SQLite does.
    assert ("text" in await columns(database, "notes_notes")) is (database.dialect == "mysql")
    assert await upgrade(database, [history(tmp_path)]) == [Pending("notes", ("notes_2",))]
    indexes = await database.run(lambda connection: inspect(connection).get_indexes("notes_notes"))
    assert [index["name"] for index in indexes] == ["notes_notes_count"]


async def test_of_two_upgrades_at_once_one_does_the_work(mysql_url: str, tmp_path: Path) -> None:
    notes = history(tmp_path)
    both = [Databases({"default": mysql_url}) for _ in range(2)]
    for databases in both:
        await databases.open()
    done = await asyncio.gather(*(upgrade(databases.database(), [notes]) for databases in both))
    for databases in both:
        await databases.close()
    await drop_all_tables(mysql_url)
    assert sorted(map(len, done)) == [0, 1]


async def test_metadata_that_the_migrations_build_shows_no_difference(database: Database, tmp_path: Path) -> None:
    assert await migration_differences(database, history(tmp_path)) == []


async def test_metadata_that_the_migrations_do_not_build_is_told(database: Database, tmp_path: Path) -> None:
    notes = history(tmp_path)
    notes.metadata.tables["notes_notes"].append_column(Column("forgotten", Integer))
    differences = await migration_differences(database, notes)
    assert any("forgotten" in difference for difference in differences)


async def test_a_database_of_a_later_version_is_refused(database: Database, tmp_path: Path) -> None:
    await upgrade(database, [history(tmp_path)])
    with pytest.raises(MigrationHistoryInvalid, match="are at revision notes_2, which this version"):
        await pending(database, [history(tmp_path, revisions=1)])


async def test_tables_that_no_revision_builds_are_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(MigrationHistoryInvalid, match="notes has tables but no revision in"):
        await pending(database, [history(tmp_path, revisions=0)])


async def test_two_histories_that_claim_one_table_are_refused(database: Database, tmp_path: Path) -> None:
    notes, songs = history(tmp_path), history(tmp_path, "songs")
    clash = Migrations("songs", notes.metadata, songs.path)
    with pytest.raises(MigrationHistoryInvalid, match="notes_notes is claimed by both notes and songs"):
        await upgrade(database, [notes, clash])
    assert await tables(database) == []


def write(folder: Path, *pairs: tuple[str, str | None]) -> Migrations:
    for number, (revision, parent) in enumerate(pairs):
        (folder / f"{number}.py").write_text(f"revision = {revision!r}\ndown_revision = {parent!r}\n")
    return Migrations("notes", MetaData(), folder)


def test_two_heads_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(MigrationHistoryInvalid, match="several heads: left, right"):
        _ = write(tmp_path, ("base", None), ("left", "base"), ("right", "base")).line


def test_a_missing_revision_is_named(tmp_path: Path) -> None:
    with pytest.raises(MigrationHistoryInvalid, match="lack revision gone"):
        _ = write(tmp_path, ("head", "gone")).line


def test_a_circle_is_named(tmp_path: Path) -> None:
    with pytest.raises(MigrationHistoryInvalid, match="these stand apart: b, c"):
        _ = write(tmp_path, ("a", None), ("b", "c"), ("c", "b")).line


def test_a_revision_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(MigrationHistoryInvalid, match="hold revision a twice"):
        _ = write(tmp_path, ("a", None), ("a", None)).line


def test_a_file_that_is_no_revision_is_named(tmp_path: Path) -> None:
    (tmp_path / "stray.py").write_text("print()\n")
    with pytest.raises(MigrationHistoryInvalid, match=r"stray\.py must set revision"):
        _ = write(tmp_path).line


def test_a_history_reads_from_first_to_head(tmp_path: Path) -> None:
    assert write(tmp_path, ("c", "b"), ("a", None), ("b", "a")).line == ("a", "b", "c")


def test_a_database_that_is_up_to_date_is_checked_without_alembic(tmp_path: Path) -> None:
    notes = history(tmp_path)
    program = """
import asyncio, sys
from pathlib import Path
from sqlalchemy import MetaData
from engine.db.databases import Databases
from engine.db.history import Migrations
from engine.db.migrations import upgrade

async def main():
    databases = Databases({"default": sys.argv[1]})
    await databases.open()
    await upgrade(databases.database(), [Migrations("notes", MetaData(), Path(sys.argv[2]))])
    await databases.close()
    print("alembic" in sys.modules)

asyncio.run(main())
"""
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/x.db", str(notes.path)]
    runs = [subprocess.run(command, check=True, capture_output=True, env=dict(os.environ)) for _ in range(2)]
    assert [run.stdout for run in runs] == [b"True\n", b"False\n"]
