"""Commands about the server: run it, judge what it is made of, and list it."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.cli.terminal import ConfigOption, assembled, fail, plain_table, read, run, say, show
from engine.config import ConfigError, read_core
from engine.loader.tables import histories
from engine.main import Engine
from engine.main import serve as run_server
from engine.version import product_version


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
    except ConfigError as error:
        fail(str(error), 2)
    run(run_server(raw), loop)


def check(config: ConfigOption = None) -> None:
    """Judge the configuration and the plugins without starting anything."""
    raw = read(config)

    async def judge() -> Engine:
        engine = Engine(raw)
        engine.judge()
        engine.swap()
        histories(engine.loader, engine.databases)
        return engine

    engine = run(judge())
    say(f"configuration: {raw.file or 'built in'}")
    failed = [part for part in engine.loader.parts.values() if part.enabled and not part.on]
    for part in failed:
        say(f"plugin {part.name} is off: {part.reason}", "yellow")
    for warning in engine.registry.warnings():
        say(warning, "yellow")
    say("ok" if not failed else "the server would start, degraded")


def models(config: ConfigOption = None) -> None:
    """List the models that can be used now."""
    engine = run(assembled(read(config)))
    table = plain_table("model", "vendor", "context", "in / out $ per 1M tokens", "can")
    for info in engine.registry.models():
        price = f"{info.price.input:f} / {info.price.output:f}" if info.price is not None else "unknown"
        context = f"{info.context:,}" if info.context is not None else "unknown"
        table.add_row(info.id, info.provider, context, price, " ".join(sorted(info.capabilities)))
    show(table)
    say(f"default: {engine.registry.default_model}")
    for warning in engine.registry.warnings():
        say(warning, "yellow")


def version() -> None:
    """Say which version this is."""
    say(product_version())
