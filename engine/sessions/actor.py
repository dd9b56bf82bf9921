"""The session actor: one per connection. Its loop alone touches its state; turns belong to the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from engine.api.commands import Command
from engine.api.errors import (
    EngineError,
    Forbidden,
    FrameTooLarge,
    Internal,
    InvalidFrame,
    InvalidRequest,
    LimitExceeded,
    Unauthenticated,
)
from engine.api.identity import LOCAL, Principal
from engine.api.ids import random_hex
from engine.api.streams import OnDisconnect, parse_on_disconnect
from engine.bus.stream import Stream
from engine.guard import let_go
from engine.log import get_logger
from engine.request_size import REQUEST_SIZE
from engine.sessions.core import (
    CORE_COMMANDS,
    SessionConfigure,
    StreamCancel,
    StreamDetach,
    StreamResume,
)
from engine.sessions.ledger import TurnRecord
from engine.sessions.outlet import Outlet, Peer
from engine.sessions.supervisor import Supervisor
from engine.wire.apart import LARGE, apart_if
from engine.wire.control import (
    PROTOCOL,
    Accepted,
    AudioAck,
    Pong,
    Rejected,
    SessionDraining,
    SessionFeatures,
    SessionReady,
    StreamDetached,
)
from engine.wire.extent import check_extent
from engine.wire.frames import decode_binary, encode_event, encode_json, stream_prefix
from engine.wire.halves import whole_characters
from engine.wire.validation import explain

log = get_logger(__name__)

BodyT = TypeVar("BodyT", bound=BaseModel)

UNAUTHENTICATED_CLOSE = 4401
TRY_AGAIN_CLOSE = 1013
_CORE = {command.name: command for command in CORE_COMMANDS}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Bounds of one session. `streams` is off where it is None; `max_frame` is in bytes, `authenticate_within` in seconds."""

    version: str
    features: tuple[str, ...] = ()
    mailbox: int = 64
    max_frame: int = 1 << 20
    authenticate_within: float = 10.0
    streams: int | None = None


@dataclass(frozen=True, slots=True)
class TextFrame:
    """A text frame as it came."""

    data: str


@dataclass(frozen=True, slots=True)
class Drain:
    """The server goes down in `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Switched:
    """These plugins are on from now."""

    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hangup:
    """The connection is gone."""


News = Drain | Switched
Mail = TextFrame | News | Hangup


class Envelope(msgspec.Struct, frozen=True):
    """A command's name and id, and its own fields."""

    type: str
    id: str | None
    body: dict[str, Any]


class Start(msgspec.Struct, frozen=True):
    """A command that waits to be started, without the fields that are about the start."""

    id: str | None
    command: Command[Any]
    body: dict[str, Any]
    key: str | None
    on_disconnect: OnDisconnect
    traceparent: str | None
    size: int
    """Bytes of the frame."""


class Mailbox(asyncio.Queue[Mail]):
    """Mail in its order. It is full with `most` pieces, or once they have `most_characters` together."""

    def __init__(self, most: int, most_characters: int) -> None:
        super().__init__(most)
        self._most_characters = most_characters
        self._characters = 0

    def full(self) -> bool:
        return self._characters >= self._most_characters or super().full()

    def _put(self, item: Mail) -> None:
        super()._put(item)
        self._characters += _characters(item)

    def _get(self) -> Mail:
        item: Mail = super()._get()
        self._characters -= _characters(item)
        return item


def _characters(mail: Mail) -> int:
    return len(mail.data) if isinstance(mail, TextFrame) else 0


