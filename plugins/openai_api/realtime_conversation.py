"""One connection of OpenAI's realtime dialect: its client's events become calls of `realtime.*`, the call's events OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from engine.api import (
    Commands,
    Conflict,
    EngineError,
    InvalidRequest,
    Overloaded,
    Principal,
    StreamEnded,
    StreamReader,
    ToolCall,
    UnsupportedParameter,
    WebSocket,
)
from engine.api.ids import random_hex
from plugins.openai_api.realtime_client_events import (
    Append,
    CallOutput,
    Clear,
    ClientEvent,
    Commit,
    ItemCreate,
    Message,
    ResponseCancel,
    ResponseCreate,
    ResponseOptions,
    SessionUpdate,
    Truncate,
    decoded,
    event_of,
    parsed,
)
from plugins.openai_api.realtime_fold import RealtimeFold
from plugins.openai_api.realtime_log import ServerEvent
from plugins.openai_api.realtime_session import RealtimeSession

CALLS_WITHIN = 0.05
"""Seconds after the call of a tool in which further ones belong to the same response."""

SHORTEST = 0.1
"""Seconds of audio that can be committed."""

_encode = msgspec.json.Encoder().encode


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
        await self._send([self._fold.log.event("session.created", session=self._session.shown())])
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
            told = parsed(data)
            id = given if isinstance(given := told.get("event_id"), str) else None
            await self._do(event_of(told))
        except EngineError as error:
            await self._send([self._fold.log.error(error.body(), id)])

    async def _do(self, event: ClientEvent) -> None:
        fold, session = self._fold, self._session
        match event:
            case SessionUpdate():
                changes = session.update(event.session)
                fold.answers.modality, fold.heard.detects = session.modality, session.detects
                if session.started and changes:
                    await self._call("update", **changes)
                await self._send([fold.log.event("session.updated", session=session.shown())])
            case Append():
                await self._append(decoded(event.audio))
            case Commit():
                if self._uncommitted < SHORTEST * session.bytes_a_second:
                    raise EmptyBuffer("there is too little audio to commit: a turn has at least 100 ms")
                self._uncommitted = 0
                await self._call("commit")
            case Clear():
                self._uncommitted = 0
                if session.started:
                    await self._call("clear")
                await self._send([fold.log.event("input_audio_buffer.cleared")])
            case ItemCreate(item=Message() as message):
                await self._say(message)
            case ItemCreate(item=CallOutput() as output):
                await self._call("tool_result", call_id=output.call_id, output=output.output)
                fold.answers.waiting.discard(output.call_id)
                self._resulted = True
                await self._send(fold.log.whole(_kept(output)))
            case Truncate():
                if fold.answers.answering:
                    await self._call("played", at=fold.answers.media + event.audio_end_ms)
                told = event.model_dump(include={"item_id", "content_index", "audio_end_ms"})
                await self._send([fold.log.event("conversation.item.truncated", **told)])
            case ResponseCreate():
                await self._answer(event.response or ResponseOptions())
            case ResponseCancel():
                if not fold.answers.answering:
                    raise NothingToCancel("no response is on its way")
                fold.answers.stopped = True
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
        await self._send(self._fold.log.whole(_kept(message)))

    async def _answer(self, options: ResponseOptions) -> None:
        if self._fold.answers.answering:
            raise AlreadyAnswering("a response is on its way already; wait for response.done, or cancel it")
        if options.output_modalities not in (None, [self._session.modality]):
            raise UnsupportedParameter(
                "one response cannot have other modalities than its session", field="response.output_modalities"
            )
        goes_on, self._resulted = self._resulted, False
        await self._started()
        await self._send(self._fold.answers.opened(options.metadata))
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
                    await self._send([self._fold.log.error(event.error)])
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
        events = list(self._fold.answers.calls_told())
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


def _kept(item: Message | CallOutput) -> dict[str, Any]:
    kept = item.model_dump(exclude_none=True, exclude={"object", "status"})
    return {**kept, "id": item.id or f"item_{random_hex(12)}"}
