"""ElevenLabs' voices: text goes in while sound comes out, over its WebSocket `stream-input`."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from engine.api import (
    EngineError,
    ProviderError,
    ProviderRole,
    ProviderUnavailable,
    Quota,
    Shared,
    Sound,
    SpeechRequest,
    Voice,
)
from engine.wire.trace import trace_headers
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, clean
from plugins.vendors.lenient import Reader, read_json
from plugins.vendors.settings import ElevenLabsSettings
from plugins.vendors.speaking import whole_samples
from plugins.vendors.transport import connecting, get_json, post_bytes

RATE = 24_000
FORMAT = "pcm_24000"
DEFAULT_VOICE = "21m00Tcm4TlvDq8ikWAM"
"""Rachel, which every account has."""

SILENT_FOR = 180
"""Seconds without text after which ElevenLabs hangs up, at most."""


class Alignment(msgspec.Struct):
    """When the letters of a piece of sound are spoken, in milliseconds from its beginning."""

    chars: list[str]
    starts: list[float] = msgspec.field(name="charStartTimesMs")


class Subscription(msgspec.Struct):
    """What an account may use, of which more is told than this."""

    tier: str
    character_count: int
    character_limit: int
    next_character_count_reset_unix: int | None = None


_subscription = Reader(Subscription).read


class ElevenLabsVoices:
    """Speech with the multilingual and flash models. A voice is asked for by its id."""

    role: ClassVar[ProviderRole] = "speech"
    name = "elevenlabs"
    default_model = "eleven_flash_v2_5"

    def __init__(self, settings: ElevenLabsSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._vendor = Vendor(
            settings.title, read_elevenlabs_fault, credential=settings.credential, secret=settings.key
        )
        self._headers = {"xi-api-key": settings.key} if settings.key else {}

    @property
    def own_address(self) -> bool:
        """Whether ElevenLabs itself answers."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    async def voices(self) -> Sequence[Voice]:
        """The voices of the operator's account."""
        told = await get_json(self._http, f"{self._settings.base_url}/v1/voices", self._headers, self._vendor)
        try:
            return [
                Voice(id=each["voice_id"], name=each["name"], description=each.get("description") or "")
                for each in msgspec.json.decode(told)["voices"]
            ]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise self._vendor.broke_protocol("its list of voices is not of the known form") from None

    async def quota(self) -> Quota:
        """The characters of the operator's subscription."""
        url = f"{self._settings.base_url}/v1/user/subscription"
        told = await get_json(self._http, url, self._headers, self._vendor)
        try:
            account = _subscription(told)
            resets = account.next_character_count_reset_unix
            resets_at = datetime.fromtimestamp(resets, UTC) if resets is not None else None
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError):
            raise self._vendor.broke_protocol("its subscription is not of the known form") from None
        return Quota(
            used=account.character_count, limit=account.character_limit, resets_at=resets_at, plan=account.tier
        )

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        url = f"{self._address(request)}/stream?{urlencode({'output_format': FORMAT})}"
        body = {"text": text, "model_id": request.model, **_settings_of(request), **request.provider_options}
        headers = {**self._headers, "Content-Type": "application/json"}
        pieces = post_bytes(self._http, url, headers, msgspec.json.encode(body), self._vendor, due="audio")
        async with aclosing(whole_samples(pieces)) as samples:  # type: ignore[type-var]
            async for pcm in samples:
                yield Sound(pcm, RATE)

    async def speak_stream(self, request: SpeechRequest, texts: AsyncIterator[str]) -> AsyncIterator[Sound]:
        """Speak what comes."""
        fields: dict[str, Any] = {"model_id": request.model, "output_format": FORMAT, "inactivity_timeout": SILENT_FOR}
        fields["sync_alignment"] = "true"
        if request.language is not None:
            fields["language_code"] = request.language.split("-")[0]
        url = f"{self._address(request)}/stream-input?{urlencode(fields)}".replace("http", "ws", 1)
        http = await self._http.get()
        with connecting(self._vendor):
            socket = await http.ws_connect(url, headers={**self._headers, **trace_headers()}, max_msg_size=1 << 24)
        feeding = asyncio.create_task(_feed(socket, request, texts), name="text for ElevenLabs")
        try:
            while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                told = self._told(message.data)
                if pcm := self._pcm(told):
                    for sound in _marked(pcm, told.get("alignment")):
                        yield sound
                if told.get("isFinal"):
                    return
            if feeding.done() and (failed := feeding.exception()) is not None:
                raise failed
            raise self._closed(socket, message)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await socket.close()

    def _address(self, request: SpeechRequest) -> str:
        return f"{self._settings.base_url}/v1/text-to-speech/{quote(request.voice or DEFAULT_VOICE, safe='')}"

    def _told(self, data: str) -> dict[str, Any]:
        told = self._read(data)
        if told.get("error"):
            raise self._vendor.failure(data.encode())
        return told

    def _read(self, data: str) -> dict[str, Any]:
        try:
            told = read_json(data)
        except msgspec.MsgspecError:
            told = None
        if not isinstance(told, dict):
            raise self._vendor.broke_protocol("what it sent is not of the known form")
        return told

    def _pcm(self, told: dict[str, Any]) -> bytes:
        try:
            return base64.b64decode(told.get("audio") or "")
        except (TypeError, ValueError):
            raise self._vendor.broke_protocol("its sound is not in base64") from None

    def _closed(self, socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> EngineError:
        closed = message.type is aiohttp.WSMsgType.CLOSE
        code = message.data if closed else socket.close_code
        reason = clean(str(message.extra)) if closed and message.extra else ""
        told = f"{self._vendor.title} closed the connection with code {code}{f': {reason}' if reason else ''}."
        return ProviderError(told) if code == 1008 else ProviderUnavailable(told)


def _marked(pcm: bytes, told: object) -> Iterator[Sound]:
    """The sound cut where a word begins, each piece with its word; whole where no times came, or none that can be."""
    try:
        alignment = msgspec.convert(told, Alignment)
        letters = list(zip(alignment.chars, alignment.starts, strict=True))
    except (msgspec.ValidationError, ValueError):
        letters = []
    words: list[tuple[int, str]] = []
    before, blank = "", True
    for letter, start in letters:
        if blank and not letter.isspace():
            words.append((max(0, int(start)) * RATE // 1000 * 2, before))
            before = ""
        blank = letter.isspace()
        if words:
            words[-1] = words[-1][0], words[-1][1] + letter
        else:
            before += letter
    if not words:
        yield Sound(pcm, RATE, before)
        return
    at = 0
    if words[0][0] > 0:
        words.insert(0, (0, ""))
    for (_, word), end in zip(words, [*(begin for begin, _ in words[1:]), len(pcm)], strict=True):
        end = max(at, end)
        yield Sound(pcm[at:end], RATE, word)
        at = end


async def _feed(socket: aiohttp.ClientWebSocketResponse, request: SpeechRequest, texts: AsyncIterator[str]) -> None:
    try:
        # One blank opens the stream, and an empty text is its end.
        await socket.send_json({"text": " ", **_settings_of(request), **request.provider_options})
        async for text in texts:
            # What comes is whole sentences, so that nothing is gained by waiting for more.
            await socket.send_json({"text": f"{text.strip()} ", "flush": True})
        await socket.send_json({"text": ""})
    except (aiohttp.ClientError, ConnectionError, RuntimeError):
        return  # whoever reads from it learns how it ended


def _settings_of(request: SpeechRequest) -> dict[str, Any]:
    return {} if request.speed == 1.0 else {"voice_settings": {"speed": request.speed}}


def read_elevenlabs_fault(data: bytes) -> Fault:
    """The error in an answer, `{"detail": {"status", "message"}}`, or a message, `{"message", "error"}`. Never raises."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Fault(message=data[:200].decode(errors="replace"))
    if not isinstance(body, dict):
        return Fault()
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return Fault(message=str(detail[0].get("msg", "")))
    told = detail if isinstance(detail, dict) else body
    name = str(told.get("status") or told.get("error") or told.get("code") or "")
    return Fault(
        message=str(told.get("message") or detail or ""),
        code=_NAMES.get(name, name),
        param="voice" if name in _NO_VOICE else None,
    )


_NO_VOICE = ("voice_not_found", "voice_does_not_exist", "voice_id_does_not_exist")

# Its names in the vendors' common ones.
_NAMES = {
    **dict.fromkeys(_NO_VOICE, "invalid_request_error"),
    "invalid_api_key": "invalid_api_key",
    "quota_exceeded": "insufficient_quota",
    "too_many_concurrent_requests": "rate_limit_exceeded",
    "system_busy": "overloaded_error",
    "input_timeout_exceeded": "invalid_request_error",
}
