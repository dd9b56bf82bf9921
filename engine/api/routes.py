"""HTTP routes: typed by pydantic models, so that OpenAPI, validation and docs are one thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from engine.api.errors import EngineError
from engine.api.events import Event, StreamEnded
from engine.api.identity import Principal
from engine.api.streams import Said, StreamReader

BodyT = TypeVar("BodyT", bound="BaseModel | None")
QueryT = TypeVar("QueryT", bound="BaseModel | None")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a form. `name` is what its sender calls it, for people only; `size` is in bytes."""

    name: str
    content_type: str
    size: int
    file: IO[bytes] = field(repr=False)

    def close(self) -> None:
        """Let go of it; a second time nothing happens."""
        self.file.close()


@dataclass(frozen=True, slots=True)
class HttpRequest(Generic[BodyT, QueryT]):
    """A validated request. `path` holds the address's parameters; header names are lower case."""

    principal: Principal
    body: BodyT
    query: QueryT
    path: Mapping[str, str]
    headers: Mapping[str, str]
    id: str
    raw: bytes = b""
    upload: Upload | None = None
    """The file of a route with `upload`. Its handler closes it, or hands it on to who does."""
    granted: Mapping[str, Any] | None = None
    """The detail of the pass that the caller came with; None of a caller with a key."""

    @property
    def wants_events(self) -> bool:
        """True when the caller accepts server-sent events by name; `*/*` does not ask for them."""
        return "text/event-stream" in self.headers.get("accept", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is a model, a msgspec struct, plain data for JSON, or bytes with `content_type`."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnswer:
    """An answer that is read while it is sent: whole, or the one part that its caller asks for (Range, RFC 9110).

    `read` gives the bytes from a start up to an end, which is not among them. `etag` names what is in the file, in quotes,
    and changes with it: a caller that has it is sent nothing.
    """

    size: int
    read: Callable[[int, int], AsyncIterator[bytes]]
    etag: str
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


class Encoder(Protocol):
    """Folds the events of one stream into the server-sent events of a dialect. One instance serves one answer."""

    def encode(self, n: int, event: Event) -> bytes | None:
        """The bytes to send for one event, or None for nothing. Called in order, once for each event."""
        ...

    def failed(self, error: EngineError) -> bytes:
        """The bytes that tell a reader that it gets no more events, though the stream goes on."""
        ...


_SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer as server-sent events, written as the stream goes on.

    Without an `encoder` the events go out in the engine's own form. With another `content_type` they are one file, which is
    cut off where the stream fails. `hold` keeps back the status line until the vendor's answer has begun, and a moment more for
    an error close behind it, or until the end, so that a failure before it is an HTTP error. `keep_alive` is what is sent in a
    silence: a comment, unless the dialect has an event for it. The caller's leaving closes `reader`.
    """

    reader: StreamReader
    encoder: Encoder | None = None
    hold: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = _SSE
    keep_alive: bytes = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer that waits for the end of the stream and is then made of it by `build`.

    The status line waits, too: a stream that failed or was stopped is answered as an HTTP error, with what it had said in its
    `partial`, and `build` is asked for completed ones alone.
    """

    reader: StreamReader
    build: Callable[[Said, StreamEnded], Answer]


class WebSocket(Protocol):
    """One open WebSocket, as the plugin that serves it sees it. Pings, the drain and a key's withdrawal are the engine's."""

    async def receive(self) -> str | bytes | None:
        """The next message of the client; None once either side has closed."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message, and wait while the client reads slowly. After the close nothing is sent, and nothing raised."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it (codes: RFC 6455, section 7.4); a second time nothing happens. A reason has at most 120 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The answer of a route with `socket`: a WebSocket.

    `serve` holds it until it returns, and is cancelled when the client's connection is lost; what it raises closes the socket
    with 1011. Of the client's subprotocols the first of `protocols` is agreed on.
    """

    serve: Callable[[WebSocket], Awaitable[None]]
    protocols: tuple[str, ...] = ()


Result = Answer | FileAnswer | EventStream | WholeAnswer | Upgrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address. `scope` is what the credential must grant; None means that anybody may ask.

    `upload` is the field of a form that holds a file: the body's fields come beside it in the form, and are read from text.
    `media` are types that the answer may have besides JSON. `errors` renders an error in a dialect of its own; the default
    is problem+json (RFC 9457). A `socket` is a GET that asks for a WebSocket; its handler answers `Upgrade`, and what it
    raises is answered over HTTP, before the upgrade. `passes` is the purpose of passes that open it beside keys (`Passes`).
    `statuses` lists what else may be answered, for OpenAPI. With `rest` the last parameter of the address takes all that
    follows, slashes too.
    """

    method: str
    path: str
    handler: Callable[[HttpRequest[Any, Any]], Awaitable[Result]]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    returns: type[BaseModel] | type | None = None
    status: int = 200
    scope: str | None = "chat"
    summary: str = ""
    tag: str = ""
    events: bool = False
    media: tuple[str, ...] = ()
    upload: str | None = None
    body_optional: bool = False
    socket: bool = False
    rest: bool = False
    passes: str | None = None
    errors: Callable[[EngineError, str], Answer] | None = None
    statuses: Mapping[int, str] = field(default_factory=dict)
