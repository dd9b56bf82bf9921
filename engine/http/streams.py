"""`/api/v1/streams`: what runs, one stream, its events, its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import Field

from engine.api.commands import Body
from engine.api.errors import InvalidRequest
from engine.api.events import StreamEnded, ToolCall
from engine.api.routes import Answer, EventStream, HttpRequest, Result, Route
from engine.bus.stream import Stream
from engine.sessions.core import STREAM_SCOPE
from engine.sessions.ledger import TurnRecord, lost_end
from engine.sessions.record import RecordReader
from engine.sessions.supervisor import Supervisor


class StreamState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A stream as `/api/v1/streams` tells it. `n` is the last number, `age` counts seconds."""

    stream: str
    command: str
    status: str
    n: int
    text: str = ""
    tool_calls: list[ToolCall] = []
    age: float | None = None
    ended: StreamEnded | None = None


class StreamList(msgspec.Struct):
    """The caller's running streams, oldest first."""

    streams: list[StreamState]


class EventsQuery(Body):
    """Where to go on; a `Last-Event-ID` header wins over it."""

    model_config = {"strict": False, "extra": "forbid", "frozen": True}

    after: int = Field(default=0, ge=0, description="The last number seen; 0 for none.")


class ToolResultBody(Body):
    """What a tool of the client answered."""

    call_id: str = Field(description="Id of the call, from `tool.call`.", max_length=200)
    output: Any = Field(description="A text, or plain data that the model gets as JSON.")
    error: bool = Field(default=False, description="True when the tool failed; `output` says how.")


def stream_routes(supervisor: Supervisor) -> list[Route]:
    """The routes that every server has."""
    streams = StreamRoutes(supervisor)
    return [
        Route(
            method="GET",
            path="/api/v1/streams",
            handler=streams.list,
            returns=StreamList,
            summary="The caller's running streams.",
            tag="streams",
            scope=STREAM_SCOPE,
        ),
        Route(
            method="GET",
            path="/api/v1/streams/{id}",
            handler=streams.one,
            returns=StreamState,
            summary="One stream: its state, and all that it said.",
            tag="streams",
            scope=STREAM_SCOPE,
            statuses={404: "stream_not_found"},
        ),
        Route(
            method="GET",
            path="/api/v1/streams/{id}/events",
            handler=streams.events,
            query=EventsQuery,
            events=True,
            summary="The events behind a number, replayed and live. 204 once the terminal event was seen.",
            tag="streams",
            scope=STREAM_SCOPE,
            statuses={204: "nothing more will come", 404: "stream_not_found"},
        ),
        Route(
            method="POST",
            path="/api/v1/streams/{id}/cancel",
            handler=streams.cancel,
            returns=StreamState,
            status=202,
            summary="Stop a turn; the cancel reaches the vendor.",
            tag="streams",
            scope=STREAM_SCOPE,
            statuses={404: "stream_not_found"},
        ),
        Route(
            method="POST",
            path="/api/v1/streams/{id}/tool-results",
            handler=streams.tool_result,
            body=ToolResultBody,
            status=202,
            summary="Answer a tool call of a running turn; idempotent by its call id.",
            tag="streams",
            scope=STREAM_SCOPE,
            statuses={404: "stream_not_found, tool_call_not_found"},
        ),
    ]


class StreamRoutes:
    """Handlers over the supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def list(self, request: HttpRequest[Any, Any]) -> Answer:
        running = self._supervisor.bus.running(request.principal)
        now = self._supervisor.bus.now()
        return Answer(StreamList([_running(stream, now) for stream in running]))

    async def one(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(self._state(await self._find(request)))

    async def events(self, request: HttpRequest[Any, EventsQuery]) -> Result:
        found = await self._find(request)
        after = _after(request.headers, request.query.after)
        if isinstance(found, TurnRecord):
            nothing = not found.since(after).events
            return Answer(status=204) if nothing else EventStream(RecordReader(found, after))
        if after > found.n:
            raise InvalidRequest(
                f"the last event of this stream has number {found.n}, so none comes after {after}", field="after"
            )
        if after == found.n and found.ended is not None:
            return Answer(status=204)
        return EventStream(self._supervisor.reader(found, after))

    async def cancel(self, request: HttpRequest[Any, Any]) -> Answer:
        await self._supervisor.cancel(request.principal, request.path["id"])
        return Answer(self._state(await self._find(request)), status=202)

    async def tool_result(self, request: HttpRequest[ToolResultBody, Any]) -> Answer:
        await self._find(request)
        body = {"stream": request.path["id"], **request.body.model_dump()}
        return Answer(dict(await self._supervisor.call(request.principal, "tool.result", body)), status=202)

    def _state(self, found: Stream | TurnRecord) -> StreamState:
        if isinstance(found, TurnRecord):
            return _recorded(found)
        said = found.said
        state = _running(found, self._supervisor.bus.now())
        return msgspec.structs.replace(state, text=said.text, tool_calls=list(said.tool_calls))

    async def _find(self, request: HttpRequest[Any, Any]) -> Stream | TurnRecord:
        return await self._supervisor.find(request.principal, request.path["id"])


def _after(headers: Mapping[str, str], after: int) -> int:
    last = headers.get("last-event-id")
    if last is None:
        return after
    if not last.isascii() or not last.isdigit() or len(last) > 15:
        raise InvalidRequest("Last-Event-ID is the number of the last event seen", field="Last-Event-ID")
    return int(last)


def _recorded(record: TurnRecord) -> StreamState:
    ended = record.ended or lost_end(record)
    return StreamState(
        stream=record.stream,
        command=record.command,
        status=ended.status,
        n=record.last,
        text=record.said.text,
        tool_calls=list(record.said.tool_calls),
        ended=ended,
    )


def _running(stream: Stream, now: float) -> StreamState:
    return StreamState(
        stream=stream.id,
        command=stream.kind,
        status=stream.ended.status if stream.ended else "running",
        n=stream.n,
        age=round(now - stream.started, 3),
        ended=stream.ended,
    )
