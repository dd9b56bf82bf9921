"""OpenAI's transcription sessions on loopback; both sides' events parse with the SDK's own models.

Samples of the height `k * LOUDNESS` are the word number k of `words`, zeros are silence. So a test sees which sound arrived, in
which session, and which twice. Transcripts are made side by side, as OpenAI makes them.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.emulators.base import RecordedRequest
from tests.emulators.openai_realtime import RATE, OpenAIRealtimeEmulator, Trouble, client_event, server_event
from tests.emulators.reply import Hold
from tests.emulators.sound import LEVEL, Levels
from tests.emulators.validation import Invalid

SILENCE_MS = 500
LEAST_MS = 100
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class Transcribe:
    """How an item's transcript is made, by its number in the session: `hold` keeps it back, `error` is told instead."""

    hold: Hold | None = None
    error: dict[str, Any] | None = None


@dataclass
class Item:
    """A stretch of speech."""

    id: str
    start: int
    words: list[str] = field(default_factory=list)


class OpenAIHearingEmulator(OpenAIRealtimeEmulator):
    """OpenAI, whose transcription sessions know `words`; `hearings` are all that were held."""

    def __init__(self, words: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.words = words.split()
        self.hearings: list[Hearing] = []
        self.transcribes: deque[dict[int, Transcribe]] = deque()
        self.knows_sessions = True
        self.says_cleared = True

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.path != "/v1/realtime" or "intent" not in record.query:
            return await super().answer(record, request)
        self._authenticate(record)
        self.refuse_as_scripted()
        if record.query != {"intent": "transcription"}:
            raise self.rejection("bad_request", "A transcription session takes no model.", param="model")
        if not self.knows_sessions:
            raise self.rejection("not_found")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hearing = Hearing(self, socket, request)
        self.hearings.append(hearing)
        with self._open_stream():
            await hearing.serve()
        return socket

    async def until(self, reached: Any, what: str, timeout: float = 5.0) -> None:
        """Return once `reached()`; AssertionError after `timeout` seconds."""
        await self._until(reached, timeout, what)


class Hearing:
    """One session."""

    def __init__(self, vendor: OpenAIHearingEmulator, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.vendor = vendor
        self.got: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.heard: list[str] = []
        self.items: list[Item] = []
        self._socket = socket
        self._request = request
        self._trouble: Trouble | None = vendor.troubles.popleft() if vendor.troubles else None
        self._transcribes = vendor.transcribes.popleft() if vendor.transcribes else {}
        self._mute = False
        self._numbers = 0
        self._levels = Levels(RATE)
        self._ms = 0
        self._from = 0
        self._quiet = 0
        self._item: Item | None = None
        self._last: str | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.got if event["type"] == type]

    async def serve(self) -> None:
        await self.tell("session.created", session={"type": "transcription", "object": "realtime.session", "id": "s"})
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(json.loads(message.data))
        finally:
            for task in self._writing:
                task.cancel()
            await asyncio.gather(*self._writing, return_exceptions=True)

    async def tell(self, type: str, **fields: Any) -> None:
        self._numbers += 1
        event = {"type": type, "event_id": f"event_{self._numbers}", **fields}
        server_event.validate_python(event, strict=False)
        if not self._mute and not self._socket.closed:
            # A client that was cut off is told nothing.
            with suppress(ConnectionError):
                await self._socket.send_json(event)

    async def fail(self, message: str, code: str | None = None, **fields: Any) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
        await self.tell("error", error={**error, **fields})

    async def _take(self, event: dict[str, Any]) -> None:
        self.got.append(event)
        self.vendor._notify()
        try:
            client_event(event)
        except Invalid as invalid:
            return await self.fail(f"Unknown parameter: '{invalid.param}'.", "unknown_parameter", param=invalid.param)
        if await self._troubled(event["type"]):
            return None
        match event["type"]:
            case "session.update":
                self.settings = event["session"]
                await self.tell("session.updated", session={"object": "realtime.session", "id": "s", **self.settings})
            case "input_audio_buffer.append":
                for level in self._levels.feed(b64decode(event["audio"])):
                    await self._hear(level)
            case "input_audio_buffer.commit":
                await self._commit()
            case "input_audio_buffer.clear":
                self._from = self._ms
                if self.vendor.says_cleared:
                    await self.tell("input_audio_buffer.cleared")
            case other:
                await self.fail(f"A transcription session has no {other}.", "invalid_event")
        return None

    async def _troubled(self, type: str) -> bool:
        trouble = self._trouble
        if trouble is None or trouble.on != type or len(self.of(type)) != trouble.nth:
            return False
        self._mute = trouble.silent
        if trouble.stall is not None:
            await trouble.stall.wait()
        if trouble.error is not None:
            await self.fail(**{"message": "It failed.", **trouble.error})
        if trouble.cut:
            assert self._request.transport is not None
            self._request.transport.abort()
        if trouble.code is not None:
            await self._socket.close(code=trouble.code, message=trouble.reason.encode())
        return True

    @property
    def _divided(self) -> bool:
        return self.settings["audio"]["input"]["turn_detection"] is not None

    def _begun(self, at: int) -> Item:
        if self._item is None:
            self._item = Item(f"item_{len(self.vendor.hearings)}_{len(self.items)}", at)
            self.items.append(self._item)
        return self._item

    async def _hear(self, level: int | None) -> None:
        """20 ms more: silence, a word that goes on (None), or the begin of one."""
        self._ms += LEVEL
        self._quiet = self._quiet + LEVEL if level == 0 else 0
        if level:
            begun = self._item is not None
            item = self._begun(self._ms - LEVEL)
            if not begun and self._divided:
                at = {"audio_start_ms": item.start, "item_id": item.id}
                await self.tell("input_audio_buffer.speech_started", **at)
            word = self.vendor.words[level - 1]
            item.words.append(word)
            self.heard.append(word)
            self.vendor._notify()
            if not self._divided:
                await self._word(item, word)
        if self._divided and self._item is not None and self._quiet == SILENCE_MS:
            at = {"audio_end_ms": self._ms, "item_id": self._item.id}
            await self.tell("input_audio_buffer.speech_stopped", **at)
            await self._committed(self._item)

    async def _commit(self) -> None:
        if self._ms - self._from < LEAST_MS:
            return await self.fail("Error committing input audio buffer: too small.", "input_audio_buffer_commit_empty")
        return await self._committed(self._begun(self._from))

    async def _committed(self, item: Item) -> None:
        self._item, self._from = None, self._ms
        previous, self._last = self._last, item.id
        await self.tell("input_audio_buffer.committed", item_id=item.id, previous_item_id=previous)
        content = [{"type": "input_audio", "transcript": None}]
        added = {"id": item.id, "type": "message", "role": "user", "status": "completed", "content": content}
        await self.tell("conversation.item.added", item=added, previous_item_id=previous)
        how = self._transcribes.get(self.items.index(item), Transcribe())
        self._writing.add(task := asyncio.create_task(self._write(item, how)))
        task.add_done_callback(self._writing.discard)

    async def _word(self, item: Item, word: str) -> None:
        await self.tell(f"{_TRANSCRIPTION}.delta", item_id=item.id, content_index=0, delta=f"{word} ")

    async def _write(self, item: Item, how: Transcribe) -> None:
        if self._divided:
            for word in item.words:
                await self._word(item, word)
        if how.hold is not None:
            await how.hold.wait()
        about = {"item_id": item.id, "content_index": 0}
        if how.error is not None:
            return await self.tell(f"{_TRANSCRIPTION}.failed", **about, error=how.error)
        usage = {"type": "tokens", "input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        return await self.tell(f"{_TRANSCRIPTION}.completed", **about, transcript=" ".join(item.words), usage=usage)
