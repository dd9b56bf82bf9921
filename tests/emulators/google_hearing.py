"""Gemini's transcription on loopback: recordings, uploaded or in the request, and live speech of a model made for it.

Samples of the height `k * LOUDNESS` are the word number k of `words`, zeros are silence. What is told parses with the SDK's
types.
"""

from __future__ import annotations

import base64
import io
import json
import wave
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from tests.emulators.base import Event, RecordedRequest, texts_in
from tests.emulators.google import GoogleEmulator, check_generate_content
from tests.emulators.google_live import INPUT_RATE, PATH, client_message
from tests.emulators.reply import Hold
from tests.emulators.sound import LEVEL, Levels
from tests.emulators.validation import Invalid, most_telling

MOST_INLINE = 20_971_520
_UPLOAD = "/upload/v1beta/files"


@dataclass(frozen=True)
class Write:
    """How a transcript is written: `holds` stop it before a chunk, `cut` breaks it off, `finish` is the reason of its end."""

    holds: dict[int, Hold] = field(default_factory=dict)
    cut: int | None = None
    finish: str = "STOP"
    text: str | None = None


@dataclass(frozen=True)
class Trouble:
    """What befalls a session at its piece of sound number `at`; at 0 before it begins, at None with the end of a turn."""

    at: int | None
    cut: bool = False
    silent: bool = False
    close: tuple[int, str] | None = None
    go_away: str | None = None
    stall: Hold | None = None


@dataclass(frozen=True)
class Stretch:
    """Words without silence in between, and their seconds."""

    words: list[tuple[str, float, float]]

    @property
    def text(self) -> str:
        return " ".join(word for word, _, _ in self.words)


