"""ElevenLabs' API: voices, text to speech as one stream, and the WebSocket `stream-input`."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiohttp import WSMsgType, web

from tests.emulators.base import Emulator, RecordedRequest, Rejection
from tests.emulators.reply import Condition
from tests.emulators.sound import SECONDS_A_WORD, Sing, spoken

RATE = 24_000
PIECE = 4_800
VOICES = {"21m00Tcm4TlvDq8ikWAM": "Rachel", "AZnzlk1XvdvUeBnXmlld": "Domi"}

ERRORS: Mapping[Condition, tuple[int, str, str]] = {
    "bad_request": (400, "invalid_request", "The request is not valid."),
    "invalid_key": (401, "invalid_api_key", "Invalid API key"),
    "permission": (403, "missing_permissions", "The API key you used is missing the permission text_to_speech."),
    "not_found": (404, "voice_not_found", "A voice with that voice_id was not found."),
    "quota": (401, "quota_exceeded", "This request exceeds your quota."),
    "rate_limit": (429, "too_many_concurrent_requests", "Too many concurrent requests."),
    "server": (500, "internal_error", "Something went wrong."),
    "overloaded": (503, "system_busy", "We are experiencing heavy traffic."),
}

SUBSCRIPTION: Mapping[str, Any] = {
    "tier": "creator",
    "character_count": 31_000,
    "character_limit": 100_000,
    "max_credit_limit_extension": "unlimited",
    "can_extend_character_limit": True,
    "allowed_to_extend_character_limit": True,
    "next_character_count_reset_unix": 1_798_761_600,
    "voice_slots_used": 2,
    "professional_voice_slots_used": 0,
    "professional_voice_slots_used_in_workspace": 0,
    "voice_limit": 30,
    "voice_add_edit_counter": 0,
    "professional_voice_limit": 1,
    "can_extend_voice_limit": False,
    "can_use_instant_voice_cloning": True,
    "can_use_professional_voice_cloning": True,
    "currency": "usd",
    "current_overage": {"amount": "0", "currency": "usd"},
    "status": "active",
    "billing_period": "monthly_period",
    "character_refresh_period": "monthly_period",
    "open_invoices": [],
    "has_open_invoices": False,
}
"""An account; `elevenlabs.types.Subscription` says what each field means."""


class ElevenLabsEmulator(Emulator):
    """ElevenLabs on loopback. `said` keeps the texts that each stream of text brought, flushed or ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sounds: deque[Sing] = deque()
        self.said: list[list[str]] = []
        self.closes: deque[tuple[int, str]] = deque()
        self.subscription: dict[str, Any] = {}
        """What the account has that others have not."""

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        try:
            self._admit(record)
        except Rejection as refused:
            if not record.path.endswith("/stream-input") or refused.status >= 500 or refused.retry_after:
                raise
            return await self._turn_away(request, refused)
        if (record.method, record.path) == ("GET", "/v1/voices"):
            listed: list[dict[str, Any]] = [
                {"voice_id": id, "name": name, "description": None, "labels": {}} for id, name in VOICES.items()
            ]
            return await self.tell(request, {"voices": listed})
        if (record.method, record.path) == ("GET", "/v1/user/subscription"):
            return await self.tell(request, {**SUBSCRIPTION, **self.subscription})
        _, _, way = record.path.rpartition("/")
        if (record.method, way) == ("POST", "stream"):
            return await self._stream(record, request)
        if (record.method, way) == ("GET", "stream-input"):
            return await self._stream_input(request)
        raise self.rejection("not_found")

    def _admit(self, record: RecordedRequest) -> None:
        key = record.headers.get("xi-api-key")
        if not key or self.key not in (None, key):
            raise self.rejection("invalid_key")
        if not record.path.startswith("/v1/text-to-speech/"):
            return
        self.refuse_as_scripted()
        voice = record.path.split("/")[3]
        if voice not in VOICES:
            told = f"A voice with voice_id '{voice}' does not exist."
            raise Rejection(400, {"detail": {"status": "voice_id_does_not_exist", "message": told}})
        if record.query.get("output_format") != f"pcm_{RATE}":
            raise self.rejection("bad_request", "This emulator knows one format only.")

    async def _turn_away(self, request: web.Request, refused: Rejection) -> web.StreamResponse:
        """A socket is opened first, and then told what is wrong."""
        assert not isinstance(refused.body, str)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        detail = refused.body["detail"]
        await socket.send_json({"message": detail["message"], "error": detail["status"], "code": 1008})
        await socket.close(code=1008, message=detail["message"].encode()[:120])
        return socket

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        status, name, text = ERRORS[condition]
        return Rejection(status, {"detail": {"status": name, "message": message or text}})

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        return Rejection(status, {"detail": {"status": "failed", "message": message or "It failed."}})

    def last_user_text(self, body: Any) -> str:
        return ""

    async def _stream(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        sound = spoken(record.body["text"], RATE)
        response = web.StreamResponse(headers={"content-type": "audio/pcm"})
        await response.prepare(request)
        for begin in range(0, len(sound), PIECE):
            await response.write(sound[begin : begin + PIECE])
        await response.write_eof()
        return response

    async def _stream_input(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        texts: list[str] = []
        self.said.append(texts)
        waiting = ""
        opened = False
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            told = json.loads(message.data)
            if not opened:
                # The first message is a blank, with the settings of the stream.
                opened = told["text"] == " "
                if not opened:
                    await socket.close(code=1008, message=b"The first message must be a space")
                continue
            waiting += told["text"]
            if waiting.strip() and (told.get("flush") or told["text"] == ""):
                texts.append(waiting.strip())
                if self.closes:
                    code, reason = self.closes.popleft()
                    await socket.close(code=code, message=reason.encode())
                    return socket
                if not await self._speak(socket, request, waiting.strip()):
                    return socket
                waiting = ""
            if told["text"] == "":
                await socket.send_json({"audio": None, "isFinal": True, "alignment": None})
                await socket.close()
        return socket

    async def _speak(self, socket: web.WebSocketResponse, request: web.Request, text: str) -> bool:
        sing = self.sounds.popleft() if self.sounds else Sing()
        sound = spoken(text, RATE)
        for number, begin in enumerate(range(0, len(sound), PIECE)):
            if number in sing.holds:
                await sing.holds[number].wait()
            if sing.cut == number:
                if sing.code is not None:
                    await socket.close(code=sing.code)
                    return False
                assert request.transport is not None
                request.transport.abort()
                return False
            audio = base64.b64encode(sound[begin : begin + PIECE]).decode()
            times = _alignment(text, begin // 2, PIECE // 2) if request.query.get("sync_alignment") == "true" else None
            told = {"audio": audio, "isFinal": None, "normalizedAlignment": times, "alignment": times}
            await socket.send_json(told)
        return True


def _alignment(text: str, begin: int, size: int) -> dict[str, Any]:
    """The letters that are spoken in a piece of samples: each word takes as long as any other."""
    a_word = int(SECONDS_A_WORD * RATE)
    chars: list[str] = []
    starts: list[int] = []
    for number, word in enumerate(text.split()):
        for at, letter in enumerate(f"{word} "):
            sample = number * a_word + at * a_word // (len(word) + 1)
            if begin <= sample < begin + size:
                chars.append(letter)
                starts.append((sample - begin) * 1000 // RATE)
    return {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": [10] * len(chars)}
