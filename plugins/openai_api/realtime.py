"""`/v1/realtime`: OpenAI's realtime sessions over any model that holds calls (types: `openai.types.realtime`)."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import Field, ValidationError

from engine.api import (
    Body,
    Commands,
    Conflict,
    EngineError,
    HttpRequest,
    InvalidRequest,
    Overloaded,
    Principal,
    Providers,
    Route,
    StreamEnded,
    StreamReader,
    ToolCall,
    UnsupportedParameter,
    Upgrade,
    WebSocket,
)
from engine.api.ids import random_hex
from engine.wire.validation import explain
from plugins.openai_api.naming import realtime_named
from plugins.openai_api.realtime_events import RealtimeFold, ServerEvent
from plugins.openai_api.realtime_session import Part, RealtimeSession, SessionBody
from plugins.openai_api.responses_errors import answer_error

CALLS_WITHIN = 0.05
"""Seconds after the call of a tool in which further ones belong to the same response."""

SHORTEST = 0.1
"""Seconds of audio that can be committed."""

PROTOCOL = "realtime"

_encode = msgspec.json.Encoder().encode


class RealtimeQuery(Body):
    """Who is called."""

    model_config = {"strict": False, "extra": "forbid", "frozen": True}

    model: str | None = Field(default=None, max_length=200, description="A realtime model; absent: [models] realtime.")


class _Event(Part):
    event_id: str | None = None


class SessionUpdate(_Event):
    """Set what is to be different."""

    type: Literal["session.update"]
    session: SessionBody


class Append(_Event):
    """Audio in base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(_Event):
    """What was spoken is a turn."""

    type: Literal["input_audio_buffer.commit"]


class Clear(_Event):
    """What was spoken is forgotten."""

    type: Literal["input_audio_buffer.clear"]


class Content(Part):
    """A text; `output_text` of the assistant's."""

    type: Literal["input_text", "output_text", "text"]
    text: str = Field(min_length=1, max_length=100_000)


class Message(Part):
    """Something said in writing."""

    type: Literal["message"]
    role: Literal["user", "system", "assistant"]
    content: list[Content] = Field(min_length=1)
    id: str | None = Field(default=None, max_length=64)
    object: Literal["realtime.item"] | None = None
    status: str | None = None


class CallOutput(Part):
    """What a function answered."""

    type: Literal["function_call_output"]
    call_id: str = Field(max_length=200)
    output: str
    id: str | None = Field(default=None, max_length=64)
    object: Literal["realtime.item"] | None = None
    status: str | None = None


class ItemCreate(_Event):
    """An item of the conversation."""

    type: Literal["conversation.item.create"]
    item: Annotated[Message | CallOutput, Field(discriminator="type")]
    previous_item_id: str | None = None


