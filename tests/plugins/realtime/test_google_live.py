"""Calls with Gemini Live: turns, interruptions, tools, and sessions that end before the call does."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from engine.api import (
    Cost,
    EngineError,
    ErrorBody,
    Event,
    FunctionTool,
    InvalidRequest,
    ModelNotFound,
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
    ToolCall,
    TurnDetection,
    UnsupportedParameter,
    Usage,
    Writer,
)
from plugins.realtime.providers.google import GoogleRealtime
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import vendor_http
from tests.emulators.google_live import FRAME, INPUT_RATE, Answer, GoogleLiveEmulator, sound_of
from tests.emulators.reply import Hold
from tests.plugins.vendors.kit import OpenHttp

KEY = "key-test-0123456789"
MANUAL = TurnDetection(type="manual")
ASK = RealtimeRequest(model="gemini-3.8-live")


class Stage:
    """Records what a provider tells."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.said = ""
        self.sound_bytes = 0
        self.places: list[int | None] = []
        """Where speech began and ended."""
        self._changed = asyncio.Event()

    def _note(self, *what: Any) -> None:
        self.told.append(what)
        self._changed.set()

    @property
    def stream(self) -> Writer:
        raise AssertionError("nobody asks for the stream")

    def speech_began(self, at: int | None = None) -> None:
        self.places.append(at)
        self._note("began")

    def speech_ended(self, at: int | None = None) -> None:
        self.places.append(at)
        self._note("ended")

    def heard(self, text: str, *, final: bool) -> None:
        self._note("heard" if final else "partial", text)

    def answering(self) -> None:
        self.said, self.sound_bytes = "", 0
        self._note("answering")

    def text(self, text: str) -> None:
        self.said += text
        self._note("text", text)

    def sound(self, pcm: bytes, rate: int, text: str = "") -> None:
        assert rate == 24_000
        self.sound_bytes += len(pcm)
        self._note("sound", len(pcm))

    async def room(self) -> None:
        return

    def tool_call(self, call: ToolCall) -> None:
        self._note("call", call)

    def tool_cancelled(self, call_id: str) -> None:
        self._note("cancelled", call_id)

    def show(self, event: Event) -> None:
        self._note("show", event)

    def answered(
        self,
        *,
        usage: Usage | None = None,
        cost: Cost | None = None,
        conversation: str | None = None,
        message: str | None = None,
        stream: str | None = None,
        error: EngineError | ErrorBody | None = None,
    ) -> None:
        self._note("answered", self.said, usage, error)

    def seam(self, detail: str) -> None:
        self._note("seam", detail)

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [each[1:] for each in self.told if each[0] == kind]

    @property
    def answers(self) -> list[str]:
        return [each[0] for each in self.of("answered")]

    async def until(self, reached: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(5):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it did not happen; told: {self.told}") from None


class Talk:
    """A conversation that runs, and what it is told."""

    def __init__(self) -> None:
        self.stage = Stage()
        self._queue: asyncio.Queue[RealtimeInput | None] = asyncio.Queue()
        self.running: asyncio.Task[None]

    def tell(self, *items: RealtimeInput) -> None:
        for item in items:
            self._queue.put_nowait(item)

    def say(self, *levels: int) -> None:
        """Speak words, in pieces of 20 ms."""
        pcm = sound_of(*levels, rate=INPUT_RATE)
        self.tell(*(RealtimeAudio(pcm[at : at + FRAME]) for at in range(0, len(pcm), FRAME)))

    def speak(self, *words: int) -> None:
        """Words and the silence after them, long enough for a turn."""
        self.say(*words, 0, 0, 0, 0)

    def finish(self) -> None:
        self._queue.put_nowait(None)

    async def taken(self) -> None:
        """Return once all that was told is dealt with."""
        async with asyncio.timeout(5):
            await self._queue.join()

    async def intake(self) -> AsyncIterator[RealtimeInput]:
        while (item := await self._queue.get()) is not None:
            yield item
            # Whoever asks for the next has done what this one asks for.
            self._queue.task_done()


@pytest.fixture
async def vendor() -> AsyncIterator[GoogleLiveEmulator]:
    async with GoogleLiveEmulator(key=KEY) as emulator:
        yield emulator


@pytest.fixture
async def http() -> AsyncIterator[OpenHttp]:
    async with vendor_http() as session:
        yield OpenHttp(session)


def provider_of(
    vendor: GoogleLiveEmulator, http: OpenHttp, key: str = KEY, patience: float = 5.0, silence: float = 5.0
) -> GoogleRealtime:
    settings = GoogleSettings.model_validate({"base_url": vendor.base_url, "api_key": key})
    return GoogleRealtime(settings, http, patience=patience, silence=silence)


@asynccontextmanager
async def talking(
    vendor: GoogleLiveEmulator, http: OpenHttp, request: RealtimeRequest = ASK, **options: Any
) -> AsyncIterator[Talk]:
    talk = Talk()
    talk.running = asyncio.create_task(
        provider_of(vendor, http, **options).converse(request, talk.intake(), talk.stage)
    )
    try:
        yield talk
    finally:
        talk.running.cancel()
        await asyncio.gather(talk.running, return_exceptions=True)


async def test_speech_is_heard_and_answered(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers.append(Answer("good day to you"))
    async with talking(vendor, http) as talk:
        talk.speak(1, 2, 3)
        await talk.stage.until(lambda: bool(talk.stage.answers))
    stage = talk.stage
    kinds = [each[0] for each in stage.told]
    assert stage.of("partial")[-1] == ("w1 w2 w3",)
    assert stage.of("heard") == [("w1 w2 w3",)]
    assert kinds.index("began") < kinds.index("ended") < kinds.index("heard") < kinds.index("answering")
    assert stage.sound_bytes == 4 * 2 * 24_000 // 4
    text, usage, error = stage.of("answered")[0]
    assert (text, error) == ("good day to you", None)
    assert usage == Usage(
        input_tokens=120,
        output_tokens=65,
        cached_tokens=40,
        reasoning_tokens=5,
        audio_input_tokens=100,
        audio_output_tokens=60,
        audio_cached_tokens=30,
    )


async def test_a_call_that_is_finished_hears_its_last_answer_out(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http) as talk:
        talk.say(1, 2)
        talk.finish()
        await asyncio.wait_for(talk.running, 5)
    assert talk.stage.of("heard") == [("w1 w2",)]
    assert talk.stage.answers == ["yes of course"]
    await vendor.streaming(0)


async def test_speech_interrupts_the_answer(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    never = Hold()
    vendor.answers += [Answer("one two three", holds={1: never}), Answer("all right")]
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: talk.stage.said == "one")
        talk.speak(2)
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.answers == ["one", "all right"]
    assert talk.stage.of("heard") == [("w1",), ("w2",)]
    assert len(talk.stage.of("began")) == 2


async def test_an_answer_that_is_stopped_is_told_no_more(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    rest = Hold()
    vendor.answers.append(Answer("one two three", holds={1: rest}))
    vendor.resumable = False
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: talk.stage.said == "one")
        talk.tell(RealtimeInterrupt(heard=100, text="on"), RealtimeText("and now"))
        # The text is kept for its answer; that a later update takes a new session shows that both were read.
        talk.tell(RealtimeUpdate(structs.replace(ASK, voice="Kore")))
        await talk.taken()
        rest.release()
        await vendor.until(lambda: len(vendor.sessions) == 2 and len(vendor.sessions[1].history) == 3, "a new session")
    assert talk.stage.said == "one"
    assert vendor.sessions[1].history == ["w1", "and now", "on"]


async def test_the_client_says_when_the_person_speaks(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http, structs.replace(ASK, turn_detection=MANUAL)) as talk:
        talk.speak(1, 2)
        talk.tell(RealtimeCommit(), RealtimeAnswer())
        await talk.stage.until(lambda: bool(talk.stage.answers))
        assert talk.stage.places == [0, 1_200]
    told = [next(iter(each["realtimeInput"])) for each in vendor.sessions[0].told if "realtimeInput" in each]
    assert told[0] == "activityStart"
    assert told[-1] == "activityEnd"
    assert told.count("activityStart") == told.count("activityEnd") == 1
    assert talk.stage.answers == ["yes of course"]


async def test_what_is_cleared_is_not_answered(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http, structs.replace(ASK, turn_detection=MANUAL)) as talk:
        talk.say(1)
        await vendor.until(lambda: bool(vendor.sessions) and vendor.sessions[0].heard == ["w1"], "the word")
        talk.tell(RealtimeClear())
        talk.say(2)
        talk.tell(RealtimeCommit())
        await talk.stage.until(lambda: bool(talk.stage.answers))
    assert [session.heard for session in vendor.sessions] == [["w1"], ["w2"]]


@pytest.mark.parametrize("model", ["gemini-3.8-live", "gemini-2.5-flash-native-audio-preview-12-2025"])
async def test_writing_is_answered_when_it_is_asked_for(vendor: GoogleLiveEmulator, http: OpenHttp, model: str) -> None:
    async with talking(vendor, http, structs.replace(ASK, model=model)) as talk:
        talk.tell(RealtimeText("what is this"), RealtimeAnswer())
        await talk.stage.until(lambda: bool(talk.stage.answers))
    last = vendor.sessions[0].told[-1]
    if model.startswith("gemini-3"):
        assert last == {"realtimeInput": {"text": "what is this"}}
    else:
        turns = [{"role": "user", "parts": [{"text": "what is this"}]}]
        assert last == {"clientContent": {"turns": turns, "turnComplete": True}}


async def test_a_tool_is_called_and_answered(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    request = structs.replace(ASK, tools=[FunctionTool(name="weather", description="It", parameters=schema)])
    vendor.answers.append(Answer("it rains", calls=[{"id": "c1", "name": "weather", "args": {"city": "Bonn"}}]))
    async with talking(vendor, http, request) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.of("call")))
        talk.tell(RealtimeToolResult("c1", "rain"), RealtimeToolResult("unknown", "late"))
        await talk.stage.until(lambda: bool(talk.stage.answers))
    (call,) = talk.stage.of("call")[0]
    assert (call.call_id, call.name, call.arguments) == ("c1", "weather", '{"city":"Bonn"}')
    responses = [each["toolResponse"] for each in vendor.sessions[0].told if "toolResponse" in each]
    assert responses == [{"functionResponses": [{"id": "c1", "name": "weather", "response": {"output": "rain"}}]}]
    assert talk.stage.answers == ["it rains"]


async def test_a_tool_that_speech_calls_off_is_told_and_its_late_answer_is_not(
    vendor: GoogleLiveEmulator, http: OpenHttp
) -> None:
    calls = [{"id": "c1", "name": "weather", "args": {}}, {"id": "c2", "name": "time", "args": {}}]
    vendor.answers += [Answer("never", calls=calls), Answer("all right")]
    request = structs.replace(ASK, tools=[FunctionTool(name="weather"), FunctionTool(name="time")])
    async with talking(vendor, http, request) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: len(talk.stage.of("call")) == 2)
        talk.tell(RealtimeToolResult("c2", "noon"))
        await vendor.until(lambda: any("toolResponse" in each for each in vendor.sessions[0].told), "a result")
        talk.speak(2)
        await talk.stage.until(lambda: bool(talk.stage.of("cancelled")))
        talk.tell(RealtimeToolResult("c1", "rain"))
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.of("cancelled") == [("c1",)]
    assert talk.stage.answers == ["", "all right"]
    responses = [
        each["toolResponse"]["functionResponses"] for each in vendor.sessions[0].told if "toolResponse" in each
    ]
    assert [[each["id"] for each in response] for response in responses] == [["c2"]]


