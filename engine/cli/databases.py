"""Commands about the databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import typer

from engine.api.errors import EngineError
from engine.cli.terminal import ConfigOption, err, fail, read, run, say
from engine.config import RawConfig, read_core
from engine.db.databases import Database, Databases
from engine.db.errors import DatabaseNotReady
from engine.db.history import Migrations
from engine.db.migrations import upgrade
from engine.loader.tables import histories
from engine.log import configure
from engine.main import Engine

app = typer.Typer(help="Look after the databases.", no_args_is_help=True)


@app.callback()
def databases() -> None:
    """Look after the databases."""


@asynccontextmanager
async def made_database(raw: RawConfig, *, tell: bool) -> AsyncIterator[Database]:
    """The default database, open, for a command that makes none; `tell` names it and the configuration on stderr.

    Without a word, whoever forgets --config would look for his keys in another database. Raises `DatabaseNotReady`.
    """
    databases = Databases({"default": read_core(raw).databases.default}, exclusive=False)
    database = databases.database()
    try:
        if database.file is not None and not database.file.exists():
            raise DatabaseNotReady(
                f"there is no database {database.file.absolute()}, which is that of "
                f"{raw.file or 'the built-in configuration'}. Name the server's configuration with --config or "
                "BETTERAI_CONFIG and run this in the server's working directory; `betterai db upgrade` and the first "
                "`betterai serve` make the database."
            )
        if tell:
            _say_configuration(raw)
            _say_address(database)
        await database.open()
        yield database
    finally:
        await databases.close()


def _say_configuration(raw: RawConfig) -> None:
    err.print(f"configuration: {raw.file or 'built in; name a file with --config'}", soft_wrap=not err.is_terminal)


def _say_address(database: Database) -> None:
    address = str(database.file.absolute()) if database.file is not None else database.url.render_as_string()
    err.print(f"{database.name}: {address}", soft_wrap=not err.is_terminal)


@app.command("upgrade")
def upgrade_tables(config: ConfigOption = None) -> None:
    """Bring the tables of the engine and of every plugin that is on to this version."""
    raw = read(config)
    _say_configuration(raw)

    async def work() -> list[EngineError]:
        engine = Engine(raw)
        configure(engine.core.log)
        engine.prepare_plugins()
        failed: list[EngineError] = []
        try:
            for database, owned in histories(engine.loader, engine.databases).items():
                _say_address(database)
                await database.open()
                failed += await _upgrade(database, owned)
        finally:
            await engine.databases.close()
        return failed

    failed = run(work())
    if failed:
        fail("\n".join(map(str, failed)))


async def _upgrade(database: Database, owned: Sequence[Migrations]) -> list[EngineError]:
    """Upgrade each owner's tables and say what was done; the errors of those whose migrations failed."""
    failed: list[EngineError] = []
    idle = True
    for history in owned:
        try:
            for each in await upgrade(database, [history]):
                say(f"{database.name}: {each.owner} {' '.join(each.revisions)}")
                idle = False
        except EngineError as error:
            failed.append(error)
    if idle and not failed:
        say(f"{database.name}: nothing to do")
    return failed
