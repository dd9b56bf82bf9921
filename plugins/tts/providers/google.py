"""Gemini's voices (protocol: https://ai.google.dev/gemini-api/docs/speech-generation), streamed by generateContent."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from engine.api import ProviderError, ProviderRole, Shared, Sound, SpeechRequest, UnsupportedParameter, Voice
from engine.wire.sse import SseDecoder, UnfinishedEvent
from plugins.vendors.decoding import encode_body
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.google_voices import VOICES
from plugins.vendors.lenient import read_json
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import post_bytes

DEFAULT_VOICE = "Kore"
_RATE = re.compile(r"audio/l16\b.*\brate=(\d+)", re.IGNORECASE)


class GoogleVoices:
    """Speech with the TTS models of Gemini, which find the language by themselves."""

    role: ClassVar[ProviderRole] = "speech"
    name = "google"
    default_model = "gemini-2.5-flash-preview-tts"

    def __init__(self, settings: GoogleSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._headers = {"Content-Type": "application/json"}
        if settings.key:
            self._headers["x-goog-api-key"] = settings.key
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def check(self, request: SpeechRequest) -> None:
        """Raise `UnsupportedParameter` for a speed: Gemini is told how to speak in words alone."""
        if request.speed != 1.0:
            raise UnsupportedParameter("Google's voices have no speed; say in instructions how to speak", field="speed")

    async def voices(self) -> Sequence[Voice]:
        """The voices that Google lists in its documentation; it has no address that tells them."""
        return [Voice(id=id, name=id) for id in VOICES]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        path = f"v1beta/models/{quote(request.model, safe='', errors='replace')}:streamGenerateContent"
        url = URL(f"{self._settings.base_url}/{path}?alt=sse", encoded=True)
        body = encode_body(_body(request, text))
        decoder, spoke = SseDecoder(), False
        pieces = post_bytes(self._http, url, self._headers, body, self._vendor, due="an event stream")
        async with aclosing(pieces) as source:  # type: ignore[type-var]
            async for piece in source:
                try:
                    events = decoder.feed(piece)
                except UnfinishedEvent:
                    raise self._vendor.broke_protocol("an event does not end") from None
                for event in events:
                    for sound in self._sounds(event.data):
                        spoke = True
                        yield sound
        cut, last = decoder.rest(), decoder.end()
        if cut and not last:
            raise self._vendor.cut_off()
        for sound in (sound for event in last for sound in self._sounds(event.data)):
            spoke = True
            yield sound
        if not spoke:
            raise ProviderError(f"{self._vendor.title} answered without sound.")

    def _sounds(self, data: bytes) -> list[Sound]:
        """The sound of one event; raises what else the event tells."""
        try:
            told = read_json(data) if data.strip() else {}
            if told.get("error"):
                raise self._vendor.failure(data)
            if (blocked := (told.get("promptFeedback") or {}).get("blockReason")) is not None:
                raise ProviderError(f"{self._vendor.title} does not speak this text: {blocked}.")
            sounds: list[Sound] = []
            for candidate in told.get("candidates") or ():
                parts = (candidate.get("content") or {}).get("parts") or ()
                sounds += [self._sound(part["inlineData"]) for part in parts if "inlineData" in part]
                if (reason := candidate.get("finishReason")) and reason.upper() != "STOP":
                    raise ProviderError(f"{self._vendor.title} stopped speaking: {reason}.")
        except (msgspec.DecodeError, TypeError, AttributeError, KeyError, ValueError):
            raise self._vendor.broke_protocol("its sound is not of the known form") from None
        return sounds

    def _sound(self, told: Mapping[str, Any]) -> Sound:
        # Unlike L16 of RFC 2586, Gemini's has the low byte first.
        found = _RATE.match(told["mimeType"])
        pcm = base64.b64decode(told["data"], validate=True)
        if found is None or len(pcm) % 2:
            raise self._vendor.broke_protocol(f"it sent {told['mimeType']} where whole samples of L16 were due")
        return Sound(pcm, int(found[1]))


def _body(request: SpeechRequest, text: str) -> dict[str, Any]:
    # How to sound is said to these models before the text, in the same breath.
    said = f"{request.instructions.rstrip(' .:')}: {text}" if request.instructions else text
    voice = {"prebuiltVoiceConfig": {"voiceName": request.voice or DEFAULT_VOICE}}
    return {
        "contents": [{"role": "user", "parts": [{"text": said}]}],
        "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": {"voiceConfig": voice}},
        **request.provider_options,
    }
