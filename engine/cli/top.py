"""The command that watches a running server: sessions, streams, rates and lag, drawn anew every second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import aiohttp
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.cli.remote import KeyOption, ServerOption, asked, connection, server_address
from engine.cli.terminal import ConfigOption, out, plain_table, read, run, show

Answer: TypeAlias = Mapping[str, Any]

ROWS = 20
"""Streams and sessions that are listed."""

_RATES = {"turns": "turns/s", "events": "events/s", "requests": "requests/s", "tokens": "tokens/s"}


@dataclass(frozen=True, slots=True)
class Look:
    """What the server told at one moment."""

    status: Answer
    streams: Answer
    sessions: Answer


def add_to(app: typer.Typer) -> None:
    """Give the program this command."""
    app.command("top")(top)


def top(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one look to the next.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    server: ServerOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Watch a running server: its streams and sessions, rates, lag and providers. Ctrl-C ends it."""
    url = server_address(read(config), server)
    run(_once(url, key) if once or not out.is_terminal else _watch(url, key, every))


async def _once(url: str, key: str | None) -> None:
    async with connection(key) as http:
        for table in tables(None, await look(http, url)):
            show(table)
            out.print()


async def _watch(url: str, key: str | None, every: float) -> None:
    async with connection(key) as http:
        before = await look(http, url)
        with Live(picture(None, before), console=out, screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(every)
                now = await look(http, url)
                live.update(picture(before, now), refresh=True)
                before = now


async def look(http: aiohttp.ClientSession, url: str) -> Look:
    """Ask the server how it stands."""
    return Look(
        await asked(http, url, "GET", "/api/v1/admin/status"),
        await asked(http, url, "GET", f"/api/v1/admin/streams?limit={ROWS}"),
        await asked(http, url, "GET", f"/api/v1/admin/sessions?limit={ROWS}"),
    )


def picture(before: Look | None, now: Look) -> RenderableType:
    """One screen; rates are those since the look before."""
    status = now.status
    title = Text(f"betterai {status['version']}, up {_time(status['uptime'])}, {status['memory'] >> 20} MiB", "bold")
    parts: list[RenderableType] = [title]
    for table in tables(before, now):
        parts += [Text(), table]
    return Group(*parts)


def tables(before: Look | None, now: Look) -> list[Table]:
    """The server, the providers, the streams and the sessions."""
    return [_server(before, now), _providers(now), _streams(now), _sessions(now)]


def _server(before: Look | None, now: Look) -> Table:
    status = now.status
    lag = status["lag"]
    table = plain_table("sockets", "streams", *_RATES.values(), "dollars", "lag p99", "behind", "waiting", "rows")
    table.add_row(
        str(status["sockets"]),
        str(status["streams"]),
        *(_rate(before, now, name) for name in _RATES),
        status["done"]["cost"],
        f"{lag['p99'] * 1000:.1f} ms",
        str(status["reader_lag"]),
        str(status["waiting_commands"]),
        str(sum(status["database_rows"].values())),
    )
    return table


def _rate(before: Look | None, now: Look, name: str) -> str:
    """What was done a second since the look before; in all, where there is none."""
    total = _total(now.status["done"][name])
    if before is None:
        return f"{total} in all"
    seconds = now.status["uptime"] - before.status["uptime"]
    done = total - _total(before.status["done"][name])
    # A server that was started anew counts from 0.
    return f"{done / seconds:.1f}" if seconds > 0 and done >= 0 else "?"


def _total(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)


def _providers(now: Look) -> Table:
    table = plain_table("provider", "role", "state", "errors")
    found = now.status["providers"]
    for each in found:
        if "reason" in each:
            continue
        errors = ", ".join(f"{count} {code}" for code, count in each.get("errors", {}).items())
        table.add_row(each["name"], each["role"], _state(each), errors)
    missing = sorted({each["name"] for each in found if "reason" in each})
    if missing:
        table.caption = f"cannot be used now: {', '.join(missing)}"
        table.caption_justify = "left"
    return table


def _state(provider: Answer) -> str:
    """How a provider stands, in words of people: that its breaker is "closed" reads as if the provider was."""
    if "retry_in" in provider:
        return f"left alone, tried again in {provider['retry_in']:.0f} s"
    return f"failing, {provider['failures']} in a row" if provider.get("failures") else "ok"


def _streams(now: Look) -> Table:
    found = now.streams
    table = plain_table(f"stream ({found['total']})", "command", "model", "principal", "age", "n", "readers", "behind")
    for row in found["streams"]:
        cells = (row["command"], row.get("model") or "", row["principal"], _time(row["seconds"]))
        table.add_row(row["id"], *cells, str(row["n"]), str(row["readers"]), str(row["lag"]))
    return table


def _sessions(now: Look) -> Table:
    found = now.sessions
    table = plain_table(f"session ({found['total']})", "principal", "key", "age", "watching", "waiting", "buffered")
    for row in found["sessions"]:
        cells = (row.get("principal") or "", row.get("key") or "", _time(row["seconds"]))
        table.add_row(row["id"], *cells, str(row["watching"]), str(row["waiting"]), f"{row['buffered']:,}")
    return table


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
