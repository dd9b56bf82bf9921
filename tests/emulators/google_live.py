"""Gemini Live on loopback: what it is told is held to the SDK's types, and what it tells parses with them.

It hears words by their sound: a stretch of samples near `k * LOUDNESS` is the word "wk", zeros are silence. So a test sees
which sound arrived, in which session, and which twice.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import BaseModel, ValidationError, create_model
from pydantic.alias_generators import to_camel

from tests.emulators.base import RecordedRequest, texts_in
from tests.emulators.google import ERRORS, GoogleEmulator
from tests.emulators.reply import Hold
from tests.emulators.sound import spoken
from tests.emulators.validation import most_telling

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
LOUDNESS = 1_000
INPUT_RATE, OUTPUT_RATE = 16_000, 24_000
FRAME = INPUT_RATE // 50 * 2
"""Bytes of 20 ms, of which the middle tells what is heard."""
SHORTEST_WORD = 3
URL_SAFE = str.maketrans("+/", "-_")
"""Google reads either alphabet of base64, and its SDK writes this one."""


@dataclass(frozen=True)
class Answer:
    """What the model says. `holds` stop it before a word. `calls` are made first, and wait for their answers if `blocking`."""

    text: str = "yes of course"
    holds: dict[int, Hold] = field(default_factory=dict)
    calls: Sequence[dict[str, Any]] = ()
    blocking: bool = True
    cut: int | None = None
    """The connection breaks off before this word."""
    close: tuple[int, str] | None = None
    """The session is closed instead of an answer."""
    go_away: str | None = None
    """The limit is announced before the answer."""


@dataclass
class Session:
    """One connection."""

    setup: dict[str, Any]
    told: list[dict[str, Any]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    """Words of all turns."""
    history: list[str] = field(default_factory=list)
    closed: bool = False
    connection: web.WebSocketResponse | None = None

    async def drop(self, code: int = 1011, reason: str = "Internal error encountered.") -> None:
        """Close it, whatever goes on."""
        assert self.connection is not None
        await self.connection.close(code=code, message=reason.encode())

    @property
    def handle(self) -> str | None:
        handle: str | None = self.setup.get("sessionResumption", {}).get("handle")
        return handle

    @property
    def activity(self) -> dict[str, Any]:
        """How speech is found and what it does."""
        settings: dict[str, Any] = self.setup.get("realtimeInputConfig", {})
        return settings


class GoogleLiveEmulator(GoogleEmulator):
    """Gemini Live, beside all that the Gemini API does over HTTP."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.answers: deque[Answer] = deque()
        self.sessions: list[Session] = []
        self.refusal: tuple[int, str] | None = None
        """How a session is closed instead of begun."""
        self.refuses_handles = False
        self.silent = False
        """No session begins."""
        self.resumable = True
        self.handles = 0

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.path != PATH:
            return await super().answer(record, request)
        if not record.headers.get("x-goog-api-key"):
            raise self.rejection("permission")
        self.refuse_as_scripted()
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        if self.key not in (None, record.headers["x-goog-api-key"]):
            # A handshake is never refused for a wrong key; the session is.
            await socket.receive()
            await socket.close(code=1007, message=ERRORS["invalid_key"][2].encode())
            return socket
        with self._open_stream():
            await _Line(self, socket, request).run()
        return socket

    async def until(self, reached: Any, what: str, timeout: float = 5.0) -> None:
        """Return once `reached()`; AssertionError after `timeout` seconds."""
        await self._until(reached, timeout, what)

    def changed(self) -> None:
        self._notify()


