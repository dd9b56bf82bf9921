"""Live speech at OpenAI, over whole, broken and refused transcription sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from engine.api import (
    EngineError,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    TranscriptionRequest,
)
from plugins.audio.providers.openai_live import NoSessions, Sessions
from plugins.audio.providers.openai_setup import hears_live
from plugins.vendors.settings import OpenAISettings
from plugins.vendors.transport import vendor_http
from tests.emulators.openai_hearing import OpenAIHearingEmulator, Transcribe
from tests.emulators.openai_realtime import Trouble
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import levels_of
from tests.plugins.audio.hearing import RATE, Heard, Microphone
from tests.plugins.vendors.kit import OpenHttp

KEY = "sk-test-0123456789"
WORDS = "One two three four five six seven eight nine ten eleven twelve"
SILENCE = levels_of(0, 0, 0, rate=RATE)
APPEND = "input_audio_buffer.append"


def said(*words: int) -> bytes:
    return levels_of(*words, rate=RATE)


SPEECH = said(1, 2, 3) + SILENCE + said(4, 5) + SILENCE + said(6, 7, 8, 9) + SILENCE + said(10, 11, 12)


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIHearingEmulator]:
    async with OpenAIHearingEmulator(WORDS, key=KEY) as emulator:
        yield emulator


@asynccontextmanager
async def hearing(
    vendor: OpenAIHearingEmulator,
    microphone: Microphone,
    *,
    key: str = KEY,
    silence: float = 5.0,
    patience: float = 5.0,
    **fields: Any,
) -> AsyncIterator[Heard]:
    settings = OpenAISettings.model_validate({"base_url": vendor.base_url, "api_key": key})
    request = TranscriptionRequest(**{"model": "gpt-4o-transcribe", **fields})
    async with vendor_http() as http:
        sessions = Sessions(settings, OpenHttp(http), silence=silence, patience=patience, pause=0.01)
        async with Heard(sessions.listen(request, microphone.audio())) as heard:
            yield heard


async def failure(vendor: OpenAIHearingEmulator, **options: Any) -> EngineError:
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone, **options) as heard:
        with pytest.raises(EngineError) as raised:
            await heard.end()
    return raised.value


async def test_a_stretch_is_told_when_it_is_over_and_the_rest_at_the_end(vendor: OpenAIHearingEmulator) -> None:
    microphone = Microphone(said(0, 0, 1, 2, 3) + SILENCE)
    async with hearing(vendor, microphone, language="en-GB", prompt="Oslo") as heard:
        first = await heard.until("One two three")
        assert vendor.hearings[0].of("input_audio_buffer.commit") == []
        microphone.say(said(4, 5))
        microphone.finish()
        await heard.end()
    assert [segment.text for segment in heard.finals] == ["One two three", "four five"]
    assert [segment.text for segment in heard.segments if not segment.final][:2] == ["One", "One two"]
    assert first.start == pytest.approx(0.5, abs=0.1)
    assert first.end == pytest.approx(1.75, abs=0.1)
    heard_as = vendor.hearings[0].settings["audio"]["input"]
    assert heard_as["transcription"] == {"model": "gpt-4o-transcribe", "language": "en", "prompt": "Oslo"}
    assert heard_as["turn_detection"] == {"type": "server_vad"}
    await vendor.streaming(0)


async def test_transcripts_that_come_out_of_order_are_told_in_order(vendor: OpenAIHearingEmulator) -> None:
    late = Hold()
    vendor.transcribes.append({0: Transcribe(hold=late)})
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone) as heard:
        await late.reached()
        await vendor.until(lambda: len(vendor.hearings[0].items) == 4, "four items")
        assert heard.finals == []
        late.release()
        await heard.end()
    assert [segment.text for segment in heard.finals] == [
        "One two three",
        "four five",
        "six seven eight nine",
        "ten eleven twelve",
    ]
    assert all(before.end <= after.start + 0.1 for before, after in pairwise(heard.finals))  # type: ignore[operator]


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-realtime-whisper"])
async def test_a_model_that_leaves_pauses_to_us_is_told_of_them(vendor: OpenAIHearingEmulator, model: str) -> None:
    microphone = Microphone(said(1, 2))
    async with hearing(vendor, microphone, model=model, prompt="Oslo") as heard:
        await heard.until("One two", final=False)
        microphone.say(SILENCE + said(3, 4))
        await heard.until("One two")
        microphone.finish()
        await heard.end()
    assert heard.words == "One two three four"
    heard_as = vendor.hearings[0].settings["audio"]["input"]
    assert heard_as["turn_detection"] is None
    assert ("prompt" in heard_as["transcription"]) is (model == "gpt-live-transcribe")


@pytest.mark.parametrize("model", ["gpt-4o-mini-transcribe", "gpt-live-transcribe"])
@pytest.mark.parametrize(
    "troubles",
    [
        [Trouble(on=APPEND, nth=4, cut=True)],
        [Trouble(on=APPEND, nth=17, cut=True), Trouble(on=APPEND, nth=1, code=1001, reason="going away")],
        [Trouble(on=APPEND, nth=30, code=1000), None, Trouble(on=APPEND, nth=2, cut=True)],
        [Trouble(on="session.update", cut=True), Trouble(on="input_audio_buffer.commit", cut=True)],
        [Trouble(on="input_audio_buffer.clear", cut=True)],
        [Trouble(on=APPEND, nth=20, error={"code": "session_expired", "message": "Your session hit its limit."})],
        [Trouble(on=APPEND, nth=20, error={"type": "server_error", "message": "The server had an error."})],
    ],
    ids=["in mid word", "twice", "with the normal code", "at both ends", "when all is said", "its limit", "an error"],
)
async def test_a_session_that_is_lost_is_followed_by_another_and_no_word_is_lost_or_doubled(
    vendor: OpenAIHearingEmulator, troubles: list[Trouble | None], model: str
) -> None:
    vendor.troubles.extend(troubles)
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone, model=model) as heard:
        await heard.end()
    assert heard.words == WORDS
    assert len(vendor.hearings) > 1


async def test_a_session_that_is_lost_late_is_not_told_again_what_a_final_covers(vendor: OpenAIHearingEmulator) -> None:
    vendor.troubles.append(Trouble(on=APPEND, nth=17, cut=True))
    microphone = Microphone(said(1, 2, 3) + SILENCE)
    async with hearing(vendor, microphone) as heard:
        await heard.until("One two three")
        microphone.say(said(4, 5))
        await vendor.until(lambda: len(vendor.hearings) == 2, "another session")
        microphone.finish()
        await heard.end()
    assert heard.words == "One two three four five"
    assert vendor.hearings[1].heard == ["four", "five"]
    assert heard.finals[1].start == pytest.approx(1.6, abs=0.25)


async def test_a_transcript_that_fails_is_made_again(vendor: OpenAIHearingEmulator) -> None:
    broken = {"type": "server_error", "code": None, "message": "It broke.", "param": None}
    vendor.transcribes.append({1: Transcribe(error=broken)})
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone) as heard:
        await heard.end()
    assert heard.words == WORDS
    assert "One" not in vendor.hearings[1].heard


async def test_what_was_no_speech_is_passed_over(vendor: OpenAIHearingEmulator) -> None:
    noise = {"type": "transcription_error", "code": "audio_unintelligible", "message": "Noise.", "param": None}
    vendor.transcribes.append({1: Transcribe(error=noise)})
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone) as heard:
        await heard.end()
    assert heard.words == WORDS.replace("four five ", "")
    assert len(vendor.hearings) == 1


async def test_silence_and_nothing_are_heard_as_nothing(vendor: OpenAIHearingEmulator) -> None:
    for sound in (b"", SILENCE):
        microphone = Microphone(sound)
        microphone.finish()
        async with hearing(vendor, microphone) as heard:
            await heard.end()
        assert heard.segments == []
    assert not any(session.of("input_audio_buffer.commit") for session in vendor.hearings)


async def test_silence_after_the_last_stretch_is_not_made_a_stretch_of_its_own(vendor: OpenAIHearingEmulator) -> None:
    microphone = Microphone(said(1, 2) + SILENCE)
    async with hearing(vendor, microphone) as heard:
        await heard.until("One two")
        microphone.say(SILENCE)
        microphone.finish()
        await heard.end()
    (session,) = vendor.hearings
    assert session.of("input_audio_buffer.commit") == []
    assert len(session.items) == 1


async def test_a_close_that_does_not_pass_is_told_with_its_code_and_reason(vendor: OpenAIHearingEmulator) -> None:
    vendor.troubles.append(Trouble(on=APPEND, nth=3, code=4000, reason=f"policy, says {KEY}"))
    error = await failure(vendor)
    assert isinstance(error, ProviderError) and not error.retryable
    assert "4000" in error.message and "policy" in error.message and KEY not in error.message


async def test_a_vendor_that_says_nothing_is_given_up(vendor: OpenAIHearingEmulator) -> None:
    vendor.troubles.extend([Trouble(on="session.update", silent=True)] * 4)
    error = await failure(vendor, silence=0.05)
    assert isinstance(error, ProviderTimeout) and "said nothing" in error.message
    assert len(vendor.hearings) == 4


async def test_a_session_that_falls_silent_is_followed_by_another(vendor: OpenAIHearingEmulator) -> None:
    vendor.troubles.append(Trouble(on="input_audio_buffer.commit", silent=True))
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone, silence=0.3) as heard:
        await heard.end()
    assert heard.words == WORDS


async def test_a_server_that_does_not_tell_the_end_is_not_waited_for_in_vain(vendor: OpenAIHearingEmulator) -> None:
    vendor.says_cleared = False
    microphone = Microphone(SPEECH)
    microphone.finish()
    async with hearing(vendor, microphone, silence=0.2) as heard:
        await heard.end()
    assert heard.words == WORDS
    assert len(vendor.hearings) == 1


async def test_a_vendor_that_takes_no_more_is_heard_all_the_same_and_then_left(vendor: OpenAIHearingEmulator) -> None:
    stalled = Hold()
    vendor.troubles.append(Trouble(on=APPEND, nth=40, stall=stalled))
    vendor.transcribes.append({0: Transcribe(hold=(late := Hold()))})
    microphone = Microphone(said(1, 2, 3) + SILENCE * 4)
    async with hearing(vendor, microphone, patience=1.0) as heard:
        await late.reached()
        # More than the kernel's buffers hold.
        microphone.say(bytes(RATE * 2 * 400))
        await stalled.reached()
        late.release()
        await heard.until("One two three")
        await vendor.until(lambda: len(vendor.hearings) == 2, "another session", timeout=10)
        microphone.say(said(4, 5))
        microphone.finish()
        stalled.release()
        await heard.end()
    assert heard.words == "One two three four five"


@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "gpt-live-transcribe"])
async def test_a_person_may_be_silent_for_longer_than_the_vendor(vendor: OpenAIHearingEmulator, model: str) -> None:
    microphone = Microphone(said(1) + SILENCE)
    async with hearing(vendor, microphone, silence=0.1, model=model) as heard:
        await heard.until("One")
        with pytest.raises(TimeoutError):
            await heard.until("nothing", timeout=0.3)
        microphone.say(said(2))
        microphone.finish()
        await heard.end()
    assert heard.words == "One two"
    assert len(vendor.hearings) == 1


@pytest.mark.parametrize(
    ("condition", "kind"),
    [("invalid_key", ProviderRefused), ("rate_limit", ProviderRateLimited), ("overloaded", ProviderUnavailable)],
)
async def test_a_refused_handshake_is_told(
    vendor: OpenAIHearingEmulator, condition: Condition, kind: type[EngineError]
) -> None:
    vendor.script.extend([Fault.because(condition)] * 4)
    error = await failure(vendor)
    assert isinstance(error, kind) and KEY not in error.message


async def test_an_event_that_is_refused_is_told(vendor: OpenAIHearingEmulator) -> None:
    error = await failure(vendor, provider_options={"audio": {"output": {}}})
    assert error.code == "invalid_request" and "audio" in error.message


async def test_options_of_the_caller_reach_the_session(vendor: OpenAIHearingEmulator) -> None:
    microphone = Microphone(said(1) + SILENCE)
    microphone.finish()
    turns = {"type": "server_vad", "silence_duration_ms": 300}
    options = {"audio": {"input": {"turn_detection": turns, "noise_reduction": {"type": "near_field"}}}}
    async with hearing(vendor, microphone, provider_options=options) as heard:
        await heard.end()
    heard_as = vendor.hearings[0].settings["audio"]["input"]
    assert (heard_as["turn_detection"], heard_as["noise_reduction"]["type"]) == (turns, "near_field")
    assert heard_as["transcription"]["model"] == "gpt-4o-transcribe"


async def test_whoever_stops_listening_hangs_up(vendor: OpenAIHearingEmulator) -> None:
    async with hearing(vendor, Microphone(said(1) + SILENCE)) as heard:
        await heard.until("One")
    await vendor.streaming(0)


async def test_audio_that_is_wrong_is_told_as_such(vendor: OpenAIHearingEmulator) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield said(1)
        raise ProviderError("the microphone broke")

    settings = OpenAISettings.model_validate({"base_url": vendor.base_url, "api_key": KEY})
    async with vendor_http() as http:
        sessions = Sessions(settings, OpenHttp(http))
        async with Heard(sessions.listen(TranscriptionRequest(model="whisper-1"), broken())) as heard:
            with pytest.raises(ProviderError, match="the microphone broke"):
                await heard.end()


async def test_a_server_without_sessions_is_known_before_anything_is_said(vendor: OpenAIHearingEmulator) -> None:
    vendor.knows_sessions = False
    microphone = Microphone(said(1))
    async with hearing(vendor, microphone) as heard:
        with pytest.raises(NoSessions):
            await heard.end()
    assert microphone.taken == 0


def test_snapshots_hear_live_like_their_models() -> None:
    live = [
        "whisper-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-4o-transcribe-diarize",
        "faster-whisper-large-v3",
    ]
    assert [hears_live(model) for model in live] == [True] * 5 + [False] * 2
