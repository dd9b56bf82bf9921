"""Commands about the server: run it, judge what it is made of, and list it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from engine.api.providers import ModelInfo
from engine.cli.connecting import unanswered
from engine.cli.judging import judged
from engine.cli.remote import (
    LISTED_WITHIN,
    NoServer,
    OfflineOption,
    ServerOption,
    UserKeyOption,
    configured_address,
    connection,
    reached,
    server_address,
)
from engine.cli.terminal import FAILED, ConfigOption, assembled, err, fail, plain_table, read, run, say, show
from engine.config import ConfigError, ConfigErrors, RawConfig, read_core
from engine.main import Engine
from engine.main import serve as run_server
from engine.process import Blame
from engine.version import product_version
from engine.wire.address import DEFAULT_ADDRESS


def add_to(app: typer.Typer) -> None:
    """Give the program these commands."""
    for command in (serve, check, models, version):
        app.command()(command)


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
) -> None:
    """Start the server; SIGTERM or Ctrl-C stops it when its turns are done."""
    raw = read(config)
    if host is not None:
        raw = raw.with_value("server.host", host, "--host")
    if port is not None:
        raw = raw.with_value("server.port", port, "--port")
    try:
        loop = read_core(raw).server.loop
    except ConfigError:
        fail(_all_mistakes(raw), 2)
    blame = Blame()
    run(run_server(raw, blame, _say_where), loop, lambda error: _all_mistakes(raw), blame)


def _say_where(engine: Engine) -> None:
    """Tell a person at a terminal where to look; a log that a program reads says it by itself."""
    if not err.is_terminal:
        return
    address = configured_address(engine.core.server.model_copy(update={"port": engine.port}))
    err.print(
        f"\nBetterAI answers.\n"
        f"  In a browser:         {address}\n"
        f"  In another terminal:  {_typed('chat')}{'' if address == DEFAULT_ADDRESS else f' --server {address}'}\n"
        f"  Ctrl-C stops it.\n",
        soft_wrap=True,
    )


def _typed(command: str) -> str:
    """A command of this program as it is typed here: an environment that is not active needs its folder."""
    program = Path(sys.argv[0])
    return f"{program if program.parent != Path() and not which(program.name) else program.name} {command}"


def _all_mistakes(raw: RawConfig) -> str:
    """Everything that keeps the server from starting, where the start itself stops at the first kind."""
    return str(ConfigErrors(run(judged(raw)).mistakes))


def check(
    connect: Annotated[
        bool,
        typer.Option("--connect", help="Ask databases, Redis and the receiver of traces, too, and write nothing."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Judge the configuration and the plugins without starting anything.

    Exit code 2: the server would not start. 1: it would start without something that the configuration asks for, or, with
    --connect, something that it names does not answer. Without, no connection is made. Vendors are never asked.
    """
    raw = read(config)
    verdict = run(judged(raw))
    if verdict.mistakes:
        fail("\n".join([str(ConfigErrors(verdict.mistakes)), *verdict.lacking]), 2)
    say(f"configuration: {raw.file or 'built in'}")
    for line in (*verdict.lacking, *verdict.remarks):
        say(line, "yellow")
    if connect:
        away = run(_unanswered(raw))
        for line in away:
            say(line, "red")
        if away:
            fail("not all that the configuration names can be used")
    say("the server would start, degraded" if verdict.lacking else "ok")
    if not connect:
        err.print("databases and other servers were not asked; --connect asks them", soft_wrap=not err.is_terminal)
    raise typer.Exit(FAILED if verdict.lacking else 0)


async def _unanswered(raw: RawConfig) -> list[str]:
    # One that is required and fails has been judged already.
    return await unanswered(await assembled(raw))


def models(
    offline: OfflineOption = False,
    server: ServerOption = None,
    key: UserKeyOption = None,
    config: ConfigOption = None,
) -> None:
    """List the models that can be used now.

    The running server is asked; where none answers, the configuration says what a start would bring.
    """
    raw = read(config)
    url = server_address(raw, server)
    try:
        if offline:
            raise NoServer("no server was asked")
        show(_models(_asked_models(url, key)))
        source = f"as the server at {url} says"
    except NoServer as error:
        if server is not None and not offline:
            fail(str(error))
        registry = run(assembled(raw)).registry
        show(_models(registry.models()))
        say(f"default: {registry.default_model}")
        for warning in registry.warnings():
            say(warning, "yellow")
        source = f"as the configuration says: {error}"
    err.print(source, soft_wrap=not err.is_terminal)


def _models(infos: Iterable[ModelInfo]) -> Table:
    table = plain_table("model", "vendor", "context", "in / out $ per 1M tokens", "can")
    for info in infos:
        price = f"{info.price.input:f} / {info.price.output:f}" if info.price is not None else "unknown"
        context = f"{info.context:,}" if info.context is not None else "unknown"
        table.add_row(info.id, info.provider, context, price, " ".join(sorted(info.capabilities)))
    return table


def _asked_models(url: str, key: str | None) -> list[ModelInfo]:
    """The models of the running server; raises `NoServer` where none answers."""

    async def asked() -> Any:
        async with connection(key, LISTED_WITHIN) as http:
            return await reached(http, url, "GET", "/api/v1/models")

    known = ("id", "provider", "role", "context", "price", "capabilities")
    return [
        msgspec.convert({name: each.get(name) for name in known}, ModelInfo, strict=False)
        for each in run(asked())["models"]
    ]


def version() -> None:
    """Say which version this is."""
    say(product_version())
