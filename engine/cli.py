"""The `betterai` command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from engine.api.errors import EngineError
from engine.auth.keys import ApiKeys
from engine.auth.secret import auth_secret
from engine.config import ConfigError, RawConfig, load, read_core
from engine.config.settings import LogSettings
from engine.db.databases import Database, Databases
from engine.db.history import Migrations
from engine.db.migrations import require_upgraded, upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.loader.find import PluginNameTaken, installed_plugins
from engine.loader.gathered import Clash
from engine.loader.load import Loader, RequiredPluginFailed
from engine.loader.tables import histories
from engine.log import configure
from engine.main import SECRET_FILE, CannotListen, Engine
from engine.main import serve as run_server
from engine.version import product_version

app = typer.Typer(
    name="betterai",
    help="A self-hosted server for chat, voice, media and search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
db_app = typer.Typer(help="Look after the databases.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(db_app, name="db")

out = Console(markup=False, highlight=False, emoji=False)
err = Console(markup=False, highlight=False, emoji=False, stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; else BETTERAI_CONFIG, else config/betterai.toml."),
]

# What an operator can mend: told in its own words, without a traceback.
TOLD = (ConfigError, Clash, RequiredPluginFailed, PluginNameTaken, CannotListen, EngineError)

QUIET = LogSettings(level="critical")
"""For commands whose output says what the log would."""


def fail(message: str, code: int = 1) -> NoReturn:
    """End the program with a message for the person at the terminal."""
    err.print(message, style="red", soft_wrap=not err.is_terminal)
    raise typer.Exit(code)


def say(message: str, style: str = "") -> None:
    """Print a line, wrapped between words on a terminal, and whole for whoever reads it through a pipe."""
    out.print(message, style=style, soft_wrap=not out.is_terminal)


def show(table: Table) -> None:
    """Print a table: folded to the width of a terminal; into a pipe or a file each row is one line, however long."""
    if out.is_terminal:
        out.print(table)
        return
    wide = Console(width=10_000, file=StringIO(), markup=False, highlight=False, emoji=False)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def _table(*headers: str) -> Table:
    """A plain table whose cells are folded where they are too long, and never cut; the first column stays whole."""
    table = Table(box=None, pad_edge=False)
    for at, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=at == 0)
    return table


def _read(config: Path | None) -> RawConfig:
    configure(QUIET)
    try:
        return load(config, os.environ)
    except ConfigError as error:
        fail(str(error), 2)


async def _assembled(raw: RawConfig) -> Engine:
    """An engine that is put together and not started, to look at."""
    engine = Engine(raw)
    engine.prepare_plugins()
    engine.swap()
    return engine


def _run(work: Coroutine[Any, Any, Any], loop: str = "asyncio") -> Any:
    try:
        if loop == "uvloop" and sys.platform != "win32":
            # Imported here: commands other than serve have no use for it, and it is missing on Windows.
            import uvloop

            return uvloop.run(work)
        return asyncio.run(work)
    except ConfigError as error:
        fail(str(error), 2)
    except TOLD as error:
        fail(str(error))
    except OSError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
) -> None:
    """Start the server; SIGTERM or Ctrl-C stops it when its turns are done."""
    raw = _read(config)
    if host is not None:
        raw = raw.with_value("server.host", host, "--host")
    if port is not None:
        raw = raw.with_value("server.port", port, "--port")
    try:
        loop = read_core(raw).server.loop
    except ConfigError as error:
        fail(str(error), 2)
    _run(run_server(raw), loop)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Judge the configuration and the plugins without starting anything."""
    raw = _read(config)

    async def judge() -> Engine:
        engine = Engine(raw)
        engine.judge()
        engine.swap()
        histories(engine.loader, engine.databases)
        return engine

    engine = _run(judge())
    say(f"configuration: {raw.file or 'built in'}")
    failed = [part for part in engine.loader.parts.values() if part.enabled and not part.on]
    for part in failed:
        say(f"plugin {part.name} is off: {part.reason}", "yellow")
    for warning in engine.registry.warnings():
        say(warning, "yellow")
    say("ok" if not failed else "the server would start, degraded")