async def test_a_tool_that_waits_when_the_session_is_lost_is_called_off(
    vendor: GoogleLiveEmulator, http: OpenHttp
) -> None:
    vendor.answers += [Answer("never", calls=[{"id": "c1", "name": "weather", "args": {}}]), Answer("again")]
    async with talking(vendor, http, structs.replace(ASK, tools=[FunctionTool(name="weather")])) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.of("call")))
        await vendor.sessions[0].drop()
        await talk.stage.until(lambda: bool(talk.stage.of("seam")))
    assert talk.stage.of("cancelled") == [("c1",)]


async def test_a_tool_may_answer_after_the_turn_that_called_it(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    calls = [{"id": "c1", "name": "weather", "args": {}}]
    vendor.answers += [Answer("let me see", calls=calls, blocking=False), Answer("it rains")]
    async with talking(vendor, http, structs.replace(ASK, tools=[FunctionTool(name="weather")])) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.answers))
        talk.tell(RealtimeToolResult("c1", "rain"))
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.answers == ["let me see", "it rains"]
    assert talk.stage.of("cancelled") == []


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            TurnDetection(type="semantic", silence_duration_ms=700, threshold=0.9),
            {
                "automaticActivityDetection": {
                    "prefixPaddingMs": 300,
                    "silenceDurationMs": 700,
                    "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
                    "endOfSpeechSensitivity": "END_SENSITIVITY_LOW",
                }
            },
        ),
        (MANUAL, {"automaticActivityDetection": {"disabled": True}}),
        (
            TurnDetection(interrupt=False),
            {
                "automaticActivityDetection": {
                    "prefixPaddingMs": 300,
                    "silenceDurationMs": 500,
                    "startOfSpeechSensitivity": "START_SENSITIVITY_HIGH",
                },
                "activityHandling": "NO_INTERRUPTION",
            },
        ),
    ],
    ids=["semantic", "manual", "no interruption"],
)
async def test_how_turns_are_found_is_told_to_gemini(
    vendor: GoogleLiveEmulator, http: OpenHttp, wanted: TurnDetection, told: dict[str, Any]
) -> None:
    async with talking(vendor, http, structs.replace(ASK, turn_detection=wanted)):
        await vendor.until(lambda: bool(vendor.sessions), "a session")
    assert vendor.sessions[0].activity == told


