"""What a client may ask for: commands that start a stream, and commands that are answered at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from engine.api.data import Write
from engine.api.events import Event
from engine.api.identity import Principal
from engine.api.streams import Ending, OnDisconnect, Said, StreamReader, Writer

BodyT = TypeVar("BodyT", bound=BaseModel)

_LONGEST_TEXT = 32 << 20
"""Characters of a text that has no bound of its own: as many as a body of the default `server.max_body` has bytes."""


class Body(BaseModel):
    """Root of the bodies that clients send: unknown fields and wrong types are refused, nothing is converted silently.

    Each text, list and object of a body has a bound (`engine.wire.bounds`): a list or an object without one fails a test.
    Of a list only the first wrong item is looked at: of 50,000 each would be a mistake, or several.
    """

    # Built at its first use, which costs a few milliseconds once: a start pays for none of the many that there are.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True, str_max_length=_LONGEST_TEXT)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _stop_at_first_wrong_item(schema)
        return schema

    def model_post_init(self, context: Any) -> None:
        """Nothing; but each call lets other threads run, where the validation itself keeps the interpreter's lock."""


def _stop_at_first_wrong_item(schema: Any) -> None:
    """Set it for all lists of a schema; those of a body in it are set already."""
    if isinstance(schema, dict):
        if schema.get("type") in ("list", "tuple", "set", "frozenset"):
            schema["fail_fast"] = True
        schema = schema.values()
    elif not isinstance(schema, list):
        return
    for part in schema:
        _stop_at_first_wrong_item(part)


@dataclass(frozen=True, slots=True)
class Request(Generic[BodyT]):
    """A validated command. `stream` is the id of the stream that it will start, or of the one it is about."""

    principal: Principal
    body: BodyT
    stream: str


class Closing(msgspec.Struct, frozen=True):
    """What a turn leaves behind: rows for its end commit, and the event that follows the commit.

    `over` gives what takes the place of `rows` where another server took this one for dead and has closed the turn with the
    rows of `Command.recover`; None where the same rows will do.
    """

    rows: Sequence[Write] = ()
    event: Event | None = None
    over: Callable[[], Sequence[Write]] | None = None


@dataclass(frozen=True, slots=True)
class Serve:
    """A turn that is ready to run.

    `serve` writes the stream; whatever it raises becomes the terminal event. `rows` are committed with the turn's own at
    accept, `closing` gives those of its end (called once, however the turn ended). `released` is called once when the
    end is committed or the stream is over, whichever is first, and also when the turn never started.
    """

    serve: Callable[[Writer], Awaitable[None]]
    rows: Sequence[Write] = ()
    closing: Callable[[Ending], Closing] | None = None
    released: Callable[[], None] | None = None
    model: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Plain data for `Command.recover` and listeners, kept in the turn's row."""
    keep: bool = True
    """False keeps no content: the turn's row has its usage and cost, and no words."""
    take: Callable[[int, bytes, int], int | None] | None = None
    """Takes the client's binary frames, each with the client's own count of it and its media time in milliseconds (0 where it
    names none). It must not wait; what it raises is told, and the count that it returns is acknowledged with `audio.ack`: all
    frames up to it need not be sent again."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A turn whose process died: what its row still knows."""

    stream: str
    principal: str
    detail: Mapping[str, Any]
    ending: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[BodyT]):
    """A command that starts a stream.

    `prepare` runs before `accepted`: what it raises is `rejected` (over HTTP a 4xx), and no stream exists. `recover`
    gives the rows with which a turn is closed whose process died. `example` is a whole frame for the docs. One that is
    `inner` is started in process only, as where its body holds what no frame can.
    """

    name: str
    body: type[BodyT]
    prepare: Callable[[Request[BodyT]], Awaitable[Serve]]
    recover: Callable[[Lost], Closing] | None = None
    scope: str = "chat"
    summary: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    inner: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[BodyT]):
    """A command that is answered at once: `handle` returns further fields of `accepted`."""

    name: str
    body: type[BodyT]
    handle: Callable[[Request[BodyT]], Awaitable[Mapping[str, Any] | None]]
    scope: str = "chat"
    summary: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)


class Commands(Protocol):
    """The command table, as a feature sees it: other dialects start turns through it, in process."""

    async def start(
        self,
        principal: Principal,
        command: str,
        body: Mapping[str, Any] | BaseModel,
        *,
        key: str | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> StreamReader:
        """Start the command's stream and watch it from its first event.

        Raises what the client would see as `rejected`. The same `key` and body answer the same stream.
        """
        ...

    async def watch(self, principal: Principal, stream: str, *, after: int = 0) -> StreamReader:
        """Read a stream of the caller's behind a number, whether it runs, has ended, or is only remembered.

        Raises `StreamNotFound`. What is no longer held is known to `StreamReader.said`, and iterating says so.
        """
        ...

    def feed(self, principal: Principal, stream: str, n: int, data: bytes) -> int | None:
        """Give a running stream of the caller one binary frame, as a client's; `n` counts them from 1.

        Gives the count to acknowledge, from time to time. Raises `StreamNotFound`, `InvalidFrame` or `Overloaded`.
        """
        ...

    async def forget(self, principal: Principal, left: Mapping[str, Said]) -> list[Write]:
        """Drop the content of streams of the caller that have ended; `left` names them, each with what remains readable.

        Gives the rows that empty their records, for the transaction that deletes what they were about. A later read finds
        how each ended and what it used, and of its content only what is left. Unknown and foreign ids change nothing.
        """
        ...

    async def is_open(self, principal: Principal, stream: str) -> bool | None:
        """Whether a stream of the caller has not ended, on whichever server of the database it runs.

        One whose server has died is open until that is certain, and is closed then. None where nothing is known of it.
        """
        ...

    async def call(self, principal: Principal, command: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a command that is answered at once."""
        ...
