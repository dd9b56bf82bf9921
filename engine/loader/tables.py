"""The tables of the engine and of its plugins: which database has them, and that they are at this version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from engine.api.errors import EngineError
from engine.db.databases import Database, Databases
from engine.db.history import Migrations
from engine.db.migrations import check_owners, require_upgraded, upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.loader.load import Loader


def histories(
    loader: Loader, databases: Databases, only: Collection[str] | None = None
) -> Mapping[Database, Sequence[Migrations]]:
    """The migrations of the engine and of every plugin that is on, by database, the default one first.

    Raises `MigrationHistoryInvalid` where two owners claim one table.
    """
    found: dict[Database, list[Migrations]] = {databases.database(): [ENGINE_HISTORY]}
    for owner, tables in loader.register_tables(only):
        try:
            history = Migrations(owner, tables.metadata, tables.migrations)
            history.line  # noqa: B018  # read now, so that a folder that is missing is known before a database is opened
        except EngineError as error:
            at = loader.defined_at(owner, "register_tables")
            loader.fail(loader.parts[owner], f"has tables that cannot be used: {error} ({at})")
        else:
            found.setdefault(databases.database(tables.database), []).append(history)
    for owned in found.values():
        check_owners(owned)
    return found


async def open_tables(
    loader: Loader, databases: Databases, *, auto_upgrade: bool | None, only: Collection[str] | None = None
) -> None:
    """Open the databases that have tables and bring those up to date: embedded ones, unless the operator says otherwise.

    A plugin whose database or migration fails is off. What the engine itself needs raises, and so does
    `MigrationsPending`, which asks for a step of the operator's.
    """
    for database, owned in histories(loader, databases, only).items():
        try:
            await database.open()
        except EngineError as error:
            if database is databases.database():
                raise
            for history in owned:
                _fail(loader, history.owner, f"has no database: {error}")
        else:
            upgrades = database.embedded if auto_upgrade is None else auto_upgrade
            await _bring_up(loader, database, owned, upgrades)


async def _bring_up(loader: Loader, database: Database, owned: Sequence[Migrations], upgrades: bool) -> None:
    if not upgrades:
        await require_upgraded(database, owned)
        return
    for history in owned:
        try:
            await upgrade(database, [history])
        except EngineError as error:
            if history is ENGINE_HISTORY:
                raise
            _fail(loader, history.owner, f"has tables that cannot be used: {error}")


def _fail(loader: Loader, owner: str, reason: str) -> None:
    part = loader.parts[owner]
    if part.on:
        loader.fail(part, reason)