async def test_where_speech_may_not_stop_an_answer_it_is_answered_after_it(
    vendor: GoogleLiveEmulator, http: OpenHttp
) -> None:
    rest = Hold()
    vendor.answers += [Answer("one two three", holds={1: rest}), Answer("and four")]
    patient = TurnDetection(interrupt=False)
    async with talking(vendor, http, structs.replace(ASK, turn_detection=patient)) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: talk.stage.said == "one")
        talk.speak(2)
        await talk.stage.until(lambda: ("w2",) in talk.stage.of("partial"))
        rest.release()
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.answers == ["one two three", "and four"]
    assert talk.stage.of("heard") == [("w1",), ("w2",)]


async def test_of_long_speech_a_new_session_hears_the_last_minute(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http, structs.replace(ASK, turn_detection=MANUAL)) as talk:
        for level in range(1, 71):
            # Two levels in turn for each stretch of ten seconds, so that its words are not one word.
            tenth = sound_of(2 * (level // 10) + level % 2 + 1, seconds=0.1, rate=INPUT_RATE)
            talk.tell(*[RealtimeAudio(tenth)] * 10)
        await talk.taken()
        await vendor.until(lambda: len(vendor.sessions[0].heard) == 70, "seventy words")
        await vendor.sessions[0].drop()
        await vendor.until(lambda: len(vendor.sessions) == 2 and len(vendor.sessions[1].heard) == 60, "sixty words")
        talk.tell(RealtimeCommit())
        await talk.stage.until(lambda: bool(talk.stage.answers))
    assert vendor.sessions[1].heard == vendor.sessions[0].heard[10:]
    assert vendor.sessions[1].told[1] == {"realtimeInput": {"activityStart": {}}}
    assert re.search(r"\b10\.\d s of speech were too old", talk.stage.of("seam")[0][0])


async def test_of_long_silence_a_new_session_hears_little(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http) as talk:
        for _ in range(40):
            talk.tell(RealtimeAudio(bytes(48_000)))
        await talk.taken()
        await vendor.sessions[0].drop()
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.answers))
    sounds = [each["realtimeInput"]["audio"]["data"] for each in vendor.sessions[1].told if "realtimeInput" in each]
    seconds = sum(len(base64.b64decode(sound)) for sound in sounds) / 32_000
    # Ten seconds of it in pieces of one, and what was spoken since.
    assert 9 <= seconds <= 11.5
    assert talk.stage.of("heard") == [("w1",)]
    assert "too old" not in talk.stage.of("seam")[0][0]


