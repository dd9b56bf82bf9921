"""Plugins' tables: each in the database that the operator gave it, and one that cannot be built takes its plugin alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, inspect

from engine.api.columns import Key
from engine.api.data import Tables
from engine.api.plugin import Plugin
from engine.db.errors import DatabaseNotReady, MigrationHistoryInvalid
from engine.loader.load import RequiredPluginFailed
from tests.engine.loader.kit import engine_of, get, health, plugin, route, running

NOWHERE = "mysql+asyncmy://nobody@127.0.0.1:1/none"

REVISION = """
from sqlalchemy import Column
from engine.api.columns import Key
from engine.api.revisions import create_table_if_missing

revision = "{name}_1"
down_revision: str | None = None


def upgrade() -> None:
    {fault}
    create_table_if_missing("{table}", Column("id", Key(), primary_key=True))
"""


def owning(folder: Path, name: str, *, table: str = "", fault: str = "pass", database: str = "default") -> type[Plugin]:
    """A plugin with one table, built by one revision; `fault` is a line of it."""
    metadata = MetaData()
    Table(table or f"{name}_things", metadata, Column("id", Key(), primary_key=True))
    revisions = folder / f"{name}_migrations"
    revisions.mkdir(exist_ok=True)
    (revisions / "0001.py").write_text(REVISION.format(name=name, table=table or f"{name}_things", fault=fault))
    return plugin(
        name,
        register_tables=lambda context: [Tables(metadata, revisions, database)],
        register_routes=lambda context: [route(f"/api/v1/{name}")],
    )


async def test_a_migration_that_fails_takes_its_plugin_alone(tmp_path: Path) -> None:
    bad, good = owning(tmp_path, "bad", fault="raise RuntimeError('no luck today')"), owning(tmp_path, "good")
    async with running(tmp_path, bad, good) as engine:
        assert engine.features == ("good",)
        state, detail = (await health(engine))["bad"]
        assert (state, "Revision bad_1 of bad failed" in detail) == ("degraded", True)
        status, problem = await get(engine, "/api/v1/bad")
        assert (status, problem["code"]) == (404, "feature_disabled")
        assert (await get(engine, "/api/v1/good"))[0] == 200


async def test_a_migration_of_a_required_plugin_that_fails_stops_the_start(tmp_path: Path) -> None:
    bad = owning(tmp_path, "bad", fault="raise RuntimeError('no luck today')")
    engine = engine_of(tmp_path, bad, required=["bad"])
    with pytest.raises(RequiredPluginFailed, match="'bad' is required and has tables that cannot be used: Revision"):
        await engine.start()
    assert not any(database.is_open for database in engine.databases)


async def test_a_plugin_whose_history_is_no_line_is_off(tmp_path: Path) -> None:
    forked = owning(tmp_path, "forked")
    (tmp_path / "forked_migrations" / "0002.py").write_text('revision = "other"\ndown_revision = None\n')
    async with running(tmp_path, forked, owning(tmp_path, "good")) as engine:
        assert engine.features == ("good",)
        assert "several heads" in (await health(engine))["forked"][1]


async def test_a_plugin_that_requires_one_without_its_tables_is_off_too(tmp_path: Path) -> None:
    bad = owning(tmp_path, "bad", fault="raise RuntimeError('no luck today')")
    async with running(tmp_path, bad, plugin("above", requires=["bad"])) as engine:
        assert engine.features == ()


async def test_two_plugins_with_one_table_stop_the_start_and_are_both_named(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, owning(tmp_path, "one", table="shared"), owning(tmp_path, "two", table="shared"))
    with pytest.raises(MigrationHistoryInvalid, match="Table shared is claimed by both one and two"):
        await engine.start()


async def test_tables_are_in_the_database_that_has_their_name_and_else_in_the_default_one(tmp_path: Path) -> None:
    mine, other = owning(tmp_path, "mine", database="mine"), owning(tmp_path, "other", database="other")
    async with running(tmp_path, mine, other, databases={"mine": f"sqlite+aiosqlite:///{tmp_path}/mine.db"}) as engine:
        default, own = engine.databases.database(), engine.databases.database("mine")
        assert "other_things" in await default.run(lambda connection: inspect(connection).get_table_names())
        assert "mine_things" in await own.run(lambda connection: inspect(connection).get_table_names())


async def test_a_database_of_a_plugin_that_cannot_be_opened_takes_the_plugin_alone(tmp_path: Path) -> None:
    mine, good = owning(tmp_path, "mine", database="mine"), owning(tmp_path, "good")
    async with running(tmp_path, mine, good, databases={"mine": NOWHERE}) as engine:
        assert engine.features == ("good",)
        assert "has no database" in (await health(engine))["mine"][1]


async def test_a_default_database_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotReady):
        await engine_of(tmp_path, owning(tmp_path, "mine"), databases={"default": NOWHERE}).start()
