"""Commands about budgets: set, list and remove them, beside a running server or without one."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from engine.cli.keys import with_engine_tables
from engine.cli.terminal import ConfigOption, err, fail, plain_table, read, run, say, show
from engine.db.databases import Database
from engine.providers.pricing import amount
from engine.sessions.budget_rows import (
    Budget,
    Period,
    Standing,
    Unit,
    all_budgets,
    check_budget,
    check_subject,
    remove_budget,
    set_budgets,
    standings,
)

app = typer.Typer(help="Bound what principals and keys may spend.", no_args_is_help=True)

Subject = Annotated[str, typer.Argument(help="principal:NAME, or key:ID as `betterai keys list` shows it.")]


@app.command("set")
def set_(
    subject: Subject,
    day: Annotated[str | None, typer.Option(metavar="DOLLARS", help="Dollars in a day.")] = None,
    month: Annotated[str | None, typer.Option(metavar="DOLLARS", help="Dollars in a month.")] = None,
    day_tokens: Annotated[int | None, typer.Option(help="Input and output tokens in a day.")] = None,
    month_tokens: Annotated[int | None, typer.Option(help="Input and output tokens in a month.")] = None,
    config: ConfigOption = None,
) -> None:
    """Set budgets; those that are not named stay. A server that runs knows within ten seconds.

    A key must exist. A principal need not yet; one that has neither keys nor turns is set with a warning.
    """
    given: list[tuple[Period, Unit, str | int | None]] = [
        ("day", "cost", day),
        ("month", "cost", month),
        ("day", "tokens", day_tokens),
        ("month", "tokens", month_tokens),
    ]
    wanted = [Budget(subject, period, unit, _decimal(text)) for period, unit, text in given if text is not None]
    if not wanted:
        fail("name at least one of --day, --month, --day-tokens, --month-tokens", 2)

    async def work(database: Database) -> str | None:
        check_budget(wanted[0])  # a subject that is no subject is neither known nor unknown
        doubt = await check_subject(database, subject)
        await set_budgets(database, wanted)
        return doubt

    doubt = run(with_engine_tables(read(config), work))
    for budget in wanted:
        most = f"{amount(budget.amount)} {_noun(budget.unit, one=budget.amount == 1)}"
        say(f"{budget.subject} may spend up to {most} a {budget.period}")
    if doubt is not None:
        err.print(f"{doubt}; the budget is set all the same", style="yellow", soft_wrap=not err.is_terminal)


@app.command("list")
def list_(config: ConfigOption = None) -> None:
    """List the budgets, with what is spent of each, what running turns have put aside, and what is left."""

    async def work(database: Database) -> list[Standing]:
        return await standings(database, datetime.now(UTC))

    found: Any = run(with_engine_tables(read(config), work))
    table = plain_table("who", "period", "at most", "spent", "put aside", "left", "")
    for each in found:
        figures = (amount(figure) for figure in (each.budget.amount, each.spent, each.held, each.left))
        table.add_row(each.budget.subject, each.budget.period, *figures, _noun(each.budget.unit))
    show(table)


@app.command("remove")
def remove(subject: Subject, config: ConfigOption = None) -> None:
    """Remove every budget of a principal or key."""

    async def work(database: Database) -> int:
        mine = [budget for budget in await all_budgets(database) if budget.subject == subject]
        for budget in mine:
            await remove_budget(database, budget.subject, budget.period, budget.unit)
        return len(mine)

    count = run(with_engine_tables(read(config), work))
    if not count:
        fail(f"{subject} has no budget; `betterai budgets list` shows who has one")
    say(f"{subject} is not bounded any more")


def _decimal(text: str | int) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        fail(f"{text!r} is no amount; write 5 or 0.50", 2)


def _noun(unit: Unit, *, one: bool = False) -> str:
    return ("dollar" if unit == "cost" else "token") + ("" if one else "s")