async def test_a_word_that_is_due_and_does_not_come_is_a_lost_session(
    vendor: GoogleLiveEmulator, http: OpenHttp
) -> None:
    vendor.answers += [Answer("never", holds={0: Hold()}), Answer("here I am")]
    async with talking(vendor, http, structs.replace(ASK, turn_detection=MANUAL), silence=0.2) as talk:
        talk.say(1)
        talk.tell(RealtimeCommit())
        await talk.stage.until(lambda: bool(talk.stage.answers))
    assert talk.stage.answers == ["here I am"]
    assert "said nothing for 0.2 s" in talk.stage.of("seam")[0][0]
    assert [session.heard for session in vendor.sessions] == [["w1"], ["w1"]]


async def test_nobody_has_to_say_anything_where_nothing_was_asked(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    calls = [{"id": "c1", "name": "weather", "args": {}}]
    vendor.answers += [Answer("it rains", calls=calls)]
    request = structs.replace(ASK, tools=[FunctionTool(name="weather")])
    async with talking(vendor, http, request, silence=0.3) as talk:
        await vendor.until(lambda: bool(vendor.sessions), "a session")
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.of("call")))
        # The tool takes longer than the model may.
        await asyncio.wait({talk.running}, timeout=0.6)
        talk.tell(RealtimeToolResult("c1", "rain"))
        await talk.stage.until(lambda: bool(talk.stage.answers))
    assert talk.stage.answers == ["it rains"]
    assert talk.stage.of("seam") == []


