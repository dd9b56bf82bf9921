"""`/api/v1/admin/status`, `…/sessions`, `…/streams`: what an operator sees of a server that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import ConfigDict, Field

from engine.api.commands import Body
from engine.api.routes import Answer, HttpRequest, Route
from engine.http.app import Http
from engine.http.metrics import Standing
from engine.loader.health import CheckLine
from engine.providers.obstacle import obstacle
from engine.providers.pricing import amount
from engine.providers.registry import Registry
from engine.sessions.supervisor import Supervisor

ADMIN = "admin"


class ListQuery(Body):
    """How many rows."""

    model_config = ConfigDict(strict=False)

    limit: int = Field(default=100, ge=1, le=1000, description="Rows, of those that there are longest first.")


class Counts(msgspec.Struct, kw_only=True):
    """What was done since the start; none of these falls, so that a rate is the difference of two answers."""

    turns: dict[str, int]
    """Turns that ended, by status."""
    events: int
    tokens: dict[str, int]
    """By kind: input, output, cached, reasoning."""
    cost: str
    """US dollars."""
    requests: int
    sockets: int
    detached: int
    """Readers that fell too far behind."""


class Lag(msgspec.Struct, kw_only=True):
    """How late the event loop was in the last minute, in seconds."""

    median: float
    p99: float
    most: float


class ProviderState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One provider. `open` is a breaker that lets nobody through for `retry_in` seconds."""

    role: str
    name: str
    state: str
    failures: int = msgspec.field(default=0)
    retry_in: float | None = None
    reason: str | None = None
    errors: dict[str, int] = msgspec.field(default_factory=dict)


class ServerStatus(msgspec.Struct, kw_only=True):
    """The server at this moment."""

    version: str
    uptime: float
    """Seconds."""
    memory: int
    """Bytes of the process."""
    sockets: int
    streams: int
    held_streams: int
    held_bytes: int
    """Of streams that ended and can be resumed."""
    body_bytes: int
    """Of the bodies of requests that are in memory."""
    waiting_commands: int
    reader_lag: int
    database_rows: dict[str, int]
    lag: Lag
    blocks: dict[str, int]
    """Times that the event loop was blocked, by plugin."""
    struck_out: dict[str, str]
    """Plugins that were switched off for it, and why."""
    done: Counts
    providers: list[ProviderState]
    checks: list[CheckLine]
    """How each part stands, with the reasons that `/health/ready`, open to anybody, leaves out."""


class SessionRow(msgspec.Struct, kw_only=True):
    """One open socket."""

    id: str
    principal: str | None
    key: str | None
    seconds: float
    """Since it was opened."""
    watching: int
    waiting: int
    """Commands that wait in it."""
    buffered: int
    """Bytes that its client has not taken."""


class Sessions(msgspec.Struct):
    """Open sockets; `total` counts those that are not listed, too."""

    sessions: list[SessionRow]
    total: int


class StreamRow(msgspec.Struct, kw_only=True):
    """One stream that runs."""

    id: str
    command: str
    principal: str
    key: str | None
    model: str | None
    seconds: float
    """Since it began."""
    n: int
    readers: int
    lag: int
    """Events that its slowest reader has not taken."""


class Streams(msgspec.Struct):
    """Running streams; `total` counts those that are not listed, too."""

    streams: list[StreamRow]
    total: int


