"""The routes that every server has about itself: health, its own description, and the page that shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from engine.api.commands import Call, Command
from engine.api.events import EVENTS
from engine.api.routes import Answer, HttpRequest, Route
from engine.http.asyncapi import asyncapi
from engine.http.described import Described
from engine.http.front import About, front_line, front_page, wants_page
from engine.http.openapi import openapi
from engine.http.pages import docs_page
from engine.http.table import RouteTable
from engine.loader.health import CheckLine
from engine.sessions.table import CommandTable
from engine.wire.control import FRAMES

State: TypeAlias = Literal["ready", "degraded", "draining", "failed"]


class Readiness(msgspec.Struct, kw_only=True):
    """Whether the server takes work, and what is not as it should be. A degraded server takes work."""

    status: State
    version: str
    checks: list[CheckLine]


class Liveness(msgspec.Struct):
    """The process answers."""

    status: Literal["live"] = "live"


class Documents:
    """Handlers over the tables in force."""

    def __init__(
        self,
        version: str,
        routes: Callable[[], RouteTable],
        commands: Callable[[], CommandTable],
        checks: Callable[[], Awaitable[Sequence[CheckLine]]],
        draining: Callable[[], bool],
        about: Callable[[], About | None],
    ) -> None:
        self._version = version
        self._routes = routes
        self._commands = commands
        self._checks = checks
        self._draining = draining
        self._about = about
        self._openapi: Described[RouteTable] = Described(
            lambda table: openapi([route for _, route in table.routes], version=version)
        )
        self._asyncapi: Described[CommandTable] = Described(lambda table: describe_socket(table, version))

    def routes(self) -> list[Route]:
        """The routes, open to anybody: they tell nothing of any caller."""

        def get(path: str, handler: Any, summary: str, returns: type | None = None) -> Route:
            return Route(
                method="GET", path=path, handler=handler, scope=None, summary=summary, tag="server", returns=returns
            )

        return [
            get("/", self.front, "What this is, as a page for browsers, and as a line for others."),
            get("/health/live", self.live, "The process answers.", Liveness),
            Route(
                method="GET",
                path="/health/ready",
                handler=self.ready,
                scope=None,
                returns=Readiness,
                summary="Whether the server takes work, and what is degraded.",
                tag="server",
                statuses={503: "draining, or a part has failed"},
            ),
            get("/openapi.json", self.openapi, "The HTTP API as OpenAPI 3.1."),
            get("/asyncapi.json", self.asyncapi, "The WebSocket at /ws as AsyncAPI 3.0."),
            get("/docs", self.page, "Both, as a page that works offline."),
            get("/docs/errors", self.page, "The same page: the `type` of a problem points into it."),
        ]

    async def front(self, request: HttpRequest[Any, Any]) -> Answer:
        if not wants_page(request.headers):
            return front_line()
        state, _ = await self._state()
        return front_page(self._version, state, self._about(), request.headers.get("host", ""))

    async def live(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(Liveness())

    async def ready(self, request: HttpRequest[Any, Any]) -> Answer:
        status, checks = await self._state()
        return Answer(
            Readiness(status=status, version=self._version, checks=checks),
            status=503 if status in ("draining", "failed") else 200,
            headers={"Cache-Control": "no-store"},
        )

    async def _state(self) -> tuple[State, list[CheckLine]]:
        checks = list(await self._checks())
        states = {check.state for check in checks}
        if self._draining():
            return "draining", checks
        if "failed" in states:
            return "failed", checks
        return ("degraded" if "degraded" in states else "ready"), checks

    async def openapi(self, request: HttpRequest[Any, Any]) -> Answer:
        return await self._openapi.answer(self._routes(), request.headers)

    async def asyncapi(self, request: HttpRequest[Any, Any]) -> Answer:
        return await self._asyncapi.answer(self._commands(), request.headers)

    async def page(self, request: HttpRequest[Any, Any]) -> Answer:
        return docs_page()


def describe_socket(table: CommandTable, version: str) -> dict[str, Any]:
    """The AsyncAPI document of the socket, with the commands of a table."""
    return asyncapi(
        events=EVENTS,
        commands=[command for command in table.all() if isinstance(command, Command) and not command.inner],
        frames=FRAMES,
        calls=[command for command in table.all() if isinstance(command, Call)],
        version=version,
    )