class GoogleHearingEmulator(GoogleEmulator):
    """Google; `late` tells the words of a turn after its end, `completes` is whether it tells of ends at all."""

    def __init__(self, words: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.words = words.split()
        self.writes: deque[Write] = deque()
        self.troubles: deque[Trouble | None] = deque()
        self.sessions: list[Hearing] = []
        self.late = False
        self.completes = True
        self.files: dict[str, bytes] = {}
        self.states: deque[str] = deque()
        self.deleted: list[str] = []

    async def until(self, reached: Any, what: str, timeout: float = 5.0) -> None:
        """Return once `reached()`; AssertionError after `timeout` seconds."""
        await self._until(reached, timeout, what)

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.path == PATH:
            return await self._live(record, request)
        if record.path.startswith((_UPLOAD, "/v1beta/files/")):
            return self._file(record, request)
        return await super().answer(record, request)

    # Recordings

    def _file(self, record: RecordedRequest, request: web.Request) -> web.Response:
        name = record.path.rpartition("/")[2]
        if record.path == _UPLOAD:
            self._authenticate(record)
            self.refuse_as_scripted()
            assert record.headers["x-goog-upload-command"] == "start"
            name = f"f{len(self.files)}"
            self.files[name] = b""
            return web.json_response({}, headers={"X-Goog-Upload-URL": f"{self.base_url}{_UPLOAD}/{name}"})
        if record.path.startswith(_UPLOAD):
            assert (record.headers["x-goog-upload-command"], record.headers["x-goog-upload-offset"]) == (
                "upload, finalize",
                "0",
            )
            self.files[name] = record.raw
            return web.json_response({"file": self._told_of(name)}, headers={"X-Goog-Upload-Status": "final"})
        self._authenticate(record)
        if request.method == "DELETE":
            self.deleted.append(name)
            return web.json_response({})
        return web.json_response(self._told_of(name))

    def _told_of(self, name: str) -> dict[str, Any]:
        from google.genai import types

        state = self.states.popleft() if self.states else "ACTIVE"
        uri = f"{self.base_url}/v1beta/files/{name}"
        told = {"name": f"files/{name}", "uri": uri, "mimeType": "audio/wav", "state": state}
        types.File.model_validate(told)
        return told

    async def _generate(
        self, model: str, record: RecordedRequest, request: web.Request, *, stream: bool
    ) -> web.StreamResponse:
        body = self._object(record)
        try:
            check_generate_content(record.raw)
        except Invalid as invalid:
            raise self.rejection("bad_request", str(invalid)) from None
        if len(record.raw) > MOST_INLINE:
            raise self.rejection("too_large")
        self.refuse_as_scripted()
        write = self.writes.popleft() if self.writes else Write()
        parts = body["contents"][0]["parts"]
        stretches = list(self._stretches(self._recording(parts[0])))
        chunks = self._chunks(model, body, stretches) if write.text is None else [[{"text": write.text}]]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with self._open_stream():
            await response.prepare(request)
            for number, told in enumerate([*chunks, []]):
                if number in write.holds:
                    await write.holds[number].wait()
                if write.cut == number:
                    return self._cut(request, response)
                finish = write.finish if not told else None
                await response.write(self._encode(Event(chunk(model, told, finish))))
            await response.write_eof()
        return response

    def _recording(self, part: Mapping[str, Any]) -> bytes:
        if (inline := part.get("inlineData")) is not None:
            assert inline["mimeType"] == "audio/wav"
            return base64.b64decode(inline["data"])
        held = part["fileData"]
        # The SDK writes this one in snake_case; the vendor takes both.
        return self.files[(held.get("fileUri") or held["file_uri"]).rpartition("/")[2]]

    def _stretches(self, wav: bytes) -> Iterator[Stretch]:
        with wave.open(io.BytesIO(wav)) as file:
            levels = Levels(file.getframerate()).feed(file.readframes(file.getnframes()))
        words: list[tuple[str, float, float]] = []
        for number, level in enumerate([*levels, 0]):
            at = number * LEVEL / 1000
            if level:
                words.append((self.words[level - 1], at, at))
            elif level is None and words:
                words[-1] = (*words[-1][:2], at)
            elif level == 0 and words:
                yield Stretch(words)
                words = []

    def _chunks(self, model: str, body: Mapping[str, Any], stretches: list[Stretch]) -> list[list[Mapping[str, Any]]]:
        config = body.get("generationConfig") or {}
        if "transcribe" in model:
            asked = asked_of(config)
            timed = asked.word_timestamp or asked.diarization
            if timed and asked.custom_vocabulary:
                raise self.rejection("bad_request", "custom_vocabulary goes with neither timestamps nor diarization.")
            if timed:
                return [[{"audioTranscription": transcription(each, n, asked)}] for n, each in enumerate(stretches)]
            return [[{"text": f"{each.text}\n"}] for each in stretches]
        assert texts_in(body["contents"][0]["parts"][1:])
        if "responseJsonSchema" not in config:
            return [[{"text": text}] for each in stretches for text in (each.text[:4], f"{each.text[4:]}\n")]
        told = json.dumps([entry(each, n, config["responseJsonSchema"]) for n, each in enumerate(stretches)])
        return [[{"text": told[at : at + 40]}] for at in range(0, len(told), 40)]

    # Live

    async def _live(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if not record.headers.get("x-goog-api-key"):
            raise self.rejection("permission")
        self.refuse_as_scripted()
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        hearing = Hearing(self, socket, request)
        self.sessions.append(hearing)
        with self._open_stream():
            await hearing.run()
        return socket


class Hearing:
    """One session."""

    def __init__(self, vendor: GoogleHearingEmulator, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.setup: dict[str, Any] = {}
        self.heard: list[str] = []
        self.turns = 0
        self._vendor = vendor
        self._socket = socket
        self._request = request
        self._trouble = vendor.troubles.popleft() if vendor.troubles else None
        self._levels = Levels(INPUT_RATE)
        self._sounds = 0
        self._ms = 0
        self._turn: list[tuple[str, float, float]] | None = None
        self._mute = False

    async def run(self) -> None:
        first = await self._next()
        if first is None:
            return
        self.setup = first["setup"]
        assert "transcribe" in self.setup["model"]
        if await self._troubled(0):
            await self._socket.receive()
            return
        await self._tell({"setupComplete": {}})
        while (message := await self._next()) is not None:
            await self._take(message["realtimeInput"])

    async def _next(self) -> dict[str, Any] | None:
        message = await self._socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        try:
            client_message().model_validate_json(message.data)
        except ValidationError as failure:
            await self._socket.close(code=1007, message=str(most_telling(failure)).encode()[:120])
            return None
        told: dict[str, Any] = json.loads(message.data)
        return told

    async def _take(self, told: Mapping[str, Any]) -> None:
        if "activityStart" in told:
            assert self._turn is None
            self._turn = []
        elif "audio" in told:
            assert told["audio"]["mimeType"] == f"audio/pcm;rate={INPUT_RATE}"
            self._sounds += 1
            await self._troubled(self._sounds)
            for level in self._levels.feed(base64.b64decode(told["audio"]["data"])):
                await self._hear(level)
        elif "activityEnd" in told:
            self.turns += 1
            await self._troubled(None)
            await self._end()

    async def _hear(self, level: int | None) -> None:
        assert self._turn is not None, "sound outside of a turn"
        self._ms += LEVEL
        at = self._ms / 1000
        if level:
            word = self._vendor.words[level - 1]
            self.heard.append(word)
            self._turn.append((word, at, at))
            await self._tell({"serverContent": {"interimInputTranscription": {"text": Stretch(self._turn).text}}})
            self._vendor._notify()
        elif level is None and self._turn:
            self._turn[-1] = (*self._turn[-1][:2], at)

    async def _end(self) -> None:
        turn, self._turn = self._turn or [], None
        words = {}
        if turn:
            bounds = {"startOffset": f"{turn[0][1]:g}s", "endOffset": f"{turn[-1][2]:g}s"}
            words = {"inputTranscription": {"text": Stretch(turn).text, "languageCode": "en-US", **bounds}}
        ends = [{"generationComplete": True}, {"turnComplete": True}] if self._vendor.completes else []
        for content in [*ends, words] if self._vendor.late else [words, *ends]:
            if content:
                await self._tell({"serverContent": content})

    async def _troubled(self, at: int | None) -> bool:
        trouble = self._trouble
        if trouble is None or trouble.at != at:
            return False
        self._trouble = None
        self._mute = trouble.silent
        if trouble.stall is not None:
            await trouble.stall.wait()
        if trouble.go_away is not None:
            await self._tell({"goAway": {"timeLeft": trouble.go_away}})
        if trouble.cut:
            assert self._request.transport is not None
            self._request.transport.abort()
        if trouble.close is not None:
            await self._socket.close(code=trouble.close[0], message=trouble.close[1].encode())
        return True

    async def _tell(self, message: dict[str, Any]) -> None:
        from google.genai import types

        types.LiveServerMessage.model_validate(message)
        if not self._mute and not self._socket.closed:
            # Google sends its JSON in binary frames.
            with suppress(ConnectionError):
                await self._socket.send_bytes(json.dumps(message).encode())


def chunk(model: str, parts: list[Mapping[str, Any]], finish: str | None) -> Mapping[str, Any]:
    """One chunk of an answer, held to the SDK's type."""
    from google.genai import types

    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    told = {"candidates": [candidate], "modelVersion": model, "responseId": "response-1"}
    types.GenerateContentResponse.model_validate_json(json.dumps(told))
    return told


def asked_of(config: Mapping[str, Any]) -> Any:
    """What a model for transcription is asked; the SDK writes it in snake_case, and the vendor takes both."""
    from google.genai import types

    fields = config.get("audioTranscriptionConfig") or config.get("audio_transcription_config") or {}
    return types.AudioTranscriptionConfig.model_validate(fields)


def transcription(stretch: Stretch, number: int, asked: Any) -> Mapping[str, Any]:
    """What a model for transcription tells of a stretch."""
    told: dict[str, Any] = {"text": stretch.text}
    told["words"] = [
        {"word": word, "startOffset": f"{start:g}s", "endOffset": f"{end:g}s"} for word, start, end in stretch.words
    ]
    if asked.diarization:
        told["speakerLabel"] = f"spk_{number % 2 + 1}"
    return told


def entry(stretch: Stretch, number: int, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What any other model tells of it, where it is held to a schema."""
    told: dict[str, Any] = {"text": stretch.text, "start": stretch.words[0][1], "end": stretch.words[-1][2]}
    wanted = schema["items"]["properties"]
    if "speaker" in wanted:
        told["speaker"] = str(number % 2)
    if "words" in wanted:
        told["words"] = [{"text": word, "start": start, "end": end} for word, start, end in stretch.words]
    return told
