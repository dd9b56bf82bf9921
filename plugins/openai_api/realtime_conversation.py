"""One connection of OpenAI's realtime dialect: its client's events become calls of `realtime.*`, the call's events OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from engine.api import (
    Commands,
    EngineError,
    InvalidRequest,
    Principal,
    StreamEnded,
    StreamReader,
    ToolCall,
    UnsupportedParameter,
    WebSocket,
)
from plugins.openai_api.hints import Hints
from plugins.openai_api.realtime_call import RealtimeCall
from plugins.openai_api.realtime_client_events import (
    Append,
    CallOutput,
    Clear,
    ClientEvent,
    Commit,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    Message,
    Recording,
    ResponseCancel,
    ResponseCreate,
    ResponseOptions,
    SessionUpdate,
    Text,
    Truncate,
    decoded,
    event_of,
    parsed,
)
from plugins.openai_api.realtime_errors import (
    AlreadyAnswering,
    EmptyBuffer,
    ItemNotFound,
    NothingToCancel,
    OnlyListens,
)
from plugins.openai_api.realtime_fold import RealtimeFold
from plugins.openai_api.realtime_log import Item, ServerEvent, new_item_id
from plugins.openai_api.realtime_recordings import Recordings, Written
from plugins.openai_api.realtime_session import Session
from plugins.openai_api.realtime_sessions import Sessions
from plugins.openai_api.realtime_silence import Silence
from plugins.openai_api.realtime_wishes import RULES, sort_response, sort_session

CALLS_WITHIN = 0.05
"""Seconds after the call of a tool in which further ones belong to the same response."""

SHORTEST = 0.1
"""Seconds of audio that can be committed."""

_encode = msgspec.json.Encoder().encode


class Conversation:
    """One connection."""

    def __init__(
        self, commands: Commands, principal: Principal, sessions: Sessions, session: Session, *, strict: bool = False
    ) -> None:
        self._strict = strict
        self._link: WebSocket
        self._sessions = sessions
        self._session = session
        self._call = RealtimeCall(commands, principal, self._tell)
        self._recordings = Recordings(commands, principal)
        self._fold = RealtimeFold()
        self._log = self._fold.log
        self._silence = Silence(self._silent)
        self._later: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._uncommitted = 0
        self._resulted = False
        """Whether a tool has answered since the last response: the model goes on by itself."""
        self._follow()

    async def serve(self, link: WebSocket) -> None:
        """Talk until either side leaves."""
        self._link = link
        await self._send([self._log.event("session.created", session=self._session.shown())])
        try:
            while (data := await link.receive()) is not None:
                await self._take(data)
        finally:
            # Before anything is waited for: whoever serves the connection may be cancelled with it.
            self._call.hang_up()
            if self._later is not None:
                self._later.cancel()
            if self._ending is not None:
                self._ending.cancel()
                await asyncio.gather(self._ending, return_exceptions=True)
            await self._silence.close()
            await self._call.close()

    def _follow(self) -> None:
        """The events are those of the session as it is now."""
        self._fold.answers.modality = self._session.modality
        self._fold.answers.bound = self._session.bound
        self._fold.heard.detects = self._session.ears.detection is not None
        self._silence.after = self._session.ears.patience

    async def _send(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            await self._link.send(_encode(event).decode())

    # What the client sends

    async def _take(self, data: str | bytes) -> None:
        id: str | None = None
        try:
            told = parsed(data)
            id = given if isinstance(given := told.get("event_id"), str) else None
            hints = Hints(strict=self._strict)
            refused = _sort(told, hints)
            event = event_of(told)
            if self._session.type == "transcription" and isinstance(event, _ANSWERING):
                raise OnlyListens(f"a session of type transcription answers nothing; {event.type} has no sense in it")
            if isinstance(event, SessionUpdate):
                await self._update(event, hints, refused)
            else:
                if isinstance(event, ResponseCreate):
                    hints.judge(event.response, RULES, at="response.")
                await self._do(event)
            hints.report()
            # What is right of an update holds beside what cannot be met.
            await self._send([self._log.error(error.body(), id) for error in refused])
        except EngineError as error:
            await self._send([self._log.error(error.body(), id)])

    async def _do(self, event: ClientEvent) -> None:
        match event:
            case Append():
                audio = decoded(event.audio)
                await self._call.feed(self._session, audio)
                self._uncommitted += len(audio)
            case Commit():
                if self._uncommitted < SHORTEST * self._session.ears.bytes_a_second:
                    raise EmptyBuffer("there is too little audio to commit: a turn has at least 100 ms")
                self._uncommitted = 0
                await self._call.do(self._session, "commit")
            case Clear():
                self._uncommitted = 0
                if self._session.started:
                    await self._call.do(self._session, "clear")
                await self._send([self._log.event("input_audio_buffer.cleared")])
            case ItemCreate():
                await self._add(event)
            case ItemRetrieve():
                await self._send([self._log.event("conversation.item.retrieved", item=self._item(event.item_id))])
            case ItemDelete():
                await self._delete(event)
            case Truncate():
                await self._truncate(event)
            case ResponseCreate():
                await self._answer(event.response or ResponseOptions())
            case ResponseCancel():
                if not self._fold.answers.answering:
                    raise NothingToCancel("no response is on its way")
                self._fold.answers.stopped = True
                await self._call.do(self._session, "interrupt")

    async def _update(self, event: SessionUpdate, hints: Hints, refused: list[EngineError]) -> None:
        hints.judge(event.session, RULES, at="session.")
        self._session, changes = self._sessions.updated(self._session, event.session, hints, refused)
        self._follow()
        if self._session.started and changes:
            await self._call.do(self._session, "update", **changes)
        await self._send([self._log.event("session.updated", session=self._session.shown())])

    async def _add(self, event: ItemCreate) -> None:
        if event.item.id is not None and self._log.find(event.item.id) is not None:
            raise InvalidRequest(f"there is an item {event.item.id!r} already; ids are given once", field="item.id")
        before = event.previous_item_id
        if before is not None and before != "root":
            self._item(before, "previous_item_id")
        if isinstance(event.item, Message):
            if before not in (None, self._log.last or "root"):
                raise UnsupportedParameter(
                    "a message is added at the end of the conversation; leave previous_item_id out",
                    field="previous_item_id",
                )
            await self._say(event.item)
            return
        output = event.item
        await self._call.do(self._session, "tool_result", call_id=output.call_id, output=output.output)
        self._fold.answers.waiting.discard(output.call_id)
        self._resulted = True
        await self._send(self._log.whole(_kept(output)))

    async def _delete(self, event: ItemDelete) -> None:
        id = self._item(event.item_id)["id"]
        name = self._log.names.get(id)
        if name is None:
            raise UnsupportedParameter(
                "only a message can be deleted, whose answer called no function", field="item_id"
            )
        if name:
            try:
                await self._call.do(self._session, "forget", **name)
            except UnsupportedParameter:
                raise UnsupportedParameter(
                    "this model cannot forget what it was told; begin another session", field="item_id"
                ) from None
        self._log.drop(id)
        await self._send([self._log.event("conversation.item.deleted", item_id=id)])

    def _item(self, id: str, field: str = "item_id") -> Item:
        item = self._log.find(id)
        if item is None:
            raise ItemNotFound(f"there is no item {id[:80]!r} in this conversation", field=field)
        return item

    async def _say(self, message: Message) -> None:
        self._silence.broken()
        written = await self._recordings.written(message, self._session)
        parts = [part.text if isinstance(part, Text) else written[at].text for at, part in enumerate(message.content)]
        item = _kept(message, written)
        if text := "\n".join(filter(None, parts)):
            await self._call.do(self._session, "text", text=text, role=message.role, item=item["id"])
        self._log.names[item["id"]] = {"item": item["id"]} if text else {}
        await self._send(self._log.whole(item))
        for at, each in written.items():
            await self._send([self._fold.heard.written(item["id"], at, each.text, each.seconds, each.error)])

    async def _truncate(self, event: Truncate) -> None:
        if not self._fold.answers.answering:
            # The item of an answer that is being given is not whole yet.
            self._item(event.item_id)
        else:
            await self._call.do(self._session, "played", at=self._fold.answers.media + event.audio_end_ms)
        told = event.model_dump(include={"item_id", "content_index", "audio_end_ms"})
        await self._send([self._log.event("conversation.item.truncated", **told)])

    async def _answer(self, options: ResponseOptions) -> None:
        if self._fold.answers.answering:
            raise AlreadyAnswering("a response is on its way already; wait for response.done, or cancel it")
        if options.output_modalities not in (None, [self._session.modality]):
            raise UnsupportedParameter(
                "one response cannot have other modalities than its session", field="response.output_modalities"
            )
        goes_on, self._resulted = self._resulted, False
        await self._call.begin(self._session)
        await self._send(self._fold.answers.opened(options.metadata))
        if not goes_on:
            more = {} if options.instructions is None else {"instructions": options.instructions}
            await self._call.do(self._session, "answer", **more)

    # What the call tells

    async def _tell(self, reader: StreamReader) -> None:
        async for _, event in reader:
            if isinstance(event, StreamEnded):
                if event.error is not None:
                    await self._send([self._log.error(event.error)])
                break
            await self._send(self._fold.fold(event))
            self._silence.watch(event, self._heard_ms)
            if isinstance(event, ToolCall) and event.client:
                self._calls_end()
        await self._link.close(1000, "the call is over")

    @property
    def _heard_ms(self) -> int:
        return self._call.fed * 1000 // self._session.ears.bytes_a_second

    async def _silent(self, since: int) -> None:
        """Nothing was said for long after an answer: a turn without words, which is answered."""
        if self._fold.answers.answering:
            return
        await self._send(self._fold.heard.silent(since, self._heard_ms))
        told = f"The user has said nothing for {self._silence.after or 0:g} seconds."
        try:
            await self._call.do(self._session, "text", text=told, role="system")
            await self._answer(ResponseOptions())
        except EngineError as error:
            await self._send([self._log.error(error.body())])

    def _calls_end(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(CALLS_WITHIN, self._calls_told)

    def _calls_told(self) -> None:
        self._later = None
        events = list(self._fold.answers.calls_told())
        if events:
            self._ending = asyncio.create_task(self._send(events), name="end of a response")


def _sort(told: dict[str, Any], hints: Hints) -> list[EngineError]:
    """Leave in an event what can be taken; gives the demands that cannot be met and keep nothing else from holding."""
    refused: list[EngineError] = []
    if told.get("type") == "session.update" and isinstance(told.get("session"), dict):
        told["session"], demands = sort_session(told["session"], hints)
        refused += demands
    elif told.get("type") == "response.create" and isinstance(told.get("response"), dict):
        told["response"] = sort_response(told["response"], hints)
    return refused


_ANSWERING = (ItemCreate, ItemDelete, Truncate, ResponseCreate, ResponseCancel)
"""Events that are about answers."""


def _kept(item: Message | CallOutput, written: dict[int, Written] | None = None) -> Item:
    kept = item.model_dump(exclude_none=True, exclude={"object", "status"})
    if isinstance(item, Message):
        kept["content"] = [
            {"type": part.type, "transcript": (written or {})[at].text}
            if isinstance(part, Recording)
            else part.model_dump()
            for at, part in enumerate(item.content)
        ]
    return {**kept, "id": item.id or new_item_id()}
