"""Commands about API keys: make, list, bound and revoke them, beside a running server or without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from engine.api.identity import KeyLimits
from engine.auth.keys import VOID_REMEDY, ApiKeys, KeyInfo
from engine.auth.secret import auth_secret
from engine.cli.databases import made_database
from engine.cli.terminal import ConfigOption, assembled, err, fail, plain_table, read, run, say, show
from engine.config import RawConfig, read_core
from engine.config.keys import nearest
from engine.db.databases import Database
from engine.db.migrations import require_upgraded, upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.main import SECRET_FILE
from engine.status import ADMIN

MOST_NAMED = 5
"""Void keys that are named; how many there are is told anyway."""

app = typer.Typer(help="Make, list, bound and revoke API keys.", no_args_is_help=True)

Requests = Annotated[
    int | None, typer.Option("--requests-per-minute", min=0, help="Requests and commands it may start.")
]
Tokens = Annotated[int | None, typer.Option("--tokens-per-minute", min=0, help="Tokens that its turns may use.")]
Streams = Annotated[int | None, typer.Option("--streams", min=0, help="Streams that it may run at a time.")]
Sockets = Annotated[int | None, typer.Option("--sockets", min=0, help="Sockets that it may hold open.")]


async def with_engine_tables(raw: RawConfig, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """Do work on the default database, whose tables are brought to this version where it is a file."""
    async with made_database(raw, tell=True) as database:
        if database.embedded:
            await upgrade(database, [ENGINE_HISTORY])
        else:
            await require_upgraded(database, [ENGINE_HISTORY])
        return await work(database)


async def _with_keys(raw: RawConfig, work: Callable[[ApiKeys], Awaitable[Any]]) -> Any:
    async def with_secret(database: Database) -> Any:
        # Here and no earlier: without a database no file for a secret is made either.
        configured = read_core(raw).auth.secret
        if configured is None:
            # A key that was made under the secret of another folder would be void on the server.
            new = "" if SECRET_FILE.exists() else ", which is new"
            err.print(f"secret: {SECRET_FILE.absolute()}{new}", soft_wrap=not err.is_terminal)
        return await work(ApiKeys(database, auth_secret(configured, SECRET_FILE)))

    return await with_engine_tables(raw, with_secret)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, in words.")],
    principal: Annotated[
        str | None, typer.Option(help="Who owns what is done with it; else the name, with hyphens for spaces.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it grants, several times; '*' is everything. When absent: everything but admin."),
    ] = None,
    requests: Requests = None,
    tokens: Tokens = None,
    streams: Streams = None,
    sockets: Sockets = None,
    config: ConfigOption = None,
) -> None:
    """Make an API key. It is shown once, here."""
    raw = read(config)
    owner = principal or "-".join(name.split())
    limits = KeyLimits(requests_per_minute=requests, tokens_per_minute=tokens, streams=streams, sockets=sockets)
    scopes = _granted(raw, scope or [])
    key, info = run(_with_keys(raw, lambda keys: keys.create(owner, name, scopes, limits)))
    err.print(f"key {info.id} for {info.principal}; keep it, it is not shown again:", soft_wrap=True)
    typer.echo(key)


def _granted(raw: RawConfig, asked: list[str]) -> list[str]:
    """The scopes of a new key; ends the program where one is unknown."""
    if asked == ["*"]:
        return asked
    known = run(assembled(raw)).scopes
    for scope in asked:
        if scope not in known:
            near = nearest(scope, known)
            hint = f"; did you mean {near!r}?" if near else ""
            fail(f"there is no scope {scope!r}{hint} Known are {', '.join(sorted(known))}, and '*' for everything.", 2)
    return asked or sorted(known - {ADMIN})


@app.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """List the keys, without their secrets."""
    raw = read(config)
    table = plain_table("id", "name", "principal", "scopes", "limits", "made", "revoked")
    found: list[KeyInfo] = run(_with_keys(raw, lambda keys: keys.list()))
    for info in found:
        revoked = info.revoked_at.isoformat(timespec="seconds") if info.revoked_at else ""
        made = info.created_at.isoformat(timespec="seconds")
        scopes, limits = " ".join(info.scopes), _told(info.limits)
        table.add_row(info.id, info.name, info.principal, scopes, limits, made, revoked)
    show(table)
    void = [info.id for info in found if info.void and info.revoked_at is None]
    if void:
        named = ", ".join(void[:MOST_NAMED]) + (", …" if len(void) > MOST_NAMED else "")
        err.print(f"{len(void)} of these keys are void ({named}): {VOID_REMEDY}", style="yellow", soft_wrap=True)


@app.command("limit")
def limit(
    id: Annotated[str, typer.Argument(help="Id of the key.")],
    requests: Requests = None,
    tokens: Tokens = None,
    streams: Streams = None,
    sockets: Sockets = None,
    config: ConfigOption = None,
) -> None:
    """Change what a key may do in a minute and hold open; 0 takes a bound away. Servers follow within half a minute."""
    raw = read(config)
    limits = KeyLimits(requests_per_minute=requests, tokens_per_minute=tokens, streams=streams, sockets=sockets)
    info = run(_with_keys(raw, lambda keys: keys.limit(id, limits)))
    say(f"key {info.id} ({info.name}): {_told(info.limits) or 'no limits of its own'}")


@app.command("revoke")
def revoke(id: Annotated[str, typer.Argument(help="Id of the key.")], config: ConfigOption = None) -> None:
    """Revoke a key; servers refuse it within half a minute."""
    raw = read(config)
    info = run(_with_keys(raw, lambda keys: keys.revoke(id)))
    say(f"key {info.id} ({info.name}) is revoked")


def _told(limits: KeyLimits) -> str:
    """The bounds in few words: `60 requests_per_minute, 2 streams`."""
    return ", ".join(f"{bound} {name}" for name, bound in asdict(limits).items() if bound)