class Session:
    """Reads its mailbox in order. Commands that start streams run one after another beside it, so that a slow start
    never holds up a cancel.

    `authenticate` turns a key into a principal; it is asked where the handshake brought none. `admit` is asked before each
    command; it gives the caller as the key stands now, and raises what keeps the command from being taken: a key that was
    revoked, or a rate that is used up.
    """

    # Thousands of sessions are idle at a time: what one holds is counted in bytes.
    __slots__ = (
        "_admit",
        "_authenticate",
        "_mailbox",
        "_outlet",
        "_peer",
        "_principal",
        "_settings",
        "_started",
        "_starter",
        "_starts",
        "_supervisor",
        "id",
        "streams",
    )

    def __init__(
        self,
        peer: Peer,
        supervisor: Supervisor,
        settings: SessionSettings,
        *,
        principal: Principal | None,
        authenticate: Callable[[str], Awaitable[Principal]] | None = None,
        admit: Callable[[Principal], Awaitable[Principal]] | None = None,
    ) -> None:
        self.id = f"c_{random_hex(8)}"
        self._peer = peer
        self._supervisor = supervisor
        self.streams = settings.streams
        """Streams that it may watch at a time."""
        self._settings = settings
        self._principal = principal
        self._authenticate = authenticate
        self._admit = admit
        self._mailbox = Mailbox(settings.mailbox, settings.max_frame)
        self._outlet = Outlet(peer, supervisor.stats)
        self._starts: list[Start] = []
        self._started: asyncio.Event | None = None
        self._starter: asyncio.Task[None] | None = None

    async def post(self, mail: Mail) -> None:
        """Put mail into the mailbox; waits while it is full, so that the sender's socket pushes back."""
        await self._mailbox.put(mail)

    def try_post(self, mail: Mail) -> bool:
        """Put mail into the mailbox, unless it is full."""
        if self._mailbox.full():
            return False
        self._mailbox.put_nowait(mail)
        return True

    async def run(self) -> None:
        """Answer until the connection is gone. Turns go on as their `on_disconnect` says."""
        try:
            if self._principal is None and not await self._wait_for_key():
                return
            self._ready()
            while True:
                match await self._mailbox.get():
                    case TextFrame(data):
                        await self._command(data)
                    case Drain(seconds):
                        self._outlet.send(SessionDraining(seconds=seconds))
                    case Switched(features):
                        self._outlet.send(SessionFeatures(features=list(features)))
                    case Hangup():
                        return
        finally:
            self._outlet.close()
            starter, self._starter = self._starter, None  # the error of a cut task holds the session in its frames
            if starter is not None:
                starter.cancel()
            # What nobody takes up any more; the first start is the starter's to remove.
            del self._starts[1:]
            self._mailbox = Mailbox(1, 1)

    @property
    def watching(self) -> int:
        """Streams that this session watches."""
        return self._outlet.watching

    @property
    def waiting(self) -> int:
        """Commands that wait to be taken up or started."""
        return self._mailbox.qsize() + len(self._starts)

    @property
    def principal(self) -> Principal | None:
        """Whose session it is; None until its key has come."""
        return self._principal

    # Authentication

    def _ready(self) -> None:
        settings = self._settings
        self._outlet.send(
            SessionReady(protocol=PROTOCOL, session=self.id, version=settings.version, features=list(settings.features))
        )

    async def _wait_for_key(self) -> bool:
        re: str | None = None
        try:
            async with asyncio.timeout(self._settings.authenticate_within):
                while isinstance(mail := await self._mailbox.get(), News):
                    # What is on is told anyway, once the session is ready.
                    if isinstance(mail, Drain):
                        self._outlet.send(SessionDraining(seconds=mail.seconds))
                if isinstance(mail, Hangup):
                    return False
                if self._authenticate is None:
                    raise Unauthenticated("the first frame of a session is session.authenticate with an API key")
                envelope = await self._open(mail.data)
                re = envelope.id
                key = envelope.body.get("key")
                if envelope.type != "session.authenticate" or not isinstance(key, str):
                    raise Unauthenticated("the first frame of a session is session.authenticate with an API key")
                self._principal = await self._authenticate(key)
                if envelope.id is not None:
                    self._outlet.send(Accepted(re=envelope.id))
                return True
        except TimeoutError:
            problem: EngineError = Unauthenticated("no session.authenticate came in time")
        except EngineError as error:
            # What may pass, as a database that is away, says nothing about the key.
            problem = error if error.retryable else Unauthenticated(error.message)
        self._outlet.send(Rejected(re=re, error=problem.body()))
        self._outlet.flush()
        self._peer.close(TRY_AGAIN_CLOSE if problem.retryable else UNAUTHENTICATED_CLOSE, problem.message[:100])
        return False

    # Commands

    async def _command(self, data: str) -> None:
        await self._outlet.writable()
        REQUEST_SIZE.set(len(data))
        re = None
        try:
            envelope = await self._open(data)
            re = envelope.id
            if self._admit is not None:
                self._principal = await self._admit(self._who())
            core = _CORE.get(envelope.type)
            if core is None:
                await self._feature(envelope)
            else:
                if core.scope is not None and not self._who().may(core.scope):
                    raise Forbidden(f"{core.name} needs a key with the scope {core.scope!r}")
                await self._own(envelope, _validated(core, envelope.body))
        except Unauthenticated as error:
            self._outlet.send(Rejected(re=re, error=error.body()))
            self._outlet.flush()
            self._peer.close(UNAUTHENTICATED_CLOSE, error.message[:100])
            let_go(error)
        except EngineError as error:
            self._outlet.send(Rejected(re=re or _salvaged_id(data), error=error.body()))
            let_go(error)
        except Exception as error:
            log.exception("command_crashed", session=self.id)
            self._outlet.send(
                Rejected(re=re, error=Internal("the command failed inside the server; its log has the cause").body())
            )
            let_go(error)

    async def _open(self, data: str) -> Envelope:
        size = len(data) if data.isascii() else len(data.encode(errors="replace"))
        if size > self._settings.max_frame:
            most = self._settings.max_frame
            raise FrameTooLarge(f"a frame has at most {most} bytes, this one has {size}", limit=most)
        return _envelope(await apart_if(size > LARGE, partial(_decoded, data)))

    async def _own(self, envelope: Envelope, body: BaseModel) -> None:
        principal = self._who()
        match body:
            case StreamResume():
                await self._resume(envelope, body, principal)
            case StreamCancel():
                await self._supervisor.cancel(principal, body.stream)
                self._outlet.send(Accepted(re=envelope.id, stream=body.stream))
            case StreamDetach():
                await self._detach(envelope, body, principal)
            case SessionConfigure():
                self._configure(body)
                self._outlet.send(Accepted(re=envelope.id))
            case _ if envelope.type == "ping":
                self._outlet.send(Pong(re=envelope.id))
            case _ if principal == LOCAL:
                # Where nobody needs a credential, any is taken and none is looked at.
                self._outlet.send(Accepted(re=envelope.id))
            case _:
                raise InvalidRequest("this session is authenticated already", field="type")

    async def _feature(self, envelope: Envelope) -> None:
        principal = self._who()
        command = self._supervisor.table.get(envelope.type, principal, outside=True)
        if isinstance(command, Command):
            await self._queue_start(_start(envelope, command))
            return
        answer = await self._supervisor.call(principal, envelope.type, envelope.body)
        self._accept(envelope, answer)

    def _accept(self, envelope: Envelope, fields: Mapping[str, Any]) -> None:
        frame: dict[str, Any] = {"type": "accepted"}
        if envelope.id is not None:
            frame["re"] = envelope.id
        self._outlet.send_json(encode_json({**frame, **fields}))

    def _configure(self, body: SessionConfigure) -> None:
        if body.join is not None:
            self._outlet.join = body.join
        if "lanes" in body.model_fields_set:
            self._outlet.lanes = None if body.lanes is None else frozenset(body.lanes)

    def hear(self, data: bytes) -> None:
        """Take a binary frame. It does not go through the mailbox, so that audio never holds up a cancel."""
        if self._principal is None:
            # A first frame that shows no key, like any other.
            self.try_post(TextFrame('{"type": "binary"}'))
            return
        try:
            frame = decode_binary(data)
            turn = self._supervisor.taking(self._principal, frame.number)
            if turn is None or turn.serve.take is None:
                raise InvalidFrame(f"no stream with number {frame.number} of this session takes binary frames")
            done = turn.serve.take(frame.n, frame.payload, frame.at)
            if done is not None:
                self._outlet.send(AudioAck(stream=turn.stream.id, n=done))
        except EngineError as error:
            self._outlet.send(Rejected(error=error.body()))
        except ValueError as error:
            self._outlet.send(Rejected(error=InvalidFrame(str(error)).body()))
        except Exception:
            log.exception("binary_frame_crashed", session=self.id)
            self._outlet.send(
                Rejected(error=Internal("the frame could not be taken; the server's log has the cause").body())
            )

    def _who(self) -> Principal:
        assert self._principal is not None
        return self._principal

    # Starting streams

    async def _queue_start(self, start: Start) -> None:
        most, most_bytes = self._settings.mailbox, self._settings.max_frame
        # What is read of a frame takes many times its bytes: of large commands two wait at most.
        while len(self._starts) >= most or sum(each.size for each in self._starts) >= most_bytes:
            # The mailbox fills up behind this, and then the socket pushes back.
            self._started = asyncio.Event()
            await self._started.wait()
        bound = self.streams
        if bound is not None and self._outlet.watching + len(self._starts) >= bound:
            raise LimitExceeded(
                f"a session watches at most {bound} streams at a time; wait for one to end, or detach it",
                limit=bound,
                remaining=0,
            )
        self._starts.append(start)
        if self._starter is None or self._starter.done():
            self._starter = asyncio.create_task(self._start_all(), name=f"starts of {self.id}")

    async def _start_all(self) -> None:
        while self._starts:
            start = self._starts[0]
            try:
                await self._start(start)
            except EngineError as error:
                self._outlet.send(Rejected(re=start.id, error=error.body()))
                let_go(error)
            except Exception as error:
                log.exception("start_crashed", session=self.id, command=start.command.name)
                problem = Internal("the command failed inside the server; its log has the cause")
                self._outlet.send(Rejected(re=start.id, error=problem.body()))
                let_go(error)
            finally:
                del self._starts[0]
                if self._started is not None:
                    self._started.set()

    async def _start(self, start: Start) -> None:
        REQUEST_SIZE.set(start.size)
        with self._supervisor.tracing.frame(start.traceparent):
            found = await self._supervisor.start(
                self._who(), start.command.name, start.body, key=start.key, on_disconnect=start.on_disconnect
            )
        if isinstance(found, Stream):
            self._watch(start.id, found, 0)
        else:
            self._recall(start.id, found, 0)

    # Watching streams

    async def _resume(self, envelope: Envelope, body: StreamResume, principal: Principal) -> None:
        found = await self._supervisor.find(principal, body.stream)
        resumes = self._supervisor.stats.resumes
        if isinstance(found, Stream):
            if body.after > found.n:
                raise InvalidRequest(
                    f"the last event of this stream has number {found.n}, so none comes after {body.after}",
                    field="after",
                )
            resumes[body.after >= found.log.tail] += 1
            self._watch(envelope.id, found, body.after)
        else:
            resumes[found.since(body.after).snapshot is None] += 1
            self._recall(envelope.id, found, body.after)

    def _watch(self, re: str | None, stream: Stream, after: int) -> None:
        if self._outlet.closed:
            return
        recovered = after >= stream.log.tail
        self._outlet.send(Accepted(re=re, stream=stream.id, number=stream.number, recovered=recovered))
        if not recovered:
            after = stream.n if stream.ended is None else stream.n - 1
            self._outlet.send(stream.snapshot(after))
        self._outlet.watch(stream, after)

    def _recall(self, re: str | None, record: TurnRecord, after: int) -> None:
        """Answer from the turn's row: what it said as a whole, and how it ended."""
        recalled = record.since(after)
        self._outlet.send(Accepted(re=re, stream=record.stream, recovered=recalled.snapshot is None))
        if recalled.snapshot is not None:
            self._outlet.send(recalled.snapshot)
        for n, event in recalled.events:
            self._outlet.send_json(encode_event(stream_prefix(record.stream), n, event))

    async def _detach(self, envelope: Envelope, body: StreamDetach, principal: Principal) -> None:
        last = self._outlet.unwatch(body.stream)
        if last is None:
            await self._supervisor.find(principal, body.stream)
        self._outlet.send(Accepted(re=envelope.id, stream=body.stream))
        if last is not None:
            self._outlet.send(StreamDetached(stream=body.stream, last=last))


