"""The server under every vendor emulator: it records, plays a script, breaks on purpose and notices a hang-up."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, Self, TypeAlias, cast

from aiohttp import web
from multidict import CIMultiDict

from tests.emulators.reply import Condition, Fault, Hold, Piece, Say


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came in; `headers` ignore case, `body` is the parsed JSON or None."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    raw: bytes = field(repr=False)


Reply: TypeAlias = Say | Fault
Script: TypeAlias = Reply | Callable[[RecordedRequest], Reply]


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: `data` is sent as JSON, a str as it stands; `name` fills the `event:` line."""

    data: Any
    name: str | None = None


Step: TypeAlias = Event | Hold | Fault


class Rendering(Protocol):
    """A `Say` in one vendor's words."""

    def steps(self) -> Iterator[Step]: ...
    def whole(self) -> Mapping[str, Any]: ...
    def failure(self, rejection: "Rejection", condition: Condition) -> Event:
        """How the vendor reports `condition` at the present place of a running stream."""
        ...


class Rejection(Exception):
    """The vendor's error answer."""

    def __init__(self, status: int, body: Mapping[str, Any] | str, retry_after: float | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Emulator:
    """A vendor on a free loopback port, as an async context manager.

    Replies are taken from `script`, first in first out; when it is empty `otherwise` decides, by default an echo of
    the last user text. `requests` keeps what was asked, also what was refused. `closed_by_client` keeps the requests
    whose client left before the answer was whole.
    """

    root_path = ""
    newline = "\n"
    first_event_name: str | None = None
    retry_after_header = True

    def __init__(
        self,
        *,
        key: str | None = None,
        require_key: bool = True,
        models: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """With `key` no other is accepted; with `models` any other is the vendor's "model not found"."""
        self.key = key
        self.require_key = require_key
        self.models = tuple(models)
        self._tls = tls
        self.script: deque[Script] = deque()
        self.documents: deque[bytes] = deque()
        """Bodies that are sent as they stand, in the place of the next answers that are documents."""
        self.otherwise: Callable[[RecordedRequest], Reply] = self._echo
        self.requests: list[RecordedRequest] = []
        self.closed_by_client: list[RecordedRequest] = []
        self.open_streams = 0
        self.port = 0
        self.numbers = count(1)
        self._handlers: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._closing = False

    # What a vendor fills in.

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        """Serve one request; raises Rejection for the vendor's error answer."""
        raise NotImplementedError

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        """The vendor's answer to `condition`."""
        raise NotImplementedError

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        """The vendor's answer with HTTP `status`."""
        raise NotImplementedError

    def delayed(self, body: Mapping[str, Any], retry_after: float) -> Mapping[str, Any]:
        """The error `body` of a vendor that says in it, beside the header, when to come back."""
        return body

    def last_user_text(self, body: Any) -> str:
        """The text that an echo answers with."""
        raise NotImplementedError

    # Life.

    @property
    def base_url(self) -> str:
        """What a client is configured with: no trailing slash."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}{self.root_path}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Only handler_cancellation tells a handler that sits in silence that its client has left.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for task in self._handlers:
            task.cancel()
        await self._runner.cleanup()

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Inside, the port is closed: new connections are refused and idle ones are gone."""
        await self._site.stop()
        for connection in cast("web.Server", self._runner.server).connections:
            connection.force_close()
            if connection.transport is not None:
                connection.transport.abort()
        try:
            yield
        finally:
            await self._listen()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self._tls)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    # What a test waits for.

    async def hung_up(self, n: int = 1, timeout: float = 5.0) -> None:
        """Return once `n` clients have left in mid-answer; AssertionError after `timeout` seconds."""
        await self._until(lambda: len(self.closed_by_client) >= n, timeout, f"{n} clients to hang up")

    async def received(self, n: int = 1, timeout: float = 5.0) -> None:
        """Return once `n` requests have come in; AssertionError after `timeout` seconds."""
        await self._until(lambda: len(self.requests) >= n, timeout, f"{n} requests")

    async def streaming(self, n: int = 1, timeout: float = 5.0) -> None:
        """Return once exactly `n` streams are open; AssertionError after `timeout` seconds."""
        await self._until(lambda: self.open_streams == n, timeout, f"{n} open streams")

    async def _until(self, reached: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"waited {timeout} s for {what}; there are {len(self.closed_by_client)} hang-ups, "
                f"{len(self.requests)} requests, {self.open_streams} open streams"
            ) from None

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # One request.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            record = await self._record(request)
            return await self._answer_or_reject(record, request)
        finally:
            self._handlers.discard(task)

    async def _record(self, request: web.Request) -> RecordedRequest:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except (ValueError, UnicodeDecodeError):
            body = None
        record = RecordedRequest(
            request.method, request.path, dict(request.query), CIMultiDict(request.headers), body, raw
        )
        self.requests.append(record)
        self._notify()
        return record

    async def _answer_or_reject(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        try:
            return await self.answer(record, request)
        except Rejection as rejection:
            return self._rejected(rejection)
        except asyncio.CancelledError:
            if not self._closing:
                self.closed_by_client.append(record)
                self._notify()
            raise

    def _rejected(self, rejection: Rejection) -> web.Response:
        headers = {} if rejection.retry_after is None else {"retry-after": f"{rejection.retry_after:g}"}
        if isinstance(rejection.body, str):
            return web.Response(status=rejection.status, text=rejection.body, content_type="text/html", headers=headers)
        return web.json_response(rejection.body, status=rejection.status, headers=headers)

    # The script.

    def next_reply(self, record: RecordedRequest) -> Reply:
        reply = self.script.popleft() if self.script else self.otherwise
        return reply(record) if callable(reply) else reply

    def _echo(self, record: RecordedRequest) -> Reply:
        return Say(self.last_user_text(record.body))

    async def play(
        self, record: RecordedRequest, request: web.Request, render: Callable[[Say], Rendering], *, stream: bool
    ) -> web.StreamResponse:
        """Serve the next scripted reply, whole or as server-sent events."""
        reply = self.next_reply(record)
        if isinstance(reply, Fault) and reply.kind == "status":
            raise self._rejection_of(reply)
        say = (reply.say or cast("Say", self._echo(record))) if isinstance(reply, Fault) else reply
        rendering = render(say)
        steps = break_in(rendering.steps(), reply) if isinstance(reply, Fault) else rendering.steps()
        if say.start is not None:
            await say.start.wait()
        if not stream:
            return await self._send_whole(request, rendering, steps)
        with self._open_stream():
            return await self._send_events(request, rendering, steps, join=say.join)

    def refuse_as_scripted(self) -> None:
        """For an answer that is no `Say`: raise the next scripted reply where it is a status."""
        if self.script and isinstance(fault := self.script[0], Fault) and fault.kind == "status":
            self.script.popleft()
            raise self._rejection_of(fault)

    async def tell(self, request: web.Request, document: Mapping[str, Any]) -> web.StreamResponse:
        """Answer with a document that is no `Say`, or as the script has it instead."""
        self.refuse_as_scripted()
        fault = self.script.popleft() if self.script and isinstance(self.script[0], Fault) else None
        match fault:
            case Fault(kind="cut"):
                return self._cut(request, web.Response())
            case Fault(kind="silence"):
                await asyncio.Event().wait()
            case Fault(kind="malformed"):
                return web.Response(text='{"id": "broken', content_type="application/json")
        return web.json_response(document)

    def _rejection_of(self, fault: Fault) -> Rejection:
        if fault.condition is not None:
            known = self.rejection(fault.condition, fault.message)
        else:
            known = self.rejection_of_status(fault.code or 500, fault.message)
        if fault.body is not None:
            return Rejection(known.status, fault.body, fault.retry_after)
        if fault.retry_after is None or isinstance(known.body, str):
            return known
        header = fault.retry_after if self.retry_after_header else None
        return Rejection(known.status, self.delayed(known.body, fault.retry_after), header)

    @contextmanager
    def _open_stream(self) -> Iterator[None]:
        self.open_streams += 1
        self._notify()
        try:
            yield
        finally:
            self.open_streams -= 1
            self._notify()

    # The two ways to answer.

    async def _send_whole(
        self, request: web.Request, rendering: Rendering, steps: Iterable[Step]
    ) -> web.StreamResponse:
        for step in steps:
            match step:
                case Hold():
                    await step.wait()
                case Fault(kind="cut"):
                    return self._cut(request, web.Response())
                case Fault(kind="silence"):
                    await asyncio.Event().wait()
                case Fault(kind="malformed"):
                    return web.Response(text='{"id": "broken', content_type="application/json")
                case Fault():
                    raise self._rejection_of(step)
                case Event():
                    continue
        return web.json_response(rendering.whole())

    async def _send_events(
        self, request: web.Request, rendering: Rendering, steps: Iterable[Step], *, join: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        pending = b""
        name = self.first_event_name
        for step in steps:
            match step:
                case Event():
                    name = step.name
                    pending += self._encode(step)
                    if not join:
                        pending = await self._flush(request, response, pending)
                case Hold():
                    if not response.prepared:
                        await response.prepare(request)
                    pending = await self._flush(request, response, pending)
                    await step.wait()
                case Fault(kind="malformed"):
                    broken = self._encode(Event('{"type": "broken', name))
                    await self._flush(request, response, pending + broken, last=True)
                    return response
                case Fault(kind="error_event"):
                    failure = self._failure(rendering, step)
                    await self._flush(request, response, pending + self._encode(failure), last=True)
                    return response
                case Fault(kind="cut"):
                    await self._flush(request, response, pending)
                    return self._cut(request, response)
                case Fault(kind="silence"):
                    await self._flush(request, response, pending)
                    await asyncio.Event().wait()
                case Fault():
                    raise AssertionError("a status cannot stand among pieces; use Fault.error_event")
        await self._flush(request, response, pending, last=True)
        return response

    def _failure(self, rendering: Rendering, fault: Fault) -> Event:
        condition = fault.condition or "server"
        return rendering.failure(self.rejection(condition, fault.message), condition)

    def _cut(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _flush(
        self, request: web.Request, response: web.StreamResponse, data: bytes, *, last: bool = False
    ) -> bytes:
        """Write `data` at once and, unless it is the last, let a client on this loop read it before going on."""
        if data or last:
            if not response.prepared:
                await response.prepare(request)
            await response.write(data)
        if data and not last:
            # The first turn of the loop polls the client's socket, the second one runs its reader.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return b""

    def _encode(self, event: Event) -> bytes:
        data = event.data if isinstance(event.data, str) else json.dumps(event.data, separators=(",", ":"))
        name = f"event: {event.name}{self.newline}" if event.name else ""
        return f"{name}data: {data}{self.newline * 2}".encode()


def break_in(steps: Iterator[Step], fault: Fault) -> Iterator[Step]:
    """Put `fault` after the event number `fault.after`, at the latest at the end; what follows is never rendered."""
    seen = 0
    while seen < fault.after and (step := next(steps, None)) is not None:
        yield step
        seen += isinstance(step, Event)
    yield fault


def deltas(pieces: Iterable[Piece], event: Callable[[str], Step]) -> Iterator[Step]:
    """Turn each text among `pieces` into an event; holds and faults stay where they are."""
    for piece in pieces:
        yield event(piece) if isinstance(piece, str) else piece


def texts_in(content: Any) -> str:
    """The text of a message's content: a string, or parts with a `text`."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
