"""Conversations with OpenAI's Realtime models, over whole, broken and refused sessions."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from engine.api import (
    EngineError,
    FunctionTool,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    RealtimeAnswer,
    RealtimeAudio,
    RealtimeClear,
    RealtimeCommit,
    RealtimeInput,
    RealtimeInterrupt,
    RealtimePast,
    RealtimeRequest,
    RealtimeText,
    RealtimeToolResult,
    RealtimeUpdate,
    StatusChanged,
    TurnDetection,
    Usage,
)
from engine.testing import RecordingRealtimeStage
from plugins.realtime.providers.openai import OpenAIRealtime
from plugins.vendors.settings import OpenAISettings
from plugins.vendors.transport import vendor_http
from tests.emulators.openai_realtime import PIECE, Answers, OpenAIRealtimeEmulator, Trouble
from tests.emulators.reply import Fault, Hold
from tests.emulators.sound import spoken, tone
from tests.plugins.vendors.kit import OpenHttp

KEY = "key-test-0123456789"
RATE = 24_000
QUIET = bytes(RATE // 50 * 2)
SENTENCE = tone(0.4, RATE)
MANUAL = TurnDetection(type="manual")


class Talk:
    """A conversation that goes on: `say` to it, look at its `stage`."""

    def __init__(self) -> None:
        self.stage = RecordingRealtimeStage()
        self.over: asyncio.Task[None]
        self._inputs: asyncio.Queue[RealtimeInput | None] = asyncio.Queue()

    async def intake(self) -> AsyncIterator[RealtimeInput]:
        while (item := await self._inputs.get()) is not None:
            yield item

    def say(self, *items: RealtimeInput | bytes) -> None:
        for item in items:
            pieces = [item[at : at + 960] for at in range(0, len(item), 960)] if isinstance(item, bytes) else ()
            for each in map(RealtimeAudio, pieces) if isinstance(item, bytes) else (item,):
                self._inputs.put_nowait(each)

    def hang_up(self) -> None:
        self._inputs.put_nowait(None)


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIRealtimeEmulator]:
    async with OpenAIRealtimeEmulator(key=KEY) as emulator:
        yield emulator


@asynccontextmanager
async def talking(
    vendor: OpenAIRealtimeEmulator, *, key: str = KEY, silence: float = 5.0, **fields: Any
) -> AsyncIterator[Talk]:
    talk = Talk()
    settings = OpenAISettings.model_validate({"base_url": vendor.base_url, "api_key": key})
    async with vendor_http() as http:
        provider = OpenAIRealtime(settings, OpenHttp(http), silence=silence, pause=0.01)
        request = RealtimeRequest(model="gpt-realtime", **fields)
        talk.over = asyncio.create_task(provider.converse(request, talk.intake(), talk.stage))
        try:
            yield talk
        finally:
            talk.over.cancel()
            await asyncio.gather(talk.over, return_exceptions=True)


async def failure(talk: Talk) -> EngineError:
    with pytest.raises(EngineError) as raised:
        async with asyncio.timeout(10):
            await talk.over
    return raised.value


def shown(talk: Talk) -> list[StatusChanged]:
    return [event for (event,) in talk.stage.all("show") if isinstance(event, StatusChanged)]


async def test_a_turn_is_heard_and_answered(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.transcripts.append("What time is it?")
    vendor.answers.append(Answers("It is noon."))
    async with talking(vendor, instructions="Be brief.", voice="cedar", language="en-GB") as talk:
        talk.say(SENTENCE, QUIET * 15)
        await talk.stage.until("answered")
        talk.hang_up()
        async with asyncio.timeout(5):
            await talk.over
    stage = talk.stage
    assert stage.names() == ["speech_began", "speech_ended", "heard", "answering", "text", "sound", "answered"]
    assert stage.all("speech_began") == [(0,)]
    assert stage.all("heard")[-1] == ("What time is it?", True)
    assert stage.all("heard")[1] == ("What time ", False)
    assert bytes(stage.pcm) == spoken("It is noon.", RATE)
    assert stage.words.strip() == "It is noon."
    expected = Usage(
        input_tokens=100,
        output_tokens=40,
        cached_tokens=20,
        audio_input_tokens=70,
        audio_output_tokens=30,
        audio_cached_tokens=15,
    )
    assert stage.all("answered") == [(expected, None)]
    settings = vendor.sessions[0].settings
    assert settings["instructions"] == "Be brief." and settings["audio"]["output"]["voice"] == "cedar"
    assert settings["audio"]["input"]["transcription"]["language"] == "en"
    await vendor.streaming(0)


async def test_what_was_said_before_is_told_first(vendor: OpenAIRealtimeEmulator) -> None:
    past = (RealtimePast(role="user", text="I am Ann."), RealtimePast(role="assistant", text="Hello Ann."))
    async with talking(vendor, past=past, modalities=frozenset({"text"})) as talk:
        talk.say(RealtimeText("Who am I?"), RealtimeAnswer("Whisper."))
        await talk.stage.until("answered")
    items = [event["item"]["content"][0] for event in vendor.sessions[0].of("conversation.item.create")]
    assert [item["text"] for item in items] == ["I am Ann.", "Hello Ann.", "Who am I?"]
    assert vendor.sessions[0].of("response.create")[0]["response"] == {"instructions": "Whisper."}
    assert not talk.stage.pcm and talk.stage.words.strip() == "All right."


async def test_the_client_may_say_itself_when_a_turn_is_over(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.transcripts.append("Hello.")
    async with talking(vendor, turn_detection=MANUAL) as talk:
        talk.say(tone(0.2, RATE), RealtimeClear(), SENTENCE, RealtimeCommit())
        await talk.stage.until("answered")
    assert vendor.sessions[0].settings["audio"]["input"]["turn_detection"] is None
    assert vendor.sessions[0].committed == [SENTENCE]
    assert talk.stage.all("heard")[-1] == ("Hello.", True)


async def test_an_interrupted_answer_is_cancelled_and_cut_to_what_was_heard(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.answers.append(Answers("One two three four.", hold=Hold()))
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("sound")
        talk.say(RealtimeInterrupt(60, "One"))
        await talk.stage.until("answered")
        (cut,) = await vendor.told("conversation.item.truncate")
    assert len(vendor.sessions[0].of("response.cancel")) == 1
    assert cut["audio_end_ms"] == 60 and cut["item_id"] in vendor.sessions[0].lengths
    assert len(talk.stage.pcm) == PIECE and not shown(talk)


async def test_speech_that_stops_an_answer_is_no_error(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.answers += [Answers("One two three.", hold=Hold()), Answers("Yes?")]
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("sound")
        talk.say(SENTENCE)
        await talk.stage.until("speech_began")
        talk.say(RealtimeInterrupt(50, ""), QUIET * 15)
        await talk.stage.until("answered", 2)
    assert not shown(talk)
    assert bytes(talk.stage.pcm[PIECE:]) == spoken("Yes?", RATE)


async def test_where_speech_may_not_stop_an_answer_it_is_answered_after_it(vendor: OpenAIRealtimeEmulator) -> None:
    rest = Hold()
    vendor.answers += [Answers("One two three.", hold=rest), Answers("And four.")]
    vendor.transcripts.append("And then?")
    patient = TurnDetection(type="semantic", interrupt=False)
    async with talking(vendor, turn_detection=patient) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("sound")
        talk.say(SENTENCE, QUIET * 15)
        await talk.stage.until("speech_ended")
        rest.release()
        await talk.stage.until("answered", 2)
    detection = vendor.sessions[0].settings["audio"]["input"]["turn_detection"]
    assert detection == {"type": "semantic_vad", "create_response": True, "interrupt_response": False}
    assert bytes(talk.stage.pcm) == spoken("One two three.", RATE) + spoken("And four.", RATE)
    assert vendor.sessions[0].of("response.cancel") == []
    assert not shown(talk)


async def test_tools_are_called_and_their_results_answered_together(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.answers += [Answers(calls=(("now", "{}"), ("where", '{"of": "Ann"}'))), Answers("At noon, at home.")]
    tools = (FunctionTool(name="now"), FunctionTool(name="where", parameters={"type": "object"}))
    async with talking(vendor, tools=tools) as talk:
        talk.say(RealtimeText("When and where?"), RealtimeAnswer())
        await talk.stage.until("answered")
        calls = [call for (call,) in talk.stage.all("tool_call")]
        assert [(call.name, call.arguments) for call in calls] == [("now", "{}"), ("where", '{"of": "Ann"}')]  # type: ignore[attr-defined]
        talk.say(RealtimeToolResult(calls[0].call_id, "noon"))  # type: ignore[attr-defined]
        await vendor.told("conversation.item.create", 2)
        assert len(vendor.sessions[0].of("response.create")) == 1
        talk.say(RealtimeToolResult(calls[1].call_id, "home"))  # type: ignore[attr-defined]
        await talk.stage.until("answered", 2)
    assert talk.stage.words.strip() == "At noon, at home."
    assert not shown(talk)


async def test_a_conversation_goes_on_in_another_way(vendor: OpenAIRealtimeEmulator) -> None:
    async with talking(vendor) as talk:
        talk.say(RealtimeUpdate(RealtimeRequest(model="gpt-realtime", instructions="Sing.")))
        update = (await vendor.told("session.update", 2))[1]
    assert update["session"]["instructions"] == "Sing."
    assert "voice" not in update["session"]["audio"]["output"]


LOSSES = {
    "cut": Trouble("input_audio_buffer.append", 10, cut=True),
    "expired": Trouble(
        "input_audio_buffer.append",
        10,
        error={"code": "session_expired", "message": "Your session hit the maximum duration of 60 minutes."},
    ),
    "closed": Trouble("input_audio_buffer.append", 10, code=1001, reason="Your session hit the maximum duration."),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_lost_session_is_followed_by_another_that_hears_everything(
    vendor: OpenAIRealtimeEmulator, loss: str
) -> None:
    vendor.troubles.append(LOSSES[loss])
    vendor.transcripts.append("Are you there?")
    past = (RealtimePast(role="user", text="I am Ann."),)
    async with talking(vendor, past=past, turn_detection=MANUAL) as talk:
        talk.say(SENTENCE)
        await talk.stage.until("seam")
        talk.say(RealtimeCommit())
        await talk.stage.until("answered")
    assert vendor.sessions[1].committed == [SENTENCE]
    assert vendor.sessions[1].of("conversation.item.create")[0]["item"]["content"][0]["text"] == "I am Ann."
    assert len(talk.stage.all("seam")) == 1
    assert talk.stage.all("heard")[-1] == ("Are you there?", True)
    await vendor.streaming(0)


async def test_a_turn_that_was_over_when_the_session_was_lost_is_answered_in_the_next(
    vendor: OpenAIRealtimeEmulator,
) -> None:
    vendor.troubles.append(Trouble("input_audio_buffer.commit", cut=True))
    async with talking(vendor, turn_detection=MANUAL) as talk:
        talk.say(SENTENCE, RealtimeCommit())
        await talk.stage.until("answered")
    (item,) = vendor.sessions[1].of("conversation.item.create")
    assert item["item"]["content"][0]["type"] == "input_audio"
    assert talk.stage.names() == ["seam", "answering", "text", "sound", "answered"]


async def test_a_turn_that_ended_unseen_by_the_lost_session_is_told_once(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("input_audio_buffer.speech_stopped", cut=True))
    async with talking(vendor) as talk:
        talk.say(SENTENCE, QUIET * 15)
        await talk.stage.until("answered")
        talk.say(SENTENCE, QUIET * 15)
        await talk.stage.until("answered", 2)
    lost, followed = vendor.sessions
    assert "input_audio_buffer.committed" not in lost.said
    (item,) = followed.of("conversation.item.create")
    assert b64decode(item["item"]["content"][0]["audio"]).rstrip(b"\0") == SENTENCE.rstrip(b"\0")
    # In the buffer there is the second sentence alone, with the silence that followed the first.
    assert bytes(followed.audio).strip(b"\0") == SENTENCE.strip(b"\0")
    assert len(followed.of("response.create")) == 1
    # What the second session calls its beginning lies behind the first turn of the recording.
    assert talk.stage.all("speech_began") == [(0,), (700,)]
    assert [name for name in talk.stage.names() if name.startswith("speech")] == ["speech_began", "speech_ended"] * 2


async def test_of_long_speech_a_new_session_hears_the_last_minute(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("input_audio_buffer.append", 70, cut=True))
    seconds = [tone(1.0, RATE, 100 + 10 * n) for n in range(70)]
    async with talking(vendor, turn_detection=MANUAL) as talk:
        for second in seconds:
            talk.say(RealtimeAudio(second))
        await talk.stage.until("seam")
        talk.say(RealtimeCommit())
        await talk.stage.until("answered")
    assert vendor.sessions[1].committed == [b"".join(seconds[10:])]
    assert "10.0 s of speech were too old" in str(talk.stage.all("seam")[0][0])


async def test_an_answer_that_breaks_off_says_so_and_is_given_again(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("input_audio_buffer.append", cut=True))
    vendor.answers += [Answers("One two three.", hold=Hold()), Answers("Once more.")]
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("sound")
        talk.say(QUIET)
        await talk.stage.until("answered", 2)
    error = talk.stage.all("answered")[0][1]
    assert isinstance(error, ProviderUnavailable) and "1006" in error.message
    assert talk.stage.words.strip().endswith("Once more.")


async def test_sessions_that_are_lost_again_and_again_end_the_call(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles += [Trouble("input_audio_buffer.append", code=1011, reason="Internal error.")] * 7
    async with talking(vendor) as talk:
        talk.say(SENTENCE)
        error = await failure(talk)
    assert isinstance(error, ProviderUnavailable)
    assert "1011" in error.message and "Internal error." in error.message
    assert len(vendor.sessions) == 6


async def test_silence_where_an_answer_is_due_is_a_lost_session(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("response.create", silent=True))
    async with talking(vendor, silence=0.3) as talk:
        talk.say(RealtimeText("Hello?"), RealtimeAnswer())
        await talk.stage.until("answered")
    assert "said nothing for 0.3 s" in str(talk.stage.all("seam")[0][0])
    assert vendor.sessions[1].of("conversation.item.create")[0]["item"]["content"][0]["text"] == "Hello?"


async def test_silence_at_the_beginning_is_a_timeout(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("session.update", silent=True))
    async with talking(vendor, silence=0.2) as talk:
        assert isinstance(await failure(talk), ProviderTimeout)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.because("rate_limit", retry_after=7), ProviderRateLimited),
        (Fault.because("overloaded"), ProviderUnavailable),
        (Fault.because("model_not_found"), ProviderError),
    ],
)
async def test_a_refusal_is_told_as_what_it_is(
    vendor: OpenAIRealtimeEmulator, fault: Fault, error: type[EngineError]
) -> None:
    vendor.script.append(fault)
    async with talking(vendor) as talk:
        raised = await failure(talk)
    assert type(raised) is error
    assert raised.retry_after == fault.retry_after


async def test_a_wrong_key_is_refused_and_not_told(vendor: OpenAIRealtimeEmulator) -> None:
    async with talking(vendor, key="key-wrong-9876543210") as talk:
        error = await failure(talk)
    assert isinstance(error, ProviderRefused) and "OPENAI_API_KEY" in error.message
    assert "9876543210" not in repr(error) + error.message


async def test_an_unknown_parameter_at_the_beginning_is_the_callers(vendor: OpenAIRealtimeEmulator) -> None:
    async with talking(vendor, provider_options={"volume": 3}) as talk:
        error = await failure(talk)
    assert error.code == "invalid_request" and "volume" in error.message


async def test_an_error_in_mid_call_is_told_and_the_call_goes_on(vendor: OpenAIRealtimeEmulator) -> None:
    async with talking(vendor, turn_detection=MANUAL) as talk:
        talk.say(QUIET, RealtimeCommit())
        await talk.stage.until("show")
        talk.say(RealtimeText("Hello?"), RealtimeAnswer())
        await talk.stage.until("answered", 2)
    (status,) = shown(talk)
    assert status.stage == "vendor_error" and "input_audio_buffer_commit_empty" in str(status.detail)


async def test_an_answer_that_fails_ends_with_its_error(vendor: OpenAIRealtimeEmulator) -> None:
    error = {"type": "server_error", "code": "server_error", "message": "It broke."}
    vendor.answers.append(Answers(error=error))
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Hello?"), RealtimeAnswer())
        await talk.stage.until("answered")
    assert isinstance(talk.stage.all("answered")[0][1], ProviderUnavailable)


@pytest.mark.parametrize("when", ["session.created", "session.updated"])
@pytest.mark.parametrize(("code", "error"), [(1011, ProviderUnavailable), (1008, ProviderError)])
async def test_a_close_that_comes_before_its_time_is_told_with_code_and_reason(
    vendor: OpenAIRealtimeEmulator, when: str, code: int, error: type[EngineError]
) -> None:
    vendor.troubles += [Trouble(when, code=code, reason="Not now.")] * 6
    async with talking(vendor) as talk:
        raised = await failure(talk)
    assert type(raised) is error and f"code {code}: Not now." in raised.message


async def test_a_close_that_crosses_the_end_of_the_call_is_no_failure(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("response.done", code=1000, reason="Bye."))
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Hello?"), RealtimeAnswer())
        talk.hang_up()
        async with asyncio.timeout(5):
            await talk.over


async def test_sound_that_trickles_is_waited_for(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.answers.append(Answers("One two three four.", pace=0.15))
    async with talking(vendor, silence=0.4) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("answered")
    assert bytes(talk.stage.pcm) == spoken("One two three four.", RATE)
    assert talk.stage.all("seam") == []
    assert len(vendor.sessions) == 1


async def test_a_session_that_reaches_its_limit_in_an_answer_gives_it_again(vendor: OpenAIRealtimeEmulator) -> None:
    limit = {"code": "session_expired", "message": "Your session hit the maximum duration of 60 minutes."}
    vendor.troubles.append(Trouble("response.output_audio.delta", error=limit))
    vendor.answers += [Answers("One two three.", hold=Hold()), Answers("Once more.")]
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Count."), RealtimeAnswer())
        await talk.stage.until("answered", 2)
    error = talk.stage.all("answered")[0][1]
    assert isinstance(error, ProviderUnavailable) and "session_expired" in error.message
    assert talk.stage.words.strip().endswith("Once more.")
    texts = [event["item"]["content"][0]["text"] for event in vendor.sessions[1].of("conversation.item.create")]
    assert texts[0] == "Count."
    await vendor.streaming(0)


async def test_a_close_for_good_is_told_with_code_and_reason(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.troubles.append(Trouble("input_audio_buffer.append", code=1008, reason="Policy."))
    async with talking(vendor) as talk:
        talk.say(QUIET)
        error = await failure(talk)
    assert type(error) is ProviderError and "1008: Policy." in error.message


async def test_cancelling_closes_the_connection(vendor: OpenAIRealtimeEmulator) -> None:
    vendor.answers.append(Answers("One two.", hold=Hold()))
    async with talking(vendor) as talk:
        talk.say(RealtimeText("Hello?"), RealtimeAnswer())
        await talk.stage.until("sound")
        talk.over.cancel()
        await vendor.streaming(0)


async def test_a_bound_of_answers_is_told_and_taken_back(vendor: OpenAIRealtimeEmulator) -> None:
    asked = RealtimeRequest(model="gpt-realtime", max_output_tokens=50)
    async with talking(vendor, max_output_tokens=50) as talk:
        for bound in (5_000, None, None):
            talk.say(RealtimeUpdate(structs.replace(asked, max_output_tokens=bound)))
        updates = await vendor.told("session.update", 4)
    assert [update["session"].get("max_output_tokens") for update in updates] == [50, "inf", "inf", None]
