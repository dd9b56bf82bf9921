"""Commands about the databases."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from engine.api.errors import EngineError
from engine.cli.terminal import ConfigOption, err, fail, read, run, say
from engine.db.databases import Database
from engine.db.history import Migrations
from engine.db.migrations import upgrade
from engine.loader.tables import histories
from engine.log import configure
from engine.main import Engine

app = typer.Typer(help="Look after the databases.", no_args_is_help=True)


@app.callback()
def databases() -> None:
    """Look after the databases."""


@app.command("upgrade")
def upgrade_tables(config: ConfigOption = None) -> None:
    """Bring the tables of the engine and of every plugin that is on to this version."""
    raw = read(config)
    err.print(f"configuration: {raw.file or 'built in; name a file with --config'}", soft_wrap=not err.is_terminal)

    async def work() -> list[EngineError]:
        engine = Engine(raw)
        configure(engine.core.log)
        engine.prepare_plugins()
        failed: list[EngineError] = []
        try:
            for database, owned in histories(engine.loader, engine.databases).items():
                address = database.url.render_as_string(hide_password=True)
                err.print(f"{database.name}: {address}", soft_wrap=not err.is_terminal)
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
