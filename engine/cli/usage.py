"""The command that tells what turns used and cost."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from engine.cli.databases import made_database
from engine.cli.terminal import ConfigOption, fail, plain_table, read, run, say, show
from engine.config import RawConfig
from engine.db.migrations import require_upgraded
from engine.db.schema import ENGINE_HISTORY
from engine.sessions.usage import GroupBy, UsageRow, usage

GROUPS = ("day", "model", "key", "principal", "command", "status")

Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")]


def add_to(app: typer.Typer) -> None:
    """Give the program this command."""
    app.command("usage")(show_usage)


def show_usage(
    by: Annotated[list[str] | None, typer.Option(help=f"Sum up by {', '.join(GROUPS)}; several times.")] = None,
    principal: Annotated[str | None, typer.Option(help="Only this principal's.")] = None,
    since: Day = None,
    until: Day = None,
    config: ConfigOption = None,
) -> None:
    """Tell what turns used and cost, from the database: beside a running server or without one."""
    groups = by or ["principal", "model"]
    for name in groups:
        if name not in GROUPS:
            fail(f"--by {name}: there is no such group; choose of {', '.join(GROUPS)}", 2)
    found: list[UsageRow] = run(_usage(read(config), groups, principal, since, until))
    if not found:
        say("no turns")
        return
    table = plain_table(*groups, "turns", "tokens in", "tokens out", "dollars")
    for row in found:
        cells = [str(getattr(row, name) or "") for name in groups]
        table.add_row(*cells, f"{row.turns:,}", f"{row.input_tokens:,}", f"{row.output_tokens:,}", row.cost.amount)
    show(table)


async def _usage(
    raw: RawConfig, by: list[str], principal: str | None, since: datetime | None, until: datetime | None
) -> list[UsageRow]:
    async with made_database(raw, tell=False) as database:
        await require_upgraded(database, [ENGINE_HISTORY])
        groups: list[GroupBy] = list(dict.fromkeys(by))  # type: ignore[arg-type]
        return await usage(
            database,
            by=groups,
            principal=principal,
            since=since.date() if since else None,
            until=until.date() if until else None,
            say_without_model=True,
        )