class _Line:
    """One connection. A model with a `_language` interprets word by word, and ends no turn."""

    def __init__(self, vendor: GoogleLiveEmulator, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._vendor = vendor
        self._socket = socket
        self._request = request
        self._buffer = b""
        self._levels: list[int] = []
        self._words: list[str] = []
        self._silence = 0
        self._answering: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._pending: set[str] = set()
        self._blocked = False

    async def run(self) -> None:
        first = await self._next()
        if first is None:
            return
        self._session = session = Session(first["setup"], connection=self._socket)
        self._vendor.sessions.append(session)
        self._vendor.changed()
        if self._vendor.silent:
            await self._socket.receive()
            return
        refusal = (1007, "Session not found.") if self._vendor.refuses_handles and session.handle else None
        if refusal := refusal or self._vendor.refusal:
            await self._socket.close(code=refusal[0], message=refusal[1].encode())
            return
        translation = session.setup.get("generationConfig", {}).get("translationConfig")
        self._language: str | None = translation and translation["targetLanguageCode"]
        if self._language is not None and session.setup.keys() & {"systemInstruction", "tools", "historyConfig"}:
            # An interpreter takes nothing but its language.
            await self._socket.close(code=1007, message=b"Request contains an invalid argument.")
            return
        await self._tell({"setupComplete": {}})
        detection = session.activity.get("automaticActivityDetection", {})
        self._manual = bool(detection.get("disabled"))
        self._patience = int(detection.get("silenceDurationMs", 500)) // 20
        self._seeding = bool(session.setup.get("historyConfig"))
        try:
            while (message := await self._next()) is not None:
                await self._take(message)
        finally:
            await self._stop()
            session.closed = True
            self._vendor.changed()

    async def _next(self) -> dict[str, Any] | None:
        message = await self._socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        try:
            client_message().model_validate_json(message.data)
        except ValidationError as failure:
            await self._socket.close(code=1007, message=str(most_telling(failure)).encode()[:120])
            return None
        told = in_camel_case(json.loads(message.data))
        if hasattr(self, "_session"):
            self._session.told.append(told)
            self._vendor.changed()
        return told

    async def _take(self, message: dict[str, Any]) -> None:
        if (content := message.get("clientContent")) is not None:
            texts = [texts_in(turn["parts"]) for turn in content.get("turns", ())]
            if self._seeding:
                self._session.history += texts
                self._seeding = not content.get("turnComplete")
            else:
                self._session.history += texts
                if content.get("turnComplete"):
                    await self._turn()
        elif (response := message.get("toolResponse")) is not None:
            self._pending -= {each["id"] for each in response["functionResponses"]}
            if not self._pending:
                waited = not self._due.is_set() and self._blocked
                self._due.set()
                if not waited:
                    await self._turn()
        elif (told := message.get("realtimeInput")) is not None:
            if "audio" in told:
                assert told["audio"]["mimeType"] == f"audio/pcm;rate={INPUT_RATE}"
                await self._hear(base64.urlsafe_b64decode(told["audio"]["data"].translate(URL_SAFE)))
            elif "activityStart" in told:
                await self._interrupt()
            elif "activityEnd" in told or "text" in told or (told.get("audioStreamEnd") and self._words):
                await self._turn()

    async def _hear(self, pcm: bytes) -> None:
        self._buffer += pcm
        while len(self._buffer) >= FRAME:
            frame, self._buffer = self._buffer[:FRAME], self._buffer[FRAME:]
            middle = int.from_bytes(frame[FRAME // 2 : FRAME // 2 + 2], "little", signed=True)
            await self._level(round(middle / LOUDNESS))

    async def _level(self, level: int) -> None:
        self._levels = [*self._levels[-SHORTEST_WORD:], level]
        if level == 0:
            self._silence += 1
            if self._words and not self._manual and self._language is None and self._silence == self._patience:
                await self._turn()
            return
        self._silence = 0
        steady = self._levels[-SHORTEST_WORD:] == [level] * SHORTEST_WORD
        began = len(self._levels) <= SHORTEST_WORD or self._levels[0] != level
        if steady and began:
            if not self._manual and self._language is None:
                await self._interrupt()
            self._words.append(f"w{level}")
            self._session.heard.append(f"w{level}")
            await self._transcribe("input", f" w{level}")
            if self._language is not None:
                await self._say(f"{self._language}{level}", f" {self._language}{level}")
            self._vendor.changed()

    @property
    def _patient(self) -> bool:
        """Whether nothing interrupts an answer, after which what was said meanwhile is answered."""
        return bool(self._session.activity.get("activityHandling") == "NO_INTERRUPTION")

    async def _interrupt(self) -> None:
        if self._answering is None or self._answering.done():
            return
        if self._patient:
            return
        await self._stop()
        if self._pending:
            await self._tell({"toolCallCancellation": {"ids": sorted(self._pending)}})
            self._pending.clear()
        await self._tell({"serverContent": {"interrupted": True}})
        await self._tell({"serverContent": {"turnComplete": True}, "usageMetadata": usage()})

    async def _turn(self) -> None:
        self._words = []
        if self._language is not None:
            return
        before = self._answering
        if self._patient and before is not None and not before.done():
            before.add_done_callback(lambda _: None if self._session.closed else self._begin_answer())
            return
        await self._stop()
        self._begin_answer()

    def _begin_answer(self) -> None:
        answers = self._vendor.answers
        self._answering = asyncio.create_task(self._answer(answers.popleft() if answers else Answer()))

    async def _stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)

    async def _answer(self, answer: Answer) -> None:
        if answer.close is not None:
            await self._socket.close(code=answer.close[0], message=answer.close[1].encode())
            return
        if answer.go_away is not None:
            await self._tell({"goAway": {"timeLeft": answer.go_away}})
        if answer.calls:
            self._due.clear()
            self._pending = {call["id"] for call in answer.calls}
            await self._tell({"toolCall": {"functionCalls": list(answer.calls)}})
            self._blocked = answer.blocking
            if answer.blocking:
                await self._due.wait()
        for number, word in enumerate(answer.text.split()):
            if number in answer.holds:
                await answer.holds[number].wait()
            if answer.cut == number:
                assert self._request.transport is not None
                self._request.transport.abort()
                return
            await self._say(word, f"{' ' if number else ''}{word}")
        await self._tell({"serverContent": {"generationComplete": True}})
        # Before the turn's end, so that whoever waits for that knows the handle.
        if self._vendor.resumable:
            self._vendor.handles += 1
            update = {"newHandle": f"handle-{self._vendor.handles}", "resumable": True}
            await self._tell({"sessionResumptionUpdate": update})
        await self._tell({"serverContent": {"turnComplete": True}, "usageMetadata": usage()})

    async def _say(self, word: str, written: str) -> None:
        data = base64.b64encode(spoken(word, OUTPUT_RATE)).decode()
        parts = [{"inlineData": {"mimeType": f"audio/pcm;rate={OUTPUT_RATE}", "data": data}}]
        await self._tell({"serverContent": {"modelTurn": {"role": "model", "parts": parts}}})
        await self._transcribe("output", written)

    async def _transcribe(self, which: str, text: str) -> None:
        if f"{which}AudioTranscription" in self._session.setup:
            await self._tell({"serverContent": {f"{which}Transcription": {"text": text}}})

    async def _tell(self, message: dict[str, Any]) -> None:
        from google.genai import types

        types.LiveServerMessage.model_validate(message)
        if not self._socket.closed:
            # Google sends its JSON in binary frames.
            await self._socket.send_bytes(json.dumps(message).encode())


def usage() -> dict[str, Any]:
    return {
        "promptTokenCount": 120,
        "cachedContentTokenCount": 40,
        "responseTokenCount": 60,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 185,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 100}],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 30}],
    }


def in_camel_case(told: dict[str, Any], depth: int = 3) -> dict[str, Any]:
    """Google's JSON may have either spelling, and its SDK uses both; below this depth stand the caller's own names."""
    return {
        to_camel(name): in_camel_case(value, depth - 1) if depth > 1 and isinstance(value, dict) else value
        for name, value in told.items()
    }


@cache
def client_message() -> type[BaseModel]:
    """A message of the client's; the SDK builds the setup's detection as a plain dict, and forbids what it does not know."""
    # The SDK takes a second to import, so a test that sends no request does not pay for it.
    from google.genai import types

    setup = create_model(
        "Setup", __base__=types.LiveClientSetup, realtime_input_config=(types.RealtimeInputConfig | None, None)
    )
    optional: Any = setup | None
    return create_model("ClientMessage", __base__=types.LiveClientMessage, setup=(optional, None))


def sound_of(*levels: int, seconds: float = 0.2, rate: int = 24_000) -> bytes:
    """Words, and 0 for silence, each for some time."""
    return b"".join((level * LOUDNESS).to_bytes(2, "little") * int(seconds * rate) for level in levels)
