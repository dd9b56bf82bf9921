"""Gemini writes down recordings: what it is asked, what it answers, and how it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from engine.api import (
    EngineError,
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    Segment,
    TranscriptionRequest,
    UnsupportedParameter,
)
from plugins.audio.providers.google import GoogleTranscriber
from plugins.audio.recording import Recorder
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import vendor_http
from tests.emulators.google_hearing import GoogleHearingEmulator, Write
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import SECONDS_A_WORD, levels_of
from tests.plugins.audio.hearing import RATE, Heard, Microphone
from tests.plugins.vendors.kit import OpenHttp

KEY = "key-test-0123456789"
MODEL = "gemini-3.5-transcribe"
CHAT = "gemini-3.5-flash"
WORDS = "One two three four five six"
SILENCE = levels_of(0, 0, 0, rate=RATE)
SPEECH = levels_of(1, 2, 3, rate=RATE) + SILENCE + levels_of(4, 5, 6, rate=RATE) + SILENCE
LINES = ["One two three", "four five six"]


@pytest.fixture
async def vendor() -> AsyncIterator[GoogleHearingEmulator]:
    async with GoogleHearingEmulator(WORDS, key=KEY) as emulator:
        yield emulator


@asynccontextmanager
async def transcriber(vendor: GoogleHearingEmulator, **options: Any) -> AsyncIterator[GoogleTranscriber]:
    settings = GoogleSettings.model_validate({"base_url": vendor.base_url, "api_key": KEY})
    async with vendor_http() as http:
        yield GoogleTranscriber(settings, OpenHttp(http), Recorder(1 << 30), pause=0.01, **options)


async def heard(
    vendor: GoogleHearingEmulator, sound: bytes = SPEECH, *, live: bool = False, **fields: Any
) -> list[Segment]:
    options = {name: fields.pop(name) for name in ("longest_inline", "silence") if name in fields}
    request = TranscriptionRequest(**{"model": MODEL, **fields})
    microphone = Microphone(sound)
    microphone.finish()
    async with transcriber(vendor, **options) as provider:
        provider.check(request)
        listen = provider.live if live else provider.file
        return [segment async for segment in listen(request, microphone.audio())]


async def failure(vendor: GoogleHearingEmulator, **fields: Any) -> EngineError:
    with pytest.raises(EngineError) as raised:
        await heard(vendor, **fields)
    return raised.value


async def test_a_recording_is_written_down_line_by_line(vendor: GoogleHearingEmulator) -> None:
    segments = await heard(vendor, language="en-GB", prompt="Oslo, Bergen by night")
    assert [(segment.text, segment.language) for segment in segments] == [(line, "en-GB") for line in LINES]
    (request,) = vendor.requests
    assert request.path == f"/v1beta/models/{MODEL}:streamGenerateContent"
    assert request.body["generationConfig"] == {
        "audioTranscriptionConfig": {"languageCodes": ["en-GB"], "customVocabulary": ["Oslo", "Bergen by night"]}
    }
    assert len(request.body["contents"][0]["parts"]) == 1


@pytest.mark.parametrize("model", [MODEL, CHAT])
async def test_times_of_words_and_speakers_are_told(vendor: GoogleHearingEmulator, model: str) -> None:
    first, second = await heard(vendor, model=model, words=True, diarize=True)
    assert [first.text, second.text] == LINES
    assert first.speaker is not None and first.speaker != second.speaker
    assert [word.text for word in second.words] == ["four", "five", "six"]
    assert {word.speaker for word in second.words} == {second.speaker}
    expected = [(6 + number) * SECONDS_A_WORD for number in range(3)]
    assert [word.start for word in second.words] == pytest.approx(expected, abs=0.08)
    assert (second.start, second.end) == (second.words[0].start, second.words[-1].end)


async def test_a_model_for_chat_is_asked_in_words(vendor: GoogleHearingEmulator) -> None:
    segments = await heard(vendor, model=CHAT, language="no", prompt="Oslo", translate=True)
    assert [(segment.text, segment.language) for segment in segments] == [(line, "en") for line in LINES]
    (request,) = vendor.requests
    asked = request.body["contents"][0]["parts"][1]["text"]
    assert "in English" in asked and "no." in asked and "Oslo" in asked
    assert "generationConfig" not in request.body


async def test_a_line_is_told_while_gemini_writes_the_next_and_closing_hangs_up(vendor: GoogleHearingEmulator) -> None:
    vendor.writes.append(Write(holds={1: Hold()}))
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with transcriber(vendor) as provider:
        async with aclosing(provider.file(TranscriptionRequest(model=MODEL), microphone.audio())) as segments:  # type: ignore[type-var]
            assert (await anext(segments)).text == "One two three"
        await vendor.hung_up()


async def test_options_of_the_caller_stand_beside_ours(vendor: GoogleHearingEmulator) -> None:
    options = {"generationConfig": {"audioTranscriptionConfig": {"mode": "SMART"}}}
    await heard(vendor, language="en-GB", provider_options=options)
    config = vendor.requests[0].body["generationConfig"]["audioTranscriptionConfig"]
    assert config == {"languageCodes": ["en-GB"], "mode": "SMART"}


async def test_a_long_recording_is_uploaded_and_deleted_when_it_was_read(vendor: GoogleHearingEmulator) -> None:
    vendor.states.extend(["PROCESSING", "PROCESSING", "ACTIVE"])
    segments = await heard(vendor, longest_inline=1_000)
    assert [segment.text for segment in segments] == LINES
    (sound,) = vendor.files.values()
    assert len(sound) == len(SPEECH) + 44
    assert vendor.deleted == ["f0"]
    # The address of an upload is told by the vendor, and not trusted with the key.
    keyed = [(request.path, "x-goog-api-key" in request.headers) for request in vendor.requests]
    assert keyed[:2] == [("/upload/v1beta/files", True), ("/upload/v1beta/files/f0", False)]
    assert all(has_key for _, has_key in keyed[2:])
    part = vendor.requests[-2].body["contents"][0]["parts"][0]
    assert part["fileData"] == {"mimeType": "audio/wav", "fileUri": f"{vendor.base_url}/v1beta/files/f0"}


async def test_an_upload_that_google_cannot_read_is_told_and_deleted(vendor: GoogleHearingEmulator) -> None:
    vendor.states.extend(["PROCESSING", "FAILED"])
    error = await failure(vendor, longest_inline=1_000)
    assert isinstance(error, ProviderError) and "could not read" in error.message
    assert vendor.deleted == ["f0"]


async def test_an_upload_is_deleted_where_the_transcript_fails(vendor: GoogleHearingEmulator) -> None:
    vendor.writes.append(Write(cut=1))
    error = await failure(vendor, longest_inline=1_000)
    assert isinstance(error, ProviderUnavailable)
    assert vendor.deleted == ["f0"]


async def test_an_upload_may_be_refused(vendor: GoogleHearingEmulator) -> None:
    vendor.script.append(Fault.because("rate_limit"))
    assert (await failure(vendor, longest_inline=1_000)).code == "provider_rate_limited"


async def test_nothing_and_silence_are_heard_as_nothing(vendor: GoogleHearingEmulator) -> None:
    assert await heard(vendor, b"") == []
    assert vendor.requests == []
    for model in (MODEL, CHAT):
        for fields in ({}, {"words": True}):
            assert await heard(vendor, SILENCE, model=model, **fields) == []


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (Write(cut=1), "cut off"),
        (Write(finish="MAX_TOKENS"), "stopped writing: MAX_TOKENS"),
        (Write(finish="SAFETY"), "stopped writing: SAFETY"),
    ],
    ids=["cut", "its limit", "its filter"],
)
async def test_a_transcript_that_is_not_whole_is_no_transcript(
    vendor: GoogleHearingEmulator, write: Write, says: str
) -> None:
    vendor.writes.append(write)
    error = await failure(vendor)
    assert isinstance(error, ProviderError) and says in error.message


async def test_times_that_are_no_json_are_told_as_such(vendor: GoogleHearingEmulator) -> None:
    vendor.writes.append(Write(text='[{"text": "One", "start": "soon"}]'))
    error = await failure(vendor, model=CHAT, words=True)
    assert isinstance(error, ProviderError) and "broke its protocol" in error.message


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("invalid_key", "provider_refused"),
        ("rate_limit", "provider_rate_limited"),
        ("model_not_found", "model_not_found"),
        ("overloaded", "provider_unavailable"),
        ("bad_request", "invalid_request"),
    ],
)
async def test_failures_of_google_are_told(vendor: GoogleHearingEmulator, condition: Condition, code: str) -> None:
    vendor.script.append(Fault.because(condition))
    error = await failure(vendor)
    assert error.code == code and KEY not in error.message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"translate": True}, "translate"),
        ({"model": "gemini-3.5-transcribe-live", "words": True}, "words"),
        ({"model": "gemini-3.5-transcribe-live", "diarize": True}, "diarize"),
        ({"prompt": "Oslo", "words": True}, "prompt"),
    ],
)
async def test_what_a_model_cannot_do_is_refused(
    vendor: GoogleHearingEmulator, fields: dict[str, Any], field: str
) -> None:
    error = await failure(vendor, **fields)
    assert isinstance(error, UnsupportedParameter) and error.field == field
    assert vendor.requests == []


async def test_a_model_for_live_speech_takes_no_recording(vendor: GoogleHearingEmulator) -> None:
    error = await failure(vendor, model="gemini-3.5-transcribe-live")
    assert isinstance(error, InvalidRequest) and error.field == "model"


# Live, a stretch at a time


@pytest.mark.parametrize("model", [MODEL, CHAT])
async def test_each_stretch_of_live_speech_is_heard_at_its_end(vendor: GoogleHearingEmulator, model: str) -> None:
    microphone = Microphone(levels_of(1, 2, 3, rate=RATE) + SILENCE)
    async with transcriber(vendor) as provider:
        request = TranscriptionRequest(model=model, words=True)
        async with Heard(provider.live(request, microphone.audio())) as live:
            await live.until("One two three")
            microphone.say(levels_of(4, 5, 6, rate=RATE))
            microphone.finish()
            await live.end()
    first, second = live.segments
    assert [first.text, second.text] == LINES
    assert second.words[0].start == pytest.approx(6 * SECONDS_A_WORD, abs=0.1)
    assert first.end is not None and second.start is not None and first.end <= second.start


async def test_a_stretch_that_fails_is_asked_for_again_and_told_once(vendor: GoogleHearingEmulator) -> None:
    vendor.script.append(Fault.because("overloaded"))
    vendor.writes.append(Write(cut=1))
    segments = await heard(vendor, live=True)
    assert [segment.text for segment in segments] == LINES
    assert len(vendor.requests) == 4


async def test_a_stretch_that_is_never_told_is_given_up(vendor: GoogleHearingEmulator) -> None:
    vendor.writes.extend([Write(holds={0: Hold()})] * 4)
    error = await failure(vendor, live=True, silence=0.1)
    assert isinstance(error, ProviderTimeout)
    assert len(vendor.requests) == 4


async def test_live_silence_is_not_asked_about(vendor: GoogleHearingEmulator) -> None:
    assert await heard(vendor, SILENCE * 40, live=True) == []
    assert vendor.requests == []
