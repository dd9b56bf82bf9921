"""Live speech with Gemini Live, over whole, broken and refused sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine.api import (
    EngineError,
    InvalidRequest,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TranscriptionRequest,
)
from plugins.audio.providers.google_live import GoogleSessions
from plugins.audio.providers.google_setup import hears_live
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import vendor_http
from tests.emulators.google_hearing import GoogleHearingEmulator, Trouble
from tests.emulators.google_live import Answer, GoogleLiveEmulator
from tests.emulators.reply import Fault, Hold
from tests.emulators.sound import levels_of
from tests.plugins.audio.hearing import RATE, Heard, Microphone
from tests.plugins.vendors.kit import OpenHttp

KEY = "key-test-0123456789"
WORDS = "One two three four five six seven eight nine ten eleven twelve"
SILENCE = levels_of(0, 0, 0, rate=RATE)


def said(*words: int) -> bytes:
    return levels_of(*words, rate=RATE)


SPEECH = said(1, 2, 3) + SILENCE + said(4, 5) + SILENCE + said(6, 7, 8, 9) + SILENCE + said(10, 11, 12)


@pytest.fixture
async def vendor() -> AsyncIterator[GoogleHearingEmulator]:
    async with GoogleHearingEmulator(WORDS) as emulator:
        yield emulator


@asynccontextmanager
async def hearing(
    vendor: GoogleHearingEmulator | GoogleLiveEmulator,
    microphone: Microphone,
    *,
    silence: float = 5.0,
    patience: float = 5.0,
    last_word: float = 0.2,
    **fields: Any,
) -> AsyncIterator[Heard]:
    settings = GoogleSettings.model_validate({"base_url": vendor.base_url, "api_key": KEY})
    request = TranscriptionRequest(**{"model": "gemini-3.5-transcribe-live", **fields})
    google = GoogleVendor("Google", read_google_fault, secret=KEY)
    async with vendor_http() as http:
        sessions = GoogleSessions(
            settings, OpenHttp(http), google, silence=silence, patience=patience, last_word=last_word, pause=0.01
        )
        async with Heard(sessions.listen(request, microphone.audio())) as heard:
            yield heard


def whole(sound: bytes = SPEECH) -> Microphone:
    microphone = Microphone(sound)
    microphone.finish()
    return microphone


async def failure(vendor: GoogleHearingEmulator, **options: Any) -> EngineError:
    async with hearing(vendor, whole(), **options) as heard:
        with pytest.raises(EngineError) as raised:
            await heard.end()
    return raised.value


async def test_speech_is_told_while_it_is_spoken(vendor: GoogleHearingEmulator) -> None:
    microphone = Microphone(said(0, 0, 1, 2))
    async with hearing(vendor, microphone, prompt="Oslo Bergen", language="en-GB") as heard:
        await heard.until("One two", final=False)
        microphone.say(said(3) + SILENCE)
        first = await heard.until("One two three")
        microphone.say(said(4, 5))
        microphone.finish()
        await heard.end()
    assert heard.words == "One two three four five"
    assert first.start == pytest.approx(0.5, abs=0.1)
    assert first.end == pytest.approx(1.25, abs=0.1)
    assert heard.finals[1].start == pytest.approx(2.0, abs=0.1)
    setup = vendor.sessions[0].setup
    assert setup["generationConfig"] == {"responseModalities": ["TEXT"]}
    assert setup["inputAudioTranscription"] == {"languageCodes": ["en-GB"], "customVocabulary": ["Oslo", "Bergen"]}
    assert setup["realtimeInputConfig"]["automaticActivityDetection"] == {"disabled": True}
    await vendor.streaming(0)


@pytest.mark.parametrize(("late", "completes"), [(True, True), (False, False)], ids=["late words", "no ends"])
async def test_words_that_come_out_of_order_are_told_in_their_turn(
    vendor: GoogleHearingEmulator, late: bool, completes: bool
) -> None:
    vendor.late, vendor.completes = late, completes
    async with hearing(vendor, whole()) as heard:
        await heard.end()
    assert [segment.text for segment in heard.finals] == [
        "One two three",
        "four five",
        "six seven eight nine",
        "ten eleven twelve",
    ]


@pytest.mark.parametrize(
    "troubles",
    [
        [Trouble(4, cut=True)],
        [Trouble(0, close=(1011, "Internal error encountered.")), Trouble(20, cut=True)],
        [Trouble(30, close=(1000, "")), None, Trouble(2, cut=True)],
        [Trouble(None, cut=True)],
        [Trouble(18, silent=True), Trouble(0, silent=True)],
    ],
    ids=["in mid word", "before it begins", "with the normal code", "at a turn's end", "silent"],
)
async def test_a_session_that_is_lost_is_followed_by_another_and_no_word_is_lost_or_doubled(
    vendor: GoogleHearingEmulator, troubles: list[Trouble | None]
) -> None:
    vendor.troubles.extend(troubles)
    async with hearing(vendor, whole(), silence=0.3, patience=0.3) as heard:
        await heard.end()
    assert heard.words == WORDS
    assert len(vendor.sessions) > 1


@pytest.mark.parametrize("time_left", ["60s", "0s"], ids=["after the turn", "at once"])
async def test_a_session_at_its_limit_hands_over_to_another(vendor: GoogleHearingEmulator, time_left: str) -> None:
    vendor.troubles.append(Trouble(20, go_away=time_left))
    async with hearing(vendor, whole()) as heard:
        await heard.end()
    assert heard.words == WORDS
    first, second = vendor.sessions
    assert second.heard[0] in ("four", "six")
    assert first.heard[:3] == ["One", "two", "three"]


async def test_sessions_that_end_at_their_limit_are_followed_by_as_many_as_it_takes(
    vendor: GoogleHearingEmulator,
) -> None:
    vendor.troubles.extend([Trouble(5, go_away="0s")] * 8)
    async with hearing(vendor, whole()) as heard:
        await heard.end()
    assert heard.words == WORDS
    assert len(vendor.sessions) == 9


async def test_a_vendor_that_takes_no_more_is_left(vendor: GoogleHearingEmulator) -> None:
    stalled = Hold()
    vendor.troubles.append(Trouble(17, stall=stalled))
    microphone = Microphone(said(1, 2, 3) + SILENCE)
    async with hearing(vendor, microphone, silence=0.5) as heard:
        await heard.until("One two three")
        microphone.say(said(4) + SILENCE + said(5))
        microphone.finish()
        await stalled.reached()
        await vendor.until(lambda: len(vendor.sessions) == 2, "another session")
        stalled.release()
        await heard.end()
    assert heard.words == "One two three four five"


async def test_a_person_may_be_silent_for_longer_than_the_vendor(vendor: GoogleHearingEmulator) -> None:
    microphone = Microphone(said(1) + SILENCE + said(2))
    async with hearing(vendor, microphone, silence=0.1) as heard:
        await heard.until("One")
        with pytest.raises(TimeoutError):
            await heard.until("nothing", timeout=0.3)
        microphone.say(said(3))
        microphone.finish()
        await heard.end()
    assert heard.words == "One two three"
    assert len(vendor.sessions) == 1


async def test_silence_and_nothing_are_heard_as_nothing(vendor: GoogleHearingEmulator) -> None:
    for sound in (b"", SILENCE):
        async with hearing(vendor, whole(sound)) as heard:
            await heard.end()
        assert heard.segments == []


@pytest.mark.parametrize(
    ("close", "kind", "says"),
    [
        ((1007, "API key not valid. Please pass a valid API key."), ProviderRefused, "API key not valid"),
        ((1008, "models/x is not found for API version v1beta"), EngineError, "not found"),
        ((1011, "You exceeded your current quota."), ProviderRateLimited, "quota"),
        ((1007, "Request contains an invalid argument."), InvalidRequest, "code 1007"),
    ],
    ids=["key", "model", "quota", "argument"],
)
async def test_a_close_that_does_not_pass_is_told_with_its_code_and_reason(
    vendor: GoogleHearingEmulator, close: tuple[int, str], kind: type[EngineError], says: str
) -> None:
    vendor.troubles.append(Trouble(0, close=close))
    error = await failure(vendor)
    assert isinstance(error, kind) and says in error.message
    assert str(close[0]) in error.message
    assert len(vendor.sessions) == 1


async def test_a_vendor_that_never_begins_is_given_up(vendor: GoogleHearingEmulator) -> None:
    vendor.troubles.extend([Trouble(0, silent=True)] * 4)
    error = await failure(vendor, patience=0.05)
    assert isinstance(error, ProviderTimeout) and "did not begin" in error.message
    assert len(vendor.sessions) == 4


async def test_a_refused_handshake_is_told(vendor: GoogleHearingEmulator) -> None:
    vendor.script.extend([Fault.because("overloaded")] * 4)
    assert isinstance(await failure(vendor), ProviderUnavailable)
    vendor.script.append(Fault.because("permission"))
    error = await failure(vendor)
    assert isinstance(error, ProviderRefused) and KEY not in error.message


async def test_options_that_google_does_not_know_are_told(vendor: GoogleHearingEmulator) -> None:
    error = await failure(vendor, provider_options={"nonsense": 1})
    assert isinstance(error, InvalidRequest) and "1007" in error.message


async def test_whoever_stops_listening_hangs_up(vendor: GoogleHearingEmulator) -> None:
    async with hearing(vendor, Microphone(said(1) + SILENCE)) as heard:
        await heard.until("One")
    await vendor.streaming(0)


async def test_a_model_for_calls_listens_and_its_answers_are_nobodys() -> None:
    async with GoogleLiveEmulator() as vendor:
        vendor.answers.extend([Answer("I would rather talk"), Answer("and talk")])
        speech = said(1, 2, 3) + SILENCE + said(4, 5)
        async with hearing(vendor, whole(speech), model="gemini-3.8-live") as heard:
            await heard.end()
        (session,) = vendor.sessions
    assert [segment.text for segment in heard.finals] == ["w1 w2 w3", "w4 w5"]
    assert session.setup["generationConfig"]["maxOutputTokens"] == 1
    assert "Never answer" in session.setup["systemInstruction"]["parts"][0]["text"]
    assert session.setup["realtimeInputConfig"]["activityHandling"] == "NO_INTERRUPTION"


def test_models_that_hear_live_are_known_by_their_names() -> None:
    assert all(
        map(hears_live, ("gemini-3.5-transcribe-live", "gemini-3.8-live", "gemini-2.5-flash-native-audio-latest"))
    )
    assert not any(map(hears_live, ("gemini-3.5-transcribe", "gemini-3.5-flash", "gemini-olive")))