@app.command()
def plugins(config: ConfigOption = None) -> None:
    """List the installed plugins: what is on, where it comes from, its hooks, and why one is off."""
    # A required plugin that fails stops a start; here it is a line that says why.
    engine = _run(_assembled(_read(config).with_value("plugins.required", [], "betterai plugins")))
    table = _table("plugin", "state")
    for part in sorted(engine.loader.parts.values(), key=lambda part: (not part.on, part.name)):
        state = "on" if part.on else f"off: {part.reason or 'not in [plugins] enabled'}"
        hooks = ", ".join(hook.removeprefix("register_") for hook in part.hooks)
        table.add_row(part.name, "\n".join((state, f"from {part.origin}", *([f"hooks: {hooks}"] if hooks else []))))
    show(table)


@app.command()
def models(config: ConfigOption = None) -> None:
    """List the models that can be used now."""
    engine = _run(_assembled(_read(config)))
    table = _table("model", "vendor", "context", "in / out $ per 1M tokens", "can")
    for info in engine.registry.models():
        price = f"{info.price.input:f} / {info.price.output:f}" if info.price is not None else "unknown"
        context = f"{info.context:,}" if info.context is not None else "unknown"
        table.add_row(info.id, info.provider, context, price, " ".join(sorted(info.capabilities)))
    show(table)
    say(f"default: {engine.registry.default_model}")
    for warning in engine.registry.warnings():
        say(warning, "yellow")


@app.command()
def version() -> None:
    """Say which version this is."""
    say(product_version())


# Keys


async def _with_keys(raw: RawConfig, work: Any) -> Any:
    core = read_core(raw)
    databases = Databases({"default": core.databases.default}, exclusive=False)
    database = databases.database()
    try:
        await database.open()
        if database.embedded:
            await upgrade(database, [ENGINE_HISTORY])
        else:
            await require_upgraded(database, [ENGINE_HISTORY])
        return await work(ApiKeys(database, auth_secret(core.auth.secret, SECRET_FILE)))
    finally:
        await databases.close()


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What the key is for, in words.")],
    principal: Annotated[
        str | None, typer.Option(help="Who owns what is done with it; else the name, with hyphens for spaces.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it grants, several times; everything when absent.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make an API key. It is shown once, here."""
    raw = _read(config)
    key, info = _run(
        _with_keys(raw, lambda keys: keys.create(principal or "-".join(name.split()), name, scope or ("*",)))
    )
    err.print(f"key {info.id} for {info.principal}; keep it, it is not shown again:", soft_wrap=True)
    typer.echo(key)


@keys_app.command("list")
def keys_list(config: ConfigOption = None) -> None:
    """List the keys, without their secrets."""
    raw = _read(config)
    table = _table("id", "name", "principal", "scopes", "made", "revoked")
    for info in _run(_with_keys(raw, lambda keys: keys.list())):
        revoked = info.revoked_at.isoformat(timespec="seconds") if info.revoked_at else ""
        made = info.created_at.isoformat(timespec="seconds")
        table.add_row(info.id, info.name, info.principal, " ".join(info.scopes), made, revoked)
    show(table)


@keys_app.command("revoke")
def keys_revoke(id: Annotated[str, typer.Argument(help="Id of the key.")], config: ConfigOption = None) -> None:
    """Revoke a key; servers refuse it within half a minute."""
    raw = _read(config)
    info = _run(_with_keys(raw, lambda keys: keys.revoke(id)))
    say(f"key {info.id} ({info.name}) is revoked")


# Databases


@db_app.command("upgrade")
def db_upgrade(config: ConfigOption = None) -> None:
    """Bring the tables of the engine and of every plugin that is on to this version."""
    raw = _read(config)

    async def work() -> list[EngineError]:
        engine = Engine(raw)
        configure(engine.core.log)
        engine.prepare_plugins()
        failed: list[EngineError] = []
        try:
            for database, owned in histories(engine.loader, engine.databases).items():
                await database.open()
                failed += await _upgrade(database, owned)
        finally:
            await engine.databases.close()
        return failed

    failed = _run(work())
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


def main() -> None:
    """Run the program, with the commands that plugins add."""
    _add_plugin_commands()
    app()


def _add_plugin_commands() -> None:
    """Commands of plugins, where their configuration can be read; a broken one must not keep `check` from telling why."""
    try:
        raw = load(None, os.environ)
        core = read_core(raw)
        configure(QUIET)
        loader = Loader(installed_plugins(), core.plugins.enabled, ())
        loader.load(raw)
        loader.register_cli(app)
    except TOLD:
        return
