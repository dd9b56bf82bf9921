"""OpenAI's Realtime API on loopback; both sides' events parse with the SDK's own models.

It finds speech where samples are not zero: what is loud begins a turn, and `SILENCE_MS` of zeros end it. What it hears is the
next of `transcripts`; the next `unintelligible` turns it cannot write. Answers are taken from `answers`, faults from `faults`,
one for each session.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web
from openai.types.realtime.realtime_client_event_param import RealtimeClientEventParam
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.emulators.base import RecordedRequest
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold
from tests.emulators.sound import spoken
from tests.emulators.validation import Invalid, RequestCheck

RATE = 24_000
PIECE = 4_800
SILENCE_MS = 200

client_event = RequestCheck(RealtimeClientEventParam)
server_event: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


@dataclass(frozen=True)
class Answers:
    """An answer: what it says, or which tools it calls (name, arguments).

    `hold` stops it after its first sound, `pace` are the seconds that each of its pieces of sound takes.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    hold: Hold | None = None
    pace: float = 0.0
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Trouble:
    """What befalls a session at an event of type `on`, the client's or, once it is told, the vendor's own, the `nth` time.

    `cut` drops the connection, `silent` says nothing from then on, `error` is told as an event, `code` closes.
    """

    on: str
    nth: int = 1
    cut: bool = False
    silent: bool = False
    error: Mapping[str, Any] | None = None
    code: int | None = None
    reason: str = ""
    stall: Hold | None = None
    """Nothing is read until it is released."""


