"""`GET /api/v1/usage`: what turns used and cost, by model, key and day."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field

from engine.api.commands import Body
from engine.api.data import Database
from engine.api.errors import Forbidden
from engine.api.routes import Answer, HttpRequest, Route
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


class UsageRoutes:
    """Answers from the rows of the turns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/usage",
                handler=self.usage,
                query=UsageQuery,
                returns=UsageReport,
                summary="What turns used and cost: the caller's own, or everybody's for an admin.",
                tag="usage",
                statuses={403: "forbidden"},
            )
        ]

    async def usage(self, request: HttpRequest[Any, UsageQuery]) -> Answer:
        query = request.query
        whose: str | None = query.principal or request.principal.id
        if whose != request.principal.id and not request.principal.may(ADMIN):
            raise Forbidden(
                f"the usage of others needs a key with the scope {ADMIN!r}; leave principal out for your own"
            )
        found = await usage(
            self._database,
            by=list(dict.fromkeys(query.by)),
            principal=None if whose == "*" else whose,
            since=query.since,
            until=query.until,
        )
        return Answer(UsageReport(found))
