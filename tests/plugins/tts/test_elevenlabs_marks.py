"""ElevenLabs tells when each letter is spoken: its sound is marked with the words that begin in it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.api import Sound, SpeechRequest
from plugins.tts.providers.elevenlabs import RATE, ElevenLabsVoices
from plugins.vendors.settings import ElevenLabsSettings
from plugins.vendors.transport import vendor_http
from tests.emulators.elevenlabs import ElevenLabsEmulator
from tests.emulators.sound import SECONDS_A_WORD, spoken
from tests.plugins.vendors.kit import OpenHttp

TEXT = "The boat is green."
KEY = "el-test-0123456789"


async def sounds(vendor: ElevenLabsEmulator, *texts: str) -> list[Sound]:
    async def given() -> AsyncIterator[str]:
        for text in texts:
            yield text

    settings = ElevenLabsSettings.model_validate({"base_url": vendor.base_url, "api_key": KEY})
    async with vendor_http() as http:
        voices = ElevenLabsVoices(settings, OpenHttp(http))
        return [sound async for sound in voices.speak_stream(SpeechRequest(model="eleven_flash_v2_5"), given())]


async def test_each_word_stands_where_its_sound_begins() -> None:
    async with ElevenLabsEmulator(key=KEY) as vendor:
        told = await sounds(vendor, TEXT)
    assert b"".join(sound.pcm for sound in told) == spoken(TEXT, RATE)
    assert "".join(sound.text for sound in told).split() == TEXT.split()
    begins: dict[str, float] = {}
    at = 0.0
    for sound in told:
        if word := sound.text.strip():
            begins.setdefault(word, at)
        at += sound.seconds
    for number, word in enumerate(TEXT.split()):
        found = next(begin for text, begin in begins.items() if word.startswith(text))
        assert abs(found - number * SECONDS_A_WORD) < 0.01


async def test_the_sentences_of_a_stream_are_marked_alike() -> None:
    async with ElevenLabsEmulator(key=KEY) as vendor:
        told = await sounds(vendor, TEXT, "It has a name.")
    assert "".join(sound.text for sound in told).split() == [*TEXT.split(), "It", "has", "a", "name."]
