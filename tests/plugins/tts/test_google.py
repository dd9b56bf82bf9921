"""Gemini speaks, emulated: what it is asked, what it answers, and how it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from engine.api import EngineError, ProviderError, ProviderUnavailable, SpeechRequest, UnsupportedParameter
from plugins.tts.providers.google import GoogleVoices
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import vendor_http
from tests.emulators.google import SPEECH_PIECE, SPEECH_RATE, GoogleEmulator
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import Sing, spoken
from tests.plugins.vendors.kit import OpenHttp

MODEL = "gemini-2.5-flash-preview-tts"
ASKED = SpeechRequest(model=MODEL)


@pytest.fixture
async def vendor() -> AsyncIterator[GoogleEmulator]:
    async with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
async def voices(vendor: GoogleEmulator) -> AsyncIterator[GoogleVoices]:
    settings = GoogleSettings.model_validate({"base_url": vendor.base_url, "api_key": "key-test-0123456789"})
    async with vendor_http() as session:
        yield GoogleVoices(settings, OpenHttp(session))


async def test_the_sound_is_what_was_sent_at_its_rate(vendor: GoogleEmulator, voices: GoogleVoices) -> None:
    sounds = [sound async for sound in voices.speak(ASKED, "The boat is green.")]
    assert b"".join(sound.pcm for sound in sounds) == spoken("The boat is green.", SPEECH_RATE)
    assert {sound.rate for sound in sounds} == {SPEECH_RATE}
    (request,) = vendor.requests
    assert request.path == f"/v1beta/models/{MODEL}:streamGenerateContent"
    assert request.body["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
    }


async def test_a_voice_and_how_to_sound_are_told(vendor: GoogleEmulator, voices: GoogleVoices) -> None:
    asked = SpeechRequest(model=MODEL, voice="Puck", instructions="Say it merrily.")
    assert [sound async for sound in voices.speak(asked, "A boat!")]
    body = vendor.requests[0].body
    assert body["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {"voiceName": "Puck"}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Say it merrily: A boat!"}]}]


async def test_sound_comes_while_google_still_speaks_and_closing_hangs_up(
    vendor: GoogleEmulator, voices: GoogleVoices
) -> None:
    vendor.sounds.append(Sing(holds={1: Hold()}))
    async with aclosing(voices.speak(ASKED, "one two three")) as sounds:  # type: ignore[type-var]
        assert (await anext(sounds)).pcm == spoken("one two three", SPEECH_RATE)[:SPEECH_PIECE]
    await vendor.hung_up()


async def test_a_speed_is_refused() -> None:
    async with vendor_http() as session:
        voices = GoogleVoices(GoogleSettings.model_validate({}), OpenHttp(session))
        voices.check(ASKED)
        with pytest.raises(UnsupportedParameter, match="instructions") as refusal:
            voices.check(SpeechRequest(model=MODEL, speed=1.5))
    assert refusal.value.field == "speed"


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("invalid_key", "provider_refused"),
        ("rate_limit", "provider_rate_limited"),
        ("overloaded", "provider_unavailable"),
        ("model_not_found", "model_not_found"),
    ],
)
async def test_what_google_refuses_has_a_code(
    vendor: GoogleEmulator, voices: GoogleVoices, condition: Condition, code: str
) -> None:
    vendor.script.append(Fault.because(condition))
    with pytest.raises(EngineError) as failure:
        [sound async for sound in voices.speak(ASKED, "one")]
    assert failure.value.code == code
    assert "0123456789" not in str(failure.value)


async def test_a_speech_that_is_cut_off_fails_after_what_was_heard(
    vendor: GoogleEmulator, voices: GoogleVoices
) -> None:
    vendor.sounds.append(Sing(cut=2))
    heard: list[bytes] = []

    async def collect() -> None:
        async for sound in voices.speak(ASKED, "one two three"):
            heard.append(sound.pcm)  # noqa: PERF401 (a list made at once would be lost with the failure)

    with pytest.raises(ProviderUnavailable):
        await collect()
    assert spoken("one two three", SPEECH_RATE).startswith(b"".join(heard))
    assert heard


async def test_half_a_sample_breaks_the_protocol(vendor: GoogleEmulator, voices: GoogleVoices) -> None:
    vendor.sounds.append(Sing(pieces=[b"\x01"]))
    with pytest.raises(ProviderError, match="whole samples"):
        [sound async for sound in voices.speak(ASKED, "one")]