class StatusRoutes:
    """Routes for who holds the scope `admin`."""

    def __init__(
        self,
        supervisor: Supervisor,
        registry: Registry,
        standing: Callable[[], Standing],
        http: Callable[[], Http | None],
        checks: Callable[[], Awaitable[Sequence[CheckLine]]],
    ) -> None:
        self._supervisor = supervisor
        self._registry = registry
        self._standing = standing
        self._http = http
        self._checks = checks
        self._begun = datetime.now(UTC)

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/admin/status",
                handler=self.status,
                scope=ADMIN,
                returns=ServerStatus,
                summary="The server at this moment, and what it has done since its start.",
                tag="admin",
            ),
            Route(
                method="GET",
                path="/api/v1/admin/sessions",
                handler=self.sessions,
                scope=ADMIN,
                query=ListQuery,
                returns=Sessions,
                summary="The open sockets.",
                tag="admin",
            ),
            Route(
                method="GET",
                path="/api/v1/admin/streams",
                handler=self.streams,
                scope=ADMIN,
                query=ListQuery,
                returns=Streams,
                summary="The streams that run, everybody's.",
                tag="admin",
            ),
        ]

    async def status(self, request: HttpRequest[Any, Any]) -> Answer:
        now, stats = self._standing(), self._supervisor.stats
        turns: dict[str, int] = {}
        for (_, _, status, _), count in stats.turns.items():
            turns[status] = turns.get(status, 0) + count
        tokens: dict[str, int] = {}
        for (_, kind), count in stats.tokens.items():
            tokens[kind] = tokens.get(kind, 0) + count
        running = sum(stream.n for stream in self._supervisor.bus.running())
        done = Counts(
            turns=turns,
            events=stats.events + running,
            tokens=tokens,
            cost=amount(sum(stats.cost.values(), Decimal(0))),
            requests=sum(stats.requests.values()),
            sockets=stats.sessions,
            detached=stats.detached,
        )
        answer = ServerStatus(
            version=now.version,
            uptime=round((datetime.now(UTC) - self._begun).total_seconds(), 3),
            memory=now.resident_bytes,
            sockets=now.sockets,
            streams=now.streams,
            held_streams=now.held_streams,
            held_bytes=now.held_bytes,
            body_bytes=now.body_bytes,
            waiting_commands=now.waiting_commands,
            reader_lag=now.reader_lag,
            database_rows=dict(now.database_rows),
            lag=_lag(stats.recent_lags),
            blocks=dict(stats.blocks),
            struck_out=dict(now.struck_out),
            done=done,
            providers=self._providers(),
            checks=list(await self._checks()),
        )
        return Answer(answer)

    async def sessions(self, request: HttpRequest[Any, ListQuery]) -> Answer:
        http, now = self._http(), asyncio.get_running_loop().time()
        found = sorted(http.sockets, key=lambda door: door[1].opened) if http is not None else []
        rows = [
            SessionRow(
                id=session.id,
                principal=session.principal.id if session.principal else None,
                key=session.principal.key if session.principal else None,
                seconds=round(now - peer.opened, 3),
                watching=session.watching,
                waiting=session.waiting,
                buffered=peer.buffered(),
            )
            for session, peer in found[: request.query.limit]
        ]
        return Answer(Sessions(rows, len(found)))

    async def streams(self, request: HttpRequest[Any, ListQuery]) -> Answer:
        bus = self._supervisor.bus
        running = list(bus.running())
        rows = []
        for stream in running[: request.query.limit]:
            turn = self._supervisor.turn(stream.principal, stream.id)
            lags = stream.lags
            rows.append(
                StreamRow(
                    id=stream.id,
                    command=stream.kind,
                    principal=stream.principal.id,
                    key=stream.principal.key,
                    model=(turn.writer.model or turn.serve.model) if turn is not None else None,
                    seconds=round(bus.now() - stream.started, 3),
                    n=stream.n,
                    readers=len(lags),
                    lag=max(lags, default=0),
                )
            )
        return Answer(Streams(rows, len(running)))

    def _providers(self) -> list[ProviderState]:
        errors = self._supervisor.stats.provider_errors
        breakers = self._registry.breakers()
        states = []
        for (role, name), provider in sorted(self._registry.providers().items()):
            breaker = breakers.get((role, name))
            wait = breaker.wait() if breaker is not None else 0.0
            reason = obstacle(provider, places=True)
            state = "unavailable" if reason is not None else "open" if wait else "closed"
            states.append(
                ProviderState(
                    role=role,
                    name=name,
                    state=state,
                    failures=breaker.failures if breaker is not None else 0,
                    retry_in=round(wait, 3) or None,
                    reason=reason,
                    errors={code: count for (failed, code), count in errors.items() if failed == name},
                )
            )
        return states


def _lag(seconds: Sequence[float]) -> Lag:
    ordered = sorted(seconds) or [0.0]

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 6)

    return Lag(median=at(0.5), p99=at(0.99), most=round(ordered[-1], 6))