class Truncate(_Event):
    """How much of an answer was played."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = 0
    audio_end_ms: int = Field(ge=0)


class ResponseOptions(Part):
    """What is special about one answer."""

    instructions: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = None
    conversation: Literal["auto"] | None = None
    metadata: dict[str, str] | None = None
    max_output_tokens: Literal["inf"] | None = None


class ResponseCreate(_Event):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseOptions | None = None


class ResponseCancel(_Event):
    """Stop the answer."""

    type: Literal["response.cancel"]
    response_id: str | None = None


ClientEvent = SessionUpdate | Append | Commit | Clear | ItemCreate | Truncate | ResponseCreate | ResponseCancel

_KINDS: dict[str, type[_Event]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "conversation.item.create": ItemCreate,
    "conversation.item.truncate": Truncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}


class Realtime:
    """Opens sessions."""

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str) -> None:
        self._commands = commands
        self._providers = providers
        self._default_vendor = default_vendor

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="GET",
                path="/v1/realtime",
                handler=self.open,
                query=RealtimeQuery,
                socket=True,
                errors=answer_error,
                summary="A conversation by voice, as a WebSocket with OpenAI's realtime events.",
                tag="openai",
                statuses={404: "model_not_found, feature_disabled", 503: "model_unavailable"},
            )
        ]

    async def open(self, request: HttpRequest[None, RealtimeQuery]) -> Upgrade:
        """Agree to a session; a model that is not there is an HTTP error."""
        model = realtime_named(self._providers, request.query.model, self._default_vendor)
        session = RealtimeSession(f"sess_{random_hex(12)}", model)
        return Upgrade(partial(Conversation(self._commands, request.principal, session).serve), (PROTOCOL,))


class Conversation:
    """One connection: the client's events become calls of `realtime.*`, the call's events OpenAI's."""

    def __init__(self, commands: Commands, principal: Principal, session: RealtimeSession) -> None:
        self._commands = commands
        self._principal = principal
        self._link: WebSocket
        self._session = session
        self._fold = RealtimeFold()
        self._reader: StreamReader | None = None
        self._telling: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._n = 0
        self._uncommitted = 0
        self._resulted = False
        """Whether a tool has answered since the last response: the model goes on by itself."""

    async def serve(self, link: WebSocket) -> None:
        """Talk until either side leaves."""
        self._link = link
        await self._send([self._fold.event("session.created", session=self._session.shown())])
        try:
            while (data := await link.receive()) is not None:
                await self._take(data)
        finally:
            if self._later is not None:
                self._later.cancel()
            tasks = [task for task in (self._telling, self._ending) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._reader is not None:
                self._reader.cancel()
                self._reader.close()

    async def _send(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            await self._link.send(_encode(event).decode())

    async def _take(self, data: str | bytes) -> None:
        id: str | None = None
        try:
            told = _parsed(data)
            id = given if isinstance(given := told.get("event_id"), str) else None
            await self._do(_event(told))
        except EngineError as error:
            await self._send([self._fold.error(error.body(), id)])

    async def _do(self, event: ClientEvent) -> None:
        fold, session = self._fold, self._session
        match event:
            case SessionUpdate():
                changes = session.update(event.session)
                fold.modality, fold.detects = session.modality, session.detects
                if session.started and changes:
                    await self._call("update", **changes)
                await self._send([fold.event("session.updated", session=session.shown())])
            case Append():
                await self._append(_decoded(event.audio))
            case Commit():
                if self._uncommitted < SHORTEST * session.bytes_a_second:
                    raise EmptyBuffer("there is too little audio to commit: a turn has at least 100 ms")
                self._uncommitted = 0
                await self._call("commit")
            case Clear():
                self._uncommitted = 0
                if session.started:
                    await self._call("clear")
                await self._send([fold.event("input_audio_buffer.cleared")])
            case ItemCreate(item=Message() as message):
                await self._say(message)
            case ItemCreate(item=CallOutput() as output):
                await self._call("tool_result", call_id=output.call_id, output=output.output)
                fold.waiting.discard(output.call_id)
                self._resulted = True
                await self._send(fold.item(_kept(output)))
            case Truncate():
                if fold.answering:
                    await self._call("played", at=fold.media(event.audio_end_ms))
                told = event.model_dump(include={"item_id", "content_index", "audio_end_ms"})
                await self._send([fold.event("conversation.item.truncated", **told)])
            case ResponseCreate():
                await self._answer(event.response or ResponseOptions())
            case ResponseCancel():
                if not fold.answering:
                    raise NothingToCancel("no response is on its way")
                fold.stopped = True
                await self._call("interrupt")

    async def _append(self, audio: bytes) -> None:
        stream = await self._started()
        self._uncommitted += len(audio)
        self._n += 1
        while True:
            try:
                self._commands.feed(self._principal, stream, self._n, audio)
                return
            except Overloaded as error:
                # The socket waits with it, so that the client waits, too, and nothing is lost.
                await asyncio.sleep(error.retry_after or 0.5)
            except EngineError:
                self._n -= 1
                raise

    async def _say(self, message: Message) -> None:
        text = "\n".join(part.text for part in message.content)
        await self._call("text", text=text, role=message.role)
        await self._send(self._fold.item(_kept(message)))

    async def _answer(self, options: ResponseOptions) -> None:
        if self._fold.answering:
            raise AlreadyAnswering("a response is on its way already; wait for response.done, or cancel it")
        if options.output_modalities not in (None, [self._session.modality]):
            raise UnsupportedParameter(
                "one response cannot have other modalities than its session", field="response.output_modalities"
            )
        goes_on, self._resulted = self._resulted, False
        await self._started()
        await self._send(self._fold.opened())
        if not goes_on:
            more = {} if options.instructions is None else {"instructions": options.instructions}
            await self._call("answer", **more)

    async def _call(self, name: str, **fields: Any) -> None:
        stream = await self._started()
        await self._commands.call(self._principal, f"realtime.{name}", {"stream": stream, **fields})

    async def _started(self) -> str:
        """The call's stream, which begins with the first event that needs one: until then anything may be set."""
        if self._reader is None:
            try:
                self._reader = await self._commands.start(
                    self._principal, "realtime.start", self._session.start(), on_disconnect="cancel"
                )
            except EngineError as error:
                error.field = _SPELLINGS.get(error.field or "", error.field)
                raise
            self._session.started = True
            self._telling = asyncio.create_task(self._tell(self._reader), name="realtime events")
        return self._reader.stream

    async def _tell(self, reader: StreamReader) -> None:
        async for _, event in reader:
            if isinstance(event, StreamEnded):
                if event.error is not None:
                    await self._send([self._fold.error(event.error)])
                break
            await self._send(self._fold.fold(event))
            if isinstance(event, ToolCall) and event.client:
                self._calls_end()
        await self._link.close(1000, "the call is over")

    def _calls_end(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(CALLS_WITHIN, self._calls_told)

    def _calls_told(self) -> None:
        self._later = None
        events = list(self._fold.calls_told())
        if events:
            self._ending = asyncio.create_task(self._send(events), name="end of a response")


class EmptyBuffer(InvalidRequest):
    """Raised for a commit of nothing."""

    code = "input_audio_buffer_commit_empty"


class NothingToCancel(InvalidRequest):
    """Raised where nothing is to be cancelled."""

    code = "response_cancel_not_active"


class AlreadyAnswering(Conflict):
    """Raised for a second response beside the first."""

    code = "conversation_already_has_active_response"


_SPELLINGS = {
    "voice": "session.audio.output.voice",
    "language": "session.audio.input.transcription.language",
    "instructions": "session.instructions",
    "encoding": "session.audio.input.format",
    "model": "session.model",
}


def _parsed(data: str | bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    if not isinstance(told, dict):
        raise InvalidRequest("an event is a JSON object with a type")
    return told


def _event(told: dict[str, Any]) -> ClientEvent:
    kind = _KINDS.get(str(told.get("type")))
    if kind is None:
        known = ", ".join(_KINDS)
        raise InvalidRequest(f"there is no event {str(told.get('type'))[:60]!r} here; there are: {known}", field="type")
    try:
        return cast("ClientEvent", kind.model_validate(told))
    except ValidationError as error:
        raise explain(error, kind, what="event") from None


def _decoded(audio: str) -> bytes:
    try:
        return base64.b64decode(audio, validate=True)
    except binascii.Error:
        raise InvalidRequest("audio is no base64", field="audio") from None


def _kept(item: Message | CallOutput) -> dict[str, Any]:
    kept = item.model_dump(exclude_none=True, exclude={"object", "status"})
    return {**kept, "id": item.id or f"item_{random_hex(12)}"}