INTERPRET = RealtimeRequest(model="gemini-3.5-live-translate-preview", translate_to="it")


async def test_an_interpreter_speaks_along_until_both_pause(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http, structs.replace(INTERPRET, tools=[FunctionTool(name="weather")])) as talk:
        talk.say(1, 2)
        await talk.stage.until(lambda: talk.stage.said.strip() == "it1 it2")
        talk.say(3)
        talk.tell(RealtimeText("hello"), RealtimeAnswer())
        await talk.stage.until(lambda: bool(talk.stage.answers))
        talk.say(4)
        talk.finish()
        await asyncio.wait_for(talk.running, 10)
    assert [answer.strip() for answer in talk.stage.answers] == ["it1 it2 it3", "it4"]
    assert talk.stage.of("heard") == [("w1 w2 w3",), ("w4",)]
    assert [event.stage for (event,) in talk.stage.of("show")] == ["not_taken"]
    kinds = [each[0] for each in talk.stage.told if each[0] in ("began", "answering", "ended", "answered")]
    assert kinds == ["began", "answering", "ended", "answered"] * 2
    assert vendor.sessions[0].setup == {
        "model": "models/gemini-3.5-live-translate-preview",
        "generationConfig": {"responseModalities": ["AUDIO"], "translationConfig": {"targetLanguageCode": "it"}},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
    }


async def test_an_interpreter_whose_session_is_lost_goes_on_in_another(
    vendor: GoogleLiveEmulator, http: OpenHttp
) -> None:
    async with talking(vendor, http, INTERPRET) as talk:
        talk.say(1)
        await talk.stage.until(lambda: talk.stage.said.strip() == "it1")
        await vendor.sessions[0].drop()
        await talk.stage.until(lambda: bool(talk.stage.of("seam")))
        talk.say(2)
        await talk.stage.until(lambda: talk.stage.said.strip().endswith("it2"))
    assert isinstance(talk.stage.of("answered")[0][2], ProviderUnavailable)
    assert vendor.sessions[1].heard[-1] == "w2"


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"translate_to": None}, InvalidRequest, "translate_to"),
        ({"instructions": "Be brief."}, UnsupportedParameter, "instructions"),
        ({"voice": "Kore"}, UnsupportedParameter, "voice"),
        ({"turn_detection": MANUAL}, UnsupportedParameter, "turn_detection"),
    ],
)
async def test_what_an_interpreter_cannot_do_is_said(
    vendor: GoogleLiveEmulator, http: OpenHttp, changes: dict[str, Any], error: type[EngineError], field: str
) -> None:
    with pytest.raises(error) as raised:
        provider_of(vendor, http).check(structs.replace(INTERPRET, **changes))
    assert raised.value.field == field


async def test_the_past_and_the_wishes_are_told(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    past = [RealtimePast(role="system", text="Be kind."), RealtimePast(role="user", text="Hello")]
    request = structs.replace(ASK, past=past, voice="Kore", translate_to="it", provider_options={"proactivity": {}})
    async with talking(vendor, http, request) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.answers))
    session = vendor.sessions[0]
    assert session.history == ["Hello"]
    system = [part["text"] for part in session.setup["systemInstruction"]["parts"]]
    assert system[0] == "Be kind."
    assert "interpreter" in system[1]
    assert session.setup["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {
        "voiceName": "Kore"
    }
    assert session.setup["proactivity"] == {}


