"""Deepgram's API: prerecorded and live transcription, and Aura's voices; what it says parses with the SDK's own models.

It hears words where it is told to: `words` are spoken one for each `SECONDS_A_WORD` of audio, so that a test sees which audio
arrived, and which twice.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web
from deepgram.listen.v1.types.listen_v1results import ListenV1Results
from deepgram.types.listen_v1response import ListenV1Response

from tests.emulators.base import Emulator, RecordedRequest, Rejection
from tests.emulators.reply import Condition
from tests.emulators.sound import SECONDS_A_WORD, Sing, spoken

ERRORS: Mapping[Condition, tuple[int, str, str]] = {
    "bad_request": (400, "Bad Request", "Bad Request: failed to process audio: corrupt or unsupported data"),
    "invalid_key": (401, "INVALID_AUTH", "Invalid credentials."),
    "permission": (403, "INSUFFICIENT_PERMISSIONS", "Project does not have access to the requested model."),
    "model_not_found": (400, "Bad Request", "Bad Request: No such model/language/tier combination found."),
    "not_found": (404, "Not Found", "There is nothing here."),
    "quota": (402, "ASR_PAYMENT_REQUIRED", "Project does not have enough credits for an ASR request."),
    "rate_limit": (429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    "server": (500, "INTERNAL_SERVER_ERROR", "An unexpected error occurred."),
    "overloaded": (503, "SERVICE_UNAVAILABLE", "Service is temporarily unavailable."),
}
PIECE = 4_800
FINAL_EVERY = 4
"""Words of a final result."""


@dataclass(frozen=True)
class Hangup:
    """How a live connection ends early: after so many seconds of its audio; no code is a connection that is cut.

    Without seconds it ends when it has all the audio and is to tell what it heard last.
    """

    after: float | None = None
    code: int | None = None
    reason: str = ""


class DeepgramEmulator(Emulator):
    """Deepgram on loopback."""

    def __init__(self, words: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.words = words.split()
        self.hangups: deque[Hangup] = deque()
        self.sounds: deque[Sing] = deque()
        self.live: list[int] = []
        """Bytes of audio that each live connection got."""
        self.kept_alive = 0

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        scheme, _, key = record.headers.get("authorization", "").partition(" ")
        if scheme != "Token" or not key or self.key not in (None, key):
            raise self.rejection("invalid_key")
        if "model" not in record.query:
            raise self.rejection("bad_request", "A model is missing.")
        self.refuse_as_scripted()
        match record.method, record.path:
            case "POST", "/v1/listen":
                return web.json_response(self._prerecorded(record))
            case "GET", "/v1/listen":
                return await self._live(record, request)
            case "POST", "/v1/speak":
                return await self._speak(record, request)
        raise self.rejection("not_found")

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        status, code, text = ERRORS[condition]
        return Rejection(status, {"err_code": code, "err_msg": message or text, "request_id": "r-1"})

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        return Rejection(status, {"err_code": str(status), "err_msg": message or "It failed.", "request_id": "r-1"})

    def last_user_text(self, body: Any) -> str:
        return ""

    def _heard(self, begin: int, end: int) -> list[dict[str, Any]]:
        """The words that stand in the audio between two numbers of words, counted over all connections."""
        return [
            {
                "word": self.words[at].lower().strip(".,"),
                "punctuated_word": self.words[at],
                "start": at * SECONDS_A_WORD,
                "end": (at + 1) * SECONDS_A_WORD,
                "confidence": 0.98,
                "speaker": 0,
            }
            for at in range(begin, min(end, len(self.words)))
        ]

    def _prerecorded(self, record: RecordedRequest) -> dict[str, Any]:
        seconds = len(record.raw) / 2 / int(record.query["sample_rate"])
        words = self._heard(0, int(seconds / SECONDS_A_WORD + 0.5))
        text = " ".join(word["punctuated_word"] for word in words)
        alternative = {"transcript": text, "confidence": 0.97, "words": words}
        results: dict[str, Any] = {"channels": [{"alternatives": [alternative]}]}
        if record.query.get("utterances") == "true":
            utterance = {"start": 0.0, "end": seconds, "confidence": 0.97, "channel": 0, "transcript": text}
            results["utterances"] = [{**utterance, "words": words, "speaker": 0, "id": "u-1"}] if words else []
        metadata = {
            "transaction_key": "deprecated",
            "request_id": "3c4b1a52-6fc4-4b7f-a4ba-0f0e3b6cb7f5",
            "sha256": "0" * 64,
            "created": "2026-11-27T10:00:00.000Z",
            "duration": seconds,
            "channels": 1,
            "models": [],
            "model_info": {},
        }
        told = {"metadata": metadata, "results": results}
        ListenV1Response.model_validate(told)
        return told

    async def _live(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hangup = self.hangups.popleft() if self.hangups else None
        rate = int(record.query["sample_rate"])
        number = len(self.live)
        self.live.append(0)
        done = 0
        # The audio says which word it is: a sample of value k begins word k.
        first: int | None = None
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                if first is None:
                    first = int.from_bytes(message.data[:2], "little")
                self.live[number] += len(message.data)
                seconds = self.live[number] / 2 / rate
                if hangup is not None and hangup.after is not None and seconds >= hangup.after:
                    await self._hang_up(hangup, socket, request)
                    return socket
                heard = int(seconds / SECONDS_A_WORD + 1e-6)
                if heard - done >= FINAL_EVERY:
                    await self._tell(socket, first, done, done + FINAL_EVERY, final=True)
                    done += FINAL_EVERY
                elif heard > done:
                    await self._tell(socket, first, done, heard, final=False)
            elif message.type is WSMsgType.TEXT:
                kind = json.loads(message.data)["type"]
                if kind == "KeepAlive":
                    self.kept_alive += 1
                elif kind == "CloseStream":
                    if hangup is not None:
                        await self._hang_up(hangup, socket, request)
                        return socket
                    heard = int(self.live[number] / 2 / rate / SECONDS_A_WORD + 1e-6)
                    if heard > done:
                        await self._tell(socket, first or 0, done, heard, final=True)
                    await socket.send_json({"type": "Metadata", "request_id": "r-1", "duration": 0.0, "channels": 1})
                    await socket.close()
        return socket

    async def _hang_up(self, hangup: Hangup, socket: web.WebSocketResponse, request: web.Request) -> None:
        if hangup.code is not None:
            await socket.close(code=hangup.code, message=hangup.reason.encode())
            return
        assert request.transport is not None
        request.transport.abort()

    async def _tell(self, socket: web.WebSocketResponse, first: int, begin: int, end: int, *, final: bool) -> None:
        words = self._heard(first + begin, first + end)
        # Times count from the begin of the connection.
        for word in words:
            word["start"] -= first * SECONDS_A_WORD
            word["end"] -= first * SECONDS_A_WORD
        text = " ".join(word["punctuated_word"] for word in words)
        told = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": (end - begin) * SECONDS_A_WORD,
            "start": begin * SECONDS_A_WORD,
            "is_final": final,
            "speech_final": final,
            "channel": {"alternatives": [{"transcript": text, "confidence": 0.97, "words": words}]},
            "metadata": {
                "request_id": "r-1",
                "model_info": {"name": "general-nova-3", "version": "2026-01-01", "arch": "nova-3"},
                "model_uuid": "u-1",
            },
            "from_finalize": False,
        }
        ListenV1Results.model_validate(told)
        await socket.send_json(told)

    async def _speak(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.query.get("encoding") != "linear16" or record.query.get("container") != "none":
            raise self.rejection("bad_request", "This emulator knows linear16 without a container only.")
        if not record.body or not record.body.get("text"):
            raise self.rejection("bad_request", "Text is missing.")
        sing = self.sounds.popleft() if self.sounds else Sing()
        sound = spoken(record.body["text"], int(record.query["sample_rate"]))
        response = web.StreamResponse(headers={"content-type": "audio/l16"})
        with self._open_stream():
            await response.prepare(request)
            for number, begin in enumerate(range(0, len(sound), PIECE)):
                if number in sing.holds:
                    await sing.holds[number].wait()
                if sing.cut == number:
                    return self._cut(request, response)
                await response.write(sound[begin : begin + PIECE])
            await response.write_eof()
        return response


def sound_of_words(count: int, rate: int = 16_000, first: int = 0) -> bytes:
    """Audio whose samples tell which word they belong to."""
    samples = int(SECONDS_A_WORD * rate)
    return b"".join(number.to_bytes(2, "little") * samples for number in range(first, first + count))
