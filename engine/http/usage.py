"""`GET /api/v1/usage`: what turns used and cost, by model, key and day."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field

from engine.api.commands import Body
from engine.api.data import Database
from engine.api.errors import Forbidden
from engine.api.identity import Principal
from engine.api.routes import Answer, HttpRequest, Route
from engine.sessions.budget_rows import Standing, standings
from engine.sessions.usage import GroupBy, UsageRow, usage

ADMIN = "admin"


def _iso(day: object) -> object:
    # Numbers would pass for seconds since 1970.
    if isinstance(day, str) and not _DAY.fullmatch(day):
        raise ValueError("must be a day, as 2026-11-27")
    return day


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Day = Annotated[date, BeforeValidator(_iso)]


class UsageQuery(Body):
    """Which turns, and by what to sum them up."""

    model_config = ConfigDict(strict=False)

    by: list[GroupBy] = Field(default=["model"], max_length=6, description="Several times, in order.")
    since: Day | None = Field(default=None, description="First day, in UTC.")
    until: Day | None = Field(default=None, description="Last day, in UTC.")
    principal: str | None = Field(
        default=None, max_length=64, description="Somebody else's, or * for everybody's: needs the scope admin."
    )


class UsageReport(msgspec.Struct):
    """One row for each group."""

    usage: list[UsageRow]


class BudgetRow(msgspec.Struct, kw_only=True):
    """A budget in its period that runs: dollars or tokens, as `unit` says. `reserved` is what running turns put aside."""

    subject: str
    period: Literal["day", "month"]
    unit: Literal["cost", "tokens"]
    limit: float
    spent: float
    reserved: float
    remaining: float
    whole_again: datetime


class BudgetList(msgspec.Struct):
    """Budgets, by subject."""

    budgets: list[BudgetRow]


class BudgetsQuery(Body):
    """Whose budgets."""

    principal: str | None = Field(
        default=None, max_length=64, description="Somebody else's, or * for everybody's: needs the scope admin."
    )


class UsageRoutes:
    """Answers from the rows of the turns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/budgets",
                handler=self.budgets,
                query=BudgetsQuery,
                returns=BudgetList,
                summary="What may be spent, what is, and what is left: the caller's own, or everybody's for an admin.",
                tag="usage",
                statuses={403: "forbidden"},
            ),
            Route(
                method="GET",
                path="/api/v1/usage",
                handler=self.usage,
                query=UsageQuery,
                returns=UsageReport,
                summary="What turns used and cost: the caller's own, or everybody's for an admin.",
                tag="usage",
                statuses={403: "forbidden"},
            ),
        ]

    async def budgets(self, request: HttpRequest[Any, BudgetsQuery]) -> Answer:
        whose = _whose(request.principal, request.query.principal)
        subjects = None if whose == "*" else [f"principal:{whose}"]
        if subjects is not None and whose == request.principal.id and request.principal.key_subject:
            subjects.append(request.principal.key_subject)
        found = await standings(self._database, datetime.now(UTC), subjects)
        return Answer(BudgetList([_row(each) for each in found]))

    async def usage(self, request: HttpRequest[Any, UsageQuery]) -> Answer:
        query = request.query
        whose = _whose(request.principal, query.principal)
        found = await usage(
            self._database,
            by=list(dict.fromkeys(query.by)),
            principal=None if whose == "*" else whose,
            since=query.since,
            until=query.until,
        )
        return Answer(UsageReport(found))


def _whose(caller: Principal, asked: str | None) -> str:
    """The principal whose figures are told; raises `Forbidden` for those of others without the scope."""
    whose = asked or caller.id
    if whose != caller.id and not caller.may(ADMIN):
        raise Forbidden(f"the usage of others needs a key with the scope {ADMIN!r}; leave principal out for your own")
    return whose


def _row(standing: Standing) -> BudgetRow:
    budget = standing.budget
    return BudgetRow(
        subject=budget.subject,
        period=budget.period,
        unit=budget.unit,
        limit=float(budget.amount),
        spent=float(standing.spent),
        reserved=float(standing.held),
        remaining=float(standing.left),
        whole_again=standing.frees,
    )