class OpenAIRealtimeEmulator(OpenAIEmulator):
    """OpenAI with its WebSocket; `sessions` are all that were held."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answers: deque[Answers] = deque()
        self.transcripts: deque[str] = deque()
        self.unintelligible = 0
        self.troubles: deque[Trouble | None] = deque()
        self.sessions: list[Session] = []

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.path != "/v1/realtime":
            return await super().answer(record, request)
        self._authenticate(record)
        self.refuse_as_scripted()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = Session(self, socket, request, self.troubles.popleft() if self.troubles else None)
        self.sessions.append(session)
        with self._open_stream():
            await session.serve(record.query["model"])
        return socket

    async def told(self, type: str, times: int = 1, session: int = -1) -> list[dict[str, Any]]:
        """Wait until a session was sent so many events of a type, and give them."""
        await self._until(
            lambda: len(self.sessions) > max(session, 0) and len(self.sessions[session].of(type)) >= times, 5.0, type
        )
        return self.sessions[session].of(type)


class Session:
    """One session: its conversation, its buffer, and the answer that it gives."""

    def __init__(
        self,
        vendor: OpenAIRealtimeEmulator,
        socket: web.WebSocketResponse,
        request: web.Request,
        trouble: Trouble | None,
    ) -> None:
        self.vendor = vendor
        self.got: list[dict[str, Any]] = []
        self.said: list[str] = []
        """Types of the events that were told."""
        self.audio = bytearray()
        self.committed: list[bytes] = []
        self.settings: dict[str, Any] = {}
        self.lengths: dict[str, int] = {}
        self.closed = False
        self._socket = socket
        self._request = request
        self._trouble = trouble
        self._mute = False
        self._began: int | None = None
        self._from = 0
        self._quiet = 0
        self._item: str | None = None
        self._numbers = 0
        self._answering: asyncio.Task[None] | None = None
        self._cancelled = ""

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.got if event["type"] == type]

    async def serve(self, model: str) -> None:
        try:
            await self.tell("session.created", session={"type": "realtime", "model": model})
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(json.loads(message.data))
        finally:
            self.closed = True
            if self._answering is not None:
                self._answering.cancel()
            self.vendor._notify()

    async def tell(self, type: str, **fields: Any) -> None:
        self._numbers += 1
        event = {"type": type, "event_id": f"event_{self._numbers}", **fields}
        server_event.validate_python(event, strict=False)
        if not self._mute and not self._socket.closed:
            self.said.append(type)
            await self._socket.send_json(event)
            await self._troubled(type, self.said.count(type))

    async def _fail(self, message: str, code: str | None = None, **fields: Any) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
        await self.tell("error", error={**error, **fields})

    async def _take(self, event: dict[str, Any]) -> None:
        self.got.append(event)
        self.vendor._notify()
        try:
            client_event(event)
        except Invalid as invalid:
            return await self._fail(f"Unknown parameter: '{invalid.param}'.", "unknown_parameter", param=invalid.param)
        if await self._troubled(event["type"], len(self.of(event["type"]))):
            return None
        match event["type"]:
            case "session.update":
                self.settings = event["session"]
                await self.tell("session.updated", session=event["session"])
            case "input_audio_buffer.append":
                await self._hear(b64decode(event["audio"]))
            case "input_audio_buffer.commit":
                await self._commit(len(self.audio))
            case "input_audio_buffer.clear":
                self._from = len(self.audio)
                await self.tell("input_audio_buffer.cleared")
            case "conversation.item.create":
                await self.tell("conversation.item.added", item={"id": self._id("item"), **event["item"]})
            case "conversation.item.truncate":
                length = self.lengths.get(event["item_id"], 0)
                if event["audio_end_ms"] > length:
                    text = f"Audio content of {length}ms is already shorter than {event['audio_end_ms']}ms"
                    return await self._fail(text, "invalid_value")
                told = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
                await self.tell("conversation.item.truncated", **told)
            case "response.create":
                await self._create()
            case "response.cancel":
                if self._answering is None:
                    return await self._fail(
                        "Cancellation failed: no active response found", "response_cancel_not_active"
                    )
                self._stop("client_cancelled")
        return None

    async def _troubled(self, type: str, times: int) -> bool:
        trouble = self._trouble
        if trouble is None or trouble.on != type or times != trouble.nth:
            return False
        self._mute = trouble.silent or trouble.cut
        if trouble.error is not None:
            await self._fail(**{"message": "It failed.", **trouble.error})
        if trouble.cut:
            assert self._request.transport is not None
            self._request.transport.abort()
        if trouble.code is not None:
            await self._socket.close(code=trouble.code, message=trouble.reason.encode())
        return True

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{len(self.vendor.sessions)}_{self._numbers}"

    # Hearing

    async def _hear(self, pcm: bytes) -> None:
        self.audio += pcm
        turns = self.settings["audio"]["input"]["turn_detection"]
        if turns is None:
            return
        loud = any(pcm)
        if loud and self._began is None:
            self._began = len(self.audio) - len(pcm)
            self._item = self._id("item")
            await self.tell("input_audio_buffer.speech_started", audio_start_ms=self._began // 48, item_id=self._item)
            if turns["interrupt_response"] and self._answering is not None:
                self._stop("turn_detected")
        self._quiet = 0 if loud else self._quiet + len(pcm) // 48
        if self._began is not None and self._quiet >= SILENCE_MS:
            end = len(self.audio)
            self._began = None
            await self.tell("input_audio_buffer.speech_stopped", audio_end_ms=end // 48, item_id=self._item)
            await self._commit(end)
            if turns["create_response"]:
                await self._create()

    async def _commit(self, end: int) -> None:
        if end - self._from < 100 * 48:
            return await self._fail(
                "Error committing input audio buffer: buffer too small.", "input_audio_buffer_commit_empty"
            )
        item = self._item or self._id("item")
        self._item = None
        self.committed.append(bytes(self.audio[self._from : end]))
        self._from = end
        await self.tell("input_audio_buffer.committed", item_id=item)
        about = {"item_id": item, "content_index": 0}
        prefix = "conversation.item.input_audio_transcription"
        if self.vendor.unintelligible:
            self.vendor.unintelligible -= 1
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": "It was not understood."}
            return await self.tell(f"{prefix}.failed", **about, error={**error, "param": None})
        if not self.vendor.transcripts:
            return None
        text = self.vendor.transcripts.popleft()
        for word in text.split():
            await self.tell(f"{prefix}.delta", **about, delta=f"{word} ")
        usage = {"type": "tokens", "input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        await self.tell(f"{prefix}.completed", **about, transcript=text, usage=usage)
        return None

    # Answering

    def _stop(self, reason: str) -> None:
        self._cancelled = reason
        assert self._answering is not None
        self._answering.cancel()

    async def _create(self) -> None:
        if self._answering is not None:
            code = "conversation_already_has_active_response"
            return await self._fail("Conversation already has an active response in progress.", code)
        return self._answer()

    def _answer(self) -> None:
        answer = self.vendor.answers.popleft() if self.vendor.answers else Answers("All right.")
        self._answering = asyncio.create_task(self._give(answer))

    async def _give(self, answer: Answers) -> None:
        response: dict[str, Any] = {"id": self._id("resp"), "object": "realtime.response", "status": "in_progress"}
        status, details = "completed", {}
        try:
            await self.tell("response.created", response=response)
            if answer.error is not None:
                status, details = "failed", {"type": "failed", "error": answer.error}
            else:
                await self._items(answer, response["id"])
        except asyncio.CancelledError:
            if self.closed:
                raise
            status, details = "cancelled", {"type": "cancelled", "reason": self._cancelled}
        self._answering = None
        usage = {
            "input_tokens": 100,
            "output_tokens": 40,
            "total_tokens": 140,
            "input_token_details": {
                "text_tokens": 30,
                "audio_tokens": 70,
                "cached_tokens": 20,
                "cached_tokens_details": {"text_tokens": 5, "audio_tokens": 15},
            },
            "output_token_details": {"text_tokens": 10, "audio_tokens": 30},
        }
        done = {**response, "status": status, "status_details": details or None, "usage": usage, "output": []}
        await self.tell("response.done", response=done)

    async def _items(self, answer: Answers, response: str) -> None:
        index = 0
        if answer.text:
            await self._say(answer, {"response_id": response, "output_index": index})
            index += 1
        for name, arguments in answer.calls:
            item = {"type": "function_call", "id": self._id("item"), "call_id": self._id("call"), "name": name}
            place = {"response_id": response, "output_index": index}
            await self.tell("response.output_item.added", item={**item, "arguments": ""}, **place)
            told = {"item_id": item["id"], "call_id": item["call_id"], "name": name, "arguments": arguments}
            await self.tell("response.function_call_arguments.done", **told, **place)
            await self.tell("response.output_item.done", item={**item, "arguments": arguments}, **place)
            index += 1

    async def _say(self, answer: Answers, place: dict[str, Any]) -> None:
        item = {"type": "message", "id": self._id("item"), "role": "assistant", "content": []}
        await self.tell("response.output_item.added", item=item, **place)
        part = {**place, "item_id": item["id"], "content_index": 0}
        audible = self.settings["output_modalities"] == ["audio"]
        words = "response.output_audio_transcript.delta" if audible else "response.output_text.delta"
        for word in answer.text.split(" "):
            await self.tell(words, delta=f"{word} ", **part)
        sound = spoken(answer.text, RATE) if audible else b""
        for begin in range(0, len(sound), PIECE):
            if begin and answer.hold is not None:
                await answer.hold.wait()
            await asyncio.sleep(answer.pace)
            pcm = sound[begin : begin + PIECE]
            self.lengths[str(item["id"])] = (begin + len(pcm)) // 48
            await self.tell("response.output_audio.delta", delta=b64encode(pcm).decode(), **part)
        await self.tell("response.output_item.done", item=item, **place)