async def test_a_session_is_left_before_its_limit(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers += [Answer("first answer", go_away="50s"), Answer("second")]
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.of("seam")))
        talk.speak(2)
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.answers == ["first answer", "second"]
    assert [session.handle for session in vendor.sessions] == [None, "handle-1"]
    assert talk.stage.of("heard") == [("w1",), ("w2",)]


async def test_an_answer_that_outlasts_the_limit_breaks_off(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers += [Answer("one two", holds={1: Hold()}, go_away="1.6s"), Answer("second")]
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.of("seam")))
        talk.speak(2)
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert isinstance(talk.stage.of("answered")[0][2], ProviderUnavailable)
    assert vendor.sessions[1].history == ["w1", "one"]


async def test_sound_of_a_lost_session_is_heard_in_the_next(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers += [Answer(close=(1011, "Internal error encountered.")), Answer("heard you")]
    async with talking(vendor, http) as talk:
        talk.speak(1, 2)
        await talk.stage.until(lambda: bool(talk.stage.answers))
    assert [session.heard for session in vendor.sessions] == [["w1", "w2"], ["w1", "w2"]]
    assert talk.stage.of("heard") == [("w1 w2",)]
    assert "1011" in talk.stage.of("seam")[0][0]


async def test_a_connection_that_is_cut_in_mid_word(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers += [Answer("one two three", cut=2), Answer("again")]
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.answers))
        talk.speak(2)
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert talk.stage.answers == ["one two", "again"]
    assert isinstance(talk.stage.of("answered")[0][2], ProviderUnavailable)
    assert vendor.sessions[1].history == ["w1", "one two"]


async def test_a_handle_that_is_refused_is_done_without(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers += [Answer("first"), Answer(close=(1001, "Going away.")), Answer("second")]
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: bool(talk.stage.answers))
        vendor.refuses_handles = True
        talk.speak(2)
        await talk.stage.until(lambda: len(talk.stage.answers) == 2)
    assert [session.handle for session in vendor.sessions] == [None, "handle-1", None]
    assert vendor.sessions[2].history == ["w1", "first"]


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        ((1007, "API key not valid. Please pass a valid API key."), ProviderRefused),
        ((1008, "models/x is not found for API version v1beta, or is not supported."), ModelNotFound),
        ((1011, "You exceeded your current quota, please check your plan."), ProviderRateLimited),
        ((1011, "Internal error encountered."), ProviderUnavailable),
    ],
)
async def test_a_session_that_is_refused(
    vendor: GoogleLiveEmulator, http: OpenHttp, refusal: tuple[int, str], error: type[EngineError]
) -> None:
    vendor.refusal = refusal
    async with talking(vendor, http) as talk:
        with pytest.raises(error) as raised:
            await asyncio.wait_for(talk.running, 5)
    assert str(refusal[0]) in raised.value.message
    assert len(vendor.sessions) == 1


async def test_a_wrong_key_is_refused_and_not_told(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with talking(vendor, http, key="key-wrong-9876543210") as talk:
        with pytest.raises(ProviderError) as raised:
            await asyncio.wait_for(talk.running, 5)
    assert "9876543210" not in raised.value.message


async def test_a_session_that_does_not_begin(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.silent = True
    async with talking(vendor, http, patience=0.1) as talk:
        with pytest.raises(ProviderTimeout, match="did not begin"):
            await asyncio.wait_for(talk.running, 5)


async def test_nobody_listens_at_the_address(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    async with vendor.refusing(), talking(vendor, http) as talk:
        with pytest.raises(ProviderUnavailable, match="could not be reached"):
            await asyncio.wait_for(talk.running, 5)


async def test_cancelling_closes_the_connection(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    vendor.answers.append(Answer("one two", holds={1: Hold()}))
    async with talking(vendor, http) as talk:
        talk.speak(1)
        await talk.stage.until(lambda: talk.stage.said == "one")
        talk.running.cancel()
    await vendor.streaming(0)


async def test_what_gemini_cannot_do_is_said(vendor: GoogleLiveEmulator, http: OpenHttp) -> None:
    with pytest.raises(UnsupportedParameter, match="turn_detection manual"):
        provider_of(vendor, http).check(structs.replace(ASK, turn_detection=TurnDetection(answer=False)))
