"""Brings the tables of the engine and its plugins up to date, each owner by its own history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ColumnClause, Connection, column, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError

from engine.api.packages import load_packages
from engine.db.databases import Database
from engine.db.errors import DatabaseNotReady, MigrationFailed, MigrationHistoryInvalid, MigrationsPending
from engine.db.history import Migrations
from engine.db.refusals import reason

LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Pending:
    """Revisions of one owner that a database has not seen, in the order in which they will run."""

    owner: str
    revisions: tuple[str, ...]


async def pending(database: Database, histories: Sequence[Migrations]) -> list[Pending]:
    """What an upgrade would run; empty when the database is up to date. Does not import Alembic."""
    check_owners(histories)
    for history in histories:
        # Reading the line raises when it is none, before any other history has run.
        if not history.line and history.metadata.tables:
            raise MigrationHistoryInvalid(f"{history.owner} has tables but no revision in {history.path} builds them.")
    return await database.run(lambda connection: _pending(connection, histories))


async def require_upgraded(database: Database, histories: Sequence[Migrations]) -> None:
    """Raise MigrationsPending, with the command that helps, where an upgrade would have something to run."""
    if late := await pending(database, histories):
        owners = ", ".join(each.owner for each in late)
        raise MigrationsPending(
            f"the tables of {owners} in database {database.name!r} are older than this version; "
            "run `betterai db upgrade`"
        )


async def upgrade(database: Database, histories: Sequence[Migrations]) -> list[Pending]:
    """Run what is pending, owner by owner, and return it.

    One process at a time: others wait up to a minute and then find nothing left to do. On SQLite a revision takes
    effect whole or not at all. MySQL commits each DDL statement by itself, so a revision there may stop half-way and
    is run again by the next upgrade; the operations of `engine.api.revisions` make that safe. Raises
    MigrationHistoryInvalid before anything has run, MigrationFailed with owner and revision when one raises.
    """
    if not await pending(database, histories):
        return []
    # A plugin that is switched on later is upgraded while others are served.
    await load_packages("engine.db.running", extra="all")
    return await database.run(lambda connection: _upgrade(connection, database, histories))


def _upgrade(connection: Connection, database: Database, histories: Sequence[Migrations]) -> list[Pending]:
    # Imported only when there is something to run: a server that is up to date starts without Alembic.
    from engine.db.running import run_history

    with _lock(connection, database):
        found = _pending(connection, histories)
        by_owner = {history.owner: history for history in histories}
        for item in found:
            history = by_owner[item.owner]
            try:
                run_history(connection, history)
            except Exception as error:
                connection.rollback()
                reached = _revision(connection, history, _tables(connection))
                raise MigrationFailed(
                    f"Revision {history.after(reached)[0]} of {item.owner} failed on {database.name}: "
                    f"{reason(error)}. Correct the cause and run the upgrade again."
                ) from error
        return found


def _pending(connection: Connection, histories: Sequence[Migrations]) -> list[Pending]:
    tables = _tables(connection)
    missing = [Pending(history.owner, history.after(_revision(connection, history, tables))) for history in histories]
    connection.rollback()
    return [item for item in missing if item.revisions]


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def _revision(connection: Connection, history: Migrations, tables: set[str]) -> str | None:
    if history.version_table not in tables:
        return None
    version: ColumnClause[str] = column("version_num")
    revisions = connection.execute(select(version).select_from(table(history.version_table, version))).scalars().all()
    if len(revisions) > 1:
        raise MigrationHistoryInvalid(
            f"Table {history.version_table} names several revisions: {', '.join(sorted(revisions))}. "
            f"Leave the one that the tables of {history.owner} are at."
        )
    return revisions[0] if revisions else None


@contextmanager
def _lock(connection: Connection, database: Database) -> Iterator[None]:
    """Keep other processes from upgrading the same database; each SQLite file has one writing process anyway."""
    if database.dialect == "sqlite":
        yield
        return
    # A name of at most 64 characters, for the whole server.
    name = {"name": f"betterai {database.url.database}"[:64]}
    taken = connection.execute(text(f"SELECT GET_LOCK(:name, {LOCK_SECONDS})"), name).scalar()
    connection.commit()
    if taken != 1:
        raise DatabaseNotReady(f"Another process has been upgrading {database.name} for {LOCK_SECONDS} s; try again.")
    try:
        yield
    finally:
        _release(connection, name)


def _release(connection: Connection, name: dict[str, str]) -> None:
    try:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), name)
        connection.commit()
    except SQLAlchemyError:
        # The lock belongs to the connection and ends with it.
        connection.invalidate()


def check_owners(histories: Sequence[Migrations]) -> None:
    """One history for each owner and one owner for each table of a database, else MigrationHistoryInvalid names both."""
    owners: set[str] = set()
    tables: dict[str, str] = {}
    for history in histories:
        if history.owner in owners:
            raise MigrationHistoryInvalid(f"{history.owner} has two migration histories in one database.")
        owners.add(history.owner)
        for name in history.metadata.tables:
            if name in tables:
                raise MigrationHistoryInvalid(f"Table {name} is claimed by both {tables[name]} and {history.owner}.")
            tables[name] = history.owner