def _decoded(data: str) -> dict[str, Any]:
    text = data.encode(errors="replace")
    check_extent(text, "frame")
    try:
        return _decode(text)
    except msgspec.ValidationError:
        raise InvalidFrame('a frame is a JSON object such as {"type": "ping"}') from None
    except (msgspec.DecodeError, RecursionError) as error:
        whole = whole_characters(text)
        if whole != text:
            return _decoded(whole.decode())
        raise InvalidFrame(f"the frame is not JSON: {error}") from None


def _envelope(frame: dict[str, Any]) -> Envelope:
    kind = frame.pop("type", None)
    if not isinstance(kind, str):
        raise InvalidFrame('a frame names its command in \'type\', as in {"type": "ping"}', field="type")
    id = frame.pop("id", None)
    if id is not None and (not isinstance(id, str) or len(id) > 200):
        raise InvalidRequest("'id' is a text of at most 200 characters; it is echoed as 're'", field="id")
    return Envelope(kind, id, frame)


def _start(envelope: Envelope, command: Command[Any]) -> Start:
    body = envelope.body
    key = body.pop("key", None)
    if key is not None and not isinstance(key, str):
        raise InvalidRequest("'key' is a text that makes a retry safe", field="key")
    on_disconnect = parse_on_disconnect(body.pop("on_disconnect", "continue"))
    traceparent = body.pop("traceparent", None)
    if traceparent is not None and not isinstance(traceparent, str):
        raise InvalidRequest("'traceparent' is a text, as in the header of that name", field="traceparent")
    return Start(envelope.id, command, body, key, on_disconnect, traceparent, REQUEST_SIZE.get())


def _validated(model: type[BodyT], body: Mapping[str, Any]) -> BodyT:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise explain(error, model) from None


def _salvaged_id(data: str) -> str | None:
    """The id of a frame that was refused for something else, so that its sender can tell which one it was."""
    if len(data) > 1 << 16:
        return None
    try:
        id = _decode(data).get("id")
    except (msgspec.MsgspecError, RecursionError):
        return None
    return id if isinstance(id, str) and len(id) <= 200 else None
