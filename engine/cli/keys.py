"""Commands about API keys: make, list and revoke them, beside a running server or without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from engine.auth.keys import ApiKeys
from engine.auth.secret import auth_secret
from engine.cli.terminal import ConfigOption, err, plain_table, read, run, say, show
from engine.config import RawConfig, read_core
from engine.db.databases import Database, Databases
from engine.db.migrations import require_upgraded, upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.main import SECRET_FILE

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


async def with_engine_tables(raw: RawConfig, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """Do work on the default database, whose tables are of this version."""
    core = read_core(raw)
    databases = Databases({"default": core.databases.default}, exclusive=False)
    database = databases.database()
    try:
        await database.open()
        if database.embedded:
            await upgrade(database, [ENGINE_HISTORY])
        else:
            await require_upgraded(database, [ENGINE_HISTORY])
        return await work(database)
    finally:
        await databases.close()


async def _with_keys(raw: RawConfig, work: Callable[[ApiKeys], Awaitable[Any]]) -> Any:
    secret = auth_secret(read_core(raw).auth.secret, SECRET_FILE)
    return await with_engine_tables(raw, lambda database: work(ApiKeys(database, secret)))


@app.command("create")
def create(
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
    raw = read(config)
    key, info = run(
        _with_keys(raw, lambda keys: keys.create(principal or "-".join(name.split()), name, scope or ("*",)))
    )
    err.print(f"key {info.id} for {info.principal}; keep it, it is not shown again:", soft_wrap=True)
    typer.echo(key)


@app.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """List the keys, without their secrets."""
    raw = read(config)
    table = plain_table("id", "name", "principal", "scopes", "made", "revoked")
    for info in run(_with_keys(raw, lambda keys: keys.list())):
        revoked = info.revoked_at.isoformat(timespec="seconds") if info.revoked_at else ""
        made = info.created_at.isoformat(timespec="seconds")
        table.add_row(info.id, info.name, info.principal, " ".join(info.scopes), made, revoked)
    show(table)


@app.command("revoke")
def revoke(id: Annotated[str, typer.Argument(help="Id of the key.")], config: ConfigOption = None) -> None:
    """Revoke a key; servers refuse it within half a minute."""
    raw = read(config)
    info = run(_with_keys(raw, lambda keys: keys.revoke(id)))
    say(f"key {info.id} ({info.name}) is revoked")
