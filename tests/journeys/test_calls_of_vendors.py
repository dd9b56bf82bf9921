"""Calls with models that hear and speak themselves: over the socket and in OpenAI's dialect, kept like any conversation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.google_live import Answer, GoogleLiveEmulator, sound_of
from tests.emulators.openai_realtime import Answers, OpenAIRealtimeEmulator, Trouble
from tests.emulators.reply import Fault
from tests.emulators.sound import tone
from tests.journeys.caller import Caller
from tests.journeys.client import Socket, connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE = 24_000
SENTENCE = tone(0.4, RATE)
SILENCE = bytes(RATE * 2)
WORD = sound_of(1, seconds=0.25)
"""What the emulator of Google hears as a word."""

ANSWER = "the boat is green and it lies in the harbour of the town"


class Vendors:
    """The server, and who stands behind it."""

    def __init__(self, engine: Engine, openai: OpenAIRealtimeEmulator, google: GoogleLiveEmulator) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.openai = openai
        self.google = google

    async def kept(self, conversation: str) -> list[tuple[str, str, str]]:
        """Role, text and status of the messages of a conversation."""
        async with (
            aiohttp.ClientSession(self.url) as http,
            http.get(f"/api/v1/conversations/{conversation}/messages") as answer,
        ):
            return [(each["role"], each["text"], each["status"]) for each in (await answer.json())["messages"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vendors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vendors]:
    async with OpenAIRealtimeEmulator() as openai, GoogleLiveEmulator() as google:
        settings = {
            "plugins.enabled": ["chat", "realtime", "openai_api"],
            "vendors.openai.base_url": openai.base_url,
            "vendors.openai.api_key": "sk-test-0123456789",
            "vendors.google.base_url": google.base_url,
            "vendors.google.api_key": "g-test-0123456789",
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings) as engine:
            yield Vendors(engine, openai, google)


async def begin(socket: Socket, model: str, **fields: Any) -> Caller:
    accepted = await socket.ask("realtime.start", model=model, sample_rate=RATE, **fields)
    assert accepted["type"] == "accepted", accepted
    return Caller(socket, accepted)


async def test_openai_hears_and_answers_and_the_turn_is_kept(vendors: Vendors) -> None:
    vendors.openai.transcripts.append("Where is the boat?")
    vendors.openai.answers.append(Answers("In the harbour."))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime")
        await caller.speak(SENTENCE + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        saved = await caller.until("message.saved")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"].strip()) == ("completed", "In the harbour.")
    assert ended["usage"]["output_tokens"] > 0
    assert end["usage"]["output_tokens"] == ended["usage"]["output_tokens"]
    assert abs(len(caller.heard.sound) - ended["heard"] * RATE * 2 // 1000) <= RATE // 50
    assert await vendors.kept(saved["conversation"]) == [
        ("user", "Where is the boat?", "completed"),
        ("assistant", ended["text"], "completed"),
    ]


async def test_a_turn_that_openai_cannot_write_is_answered_all_the_same(vendors: Vendors) -> None:
    vendors.openai.unintelligible = 1
    vendors.openai.answers.append(Answers("In the harbour."))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime", store=False)
        await caller.speak(SENTENCE + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"].strip()) == ("completed", "In the harbour.")
    failed, wordless = caller.told("status")
    assert (failed["stage"], wordless["stage"]) == ("hearing_failed", "no_words")
    assert "It was not understood." in failed["detail"]
    assert caller.told("transcript.final") == []


async def test_openai_is_interrupted_and_only_what_was_heard_is_kept(vendors: Vendors) -> None:
    vendors.openai.transcripts.extend(["Where is the boat?", "Stop."])
    vendors.openai.answers.extend([Answers(ANSWER), Answers("I stop.")])
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime")
        await caller.speak(SENTENCE + SILENCE)
        await caller.until("turn.assistant_started")
        await caller.speak(SENTENCE + SILENCE)
        await caller.until("playback.clear")
        cut = await caller.until("turn.assistant_ended", status="cancelled")
        await caller.until("turn.assistant_ended", status="completed")
        (truncated,) = await vendors.openai.told("conversation.item.truncate")
        await caller.do("finish")
        await socket.end_of(caller.stream)
        saved = caller.told("message.saved")[-1]
    assert ANSWER.startswith(cut["text"])
    assert truncated["audio_end_ms"] == cut["heard"]
    kept = await vendors.kept(saved["conversation"])
    assert ("assistant", cut["text"], "cancelled") in kept or not cut["text"]
    assert kept[-1][1].strip() == "I stop."


async def test_a_lost_session_of_openai_is_followed_by_another(vendors: Vendors) -> None:
    vendors.openai.transcripts.append("Where is the boat?")
    vendors.openai.answers.append(Answers("In the harbour."))
    vendors.openai.troubles.append(Trouble(on="input_audio_buffer.append", nth=5, cut=True))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime", store=False)
        await caller.speak(SENTENCE + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    assert caller.told("status", stage="reconnected")
    assert (ended["status"], end["status"]) == ("completed", "completed")


async def test_openais_client_reaches_openai_through_this_server(vendors: Vendors) -> None:
    vendors.openai.answers.append(Answers("In the harbour."))
    async with (
        openai.AsyncOpenAI(base_url=f"{vendors.url}/v1", api_key="none") as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        while (event := json.loads(await connection.recv_bytes()))["type"] != "response.done":
            assert event["type"] != "error", event
        message = event["response"]["output"][0]
        await connection.conversation.item.delete(item_id=message["id"])
        refused = json.loads(await connection.recv_bytes())
    assert message["content"][0]["transcript"].strip() == "In the harbour."
    assert (refused["type"], refused["error"]["code"]) == ("error", "unsupported_parameter")
    # The call ends with its client, up to the vendor.
    await vendors.openai.streaming(0)


async def test_gemini_hears_and_answers_and_the_turn_is_kept(vendors: Vendors) -> None:
    vendors.google.answers.append(Answer("in the harbour"))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "google/gemini-3.8-live")
        await caller.speak(SILENCE + WORD + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        saved = await caller.until("message.saved")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"].strip()) == ("completed", "in the harbour")
    assert ended["heard"] > 0
    kept = await vendors.kept(saved["conversation"])
    assert [(role, text.strip()) for role, text, _ in kept] == [("user", "w1"), ("assistant", "in the harbour")]


async def test_a_tool_that_speech_calls_off_takes_no_answer(vendors: Vendors) -> None:
    calls = [{"id": "c1", "name": "weather", "args": {}}]
    vendors.google.answers.extend([Answer("never", calls=calls), Answer("all right")])
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "google/gemini-3.8-live", store=False, tools=[{"name": "weather"}])
        await caller.speak(WORD + SILENCE)
        called = await caller.until("tool.call")
        await caller.speak(WORD + SILENCE)
        off = await caller.until("tool.cancelled")
        late = await caller.do("tool_result", call_id="c1", output="rain")
        await caller.until("turn.assistant_ended", status="completed")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert called["client"]
    assert (off["call_id"], off["name"]) == ("c1", "weather")
    assert (late["type"], late["error"]["code"], late["error"]["field"]) == (
        "rejected",
        "tool_call_not_found",
        "call_id",
    )
    assert not [told for told in vendors.google.sessions[-1].told if "toolResponse" in told]


async def test_a_turn_costs_what_its_words_and_its_sound_do(vendors: Vendors) -> None:
    vendors.openai.answers.append(Answers("In the harbour."))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1", store=False)
        await caller.do("text", text="Where is the boat?")
        await caller.do("answer")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    usage = ended["usage"]
    assert (usage["audio_input_tokens"], usage["audio_cached_tokens"], usage["audio_output_tokens"]) == (70, 15, 30)
    # 25 words and 55 tokens of sound are fresh, 20 cached; the answer has 10 words and 30 tokens of sound.
    dollars = Decimal(25 * 4 + 55 * 32 + 10 * 24 + 30 * 64) / 10**6 + Decimal("0.4") * 20 / 10**6
    assert Decimal(ended["cost"]["amount"]) == dollars == Decimal(end["cost"]["amount"])


SAID = [
    {"role": "user", "text": "My boat is green."},
    {"role": "assistant", "text": "What a fine boat."},
]


async def test_openai_is_told_what_was_said_in_the_conversation(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        conversation = (await socket.ask("chat.record", messages=SAID))["conversation"]
        caller = await begin(socket, "openai/gpt-realtime-2.1", conversation=conversation)
        await caller.do("text", text="Which colour?")
        await caller.do("answer")
        await caller.until("turn.assistant_ended")
        saved = await caller.until("message.saved")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    told = [event["item"] for event in vendors.openai.sessions[-1].of("conversation.item.create")]
    assert [(item["role"], item["content"][0]["text"]) for item in told] == [
        ("user", "My boat is green."),
        ("assistant", "What a fine boat."),
        ("user", "Which colour?"),
    ]
    assert saved["conversation"] == conversation
    kept = await vendors.kept(conversation)
    assert [text.strip() for _, text, _ in kept] == ["My boat is green.", "What a fine boat.", "All right."]


async def test_gemini_is_told_what_was_said_in_the_conversation(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        conversation = (await socket.ask("chat.record", messages=SAID))["conversation"]
        caller = await begin(socket, "google/gemini-3.8-live", conversation=conversation)
        await caller.speak(WORD + SILENCE)
        await caller.until("turn.assistant_ended")
        saved = await caller.until("message.saved")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    session = vendors.google.sessions[-1]
    assert session.history == ["My boat is green.", "What a fine boat."]
    first = next(told["clientContent"]["turns"] for told in session.told if "clientContent" in told)
    assert [turn["role"] for turn in first] == ["user", "model"]
    assert saved["conversation"] == conversation
    assert [text.strip() for _, text, _ in await vendors.kept(conversation)][2:] == ["w1", "yes of course"]


async def test_a_conversation_that_is_not_there_is_refused_before_the_vendor_is_asked(vendors: Vendors) -> None:
    asked = len(vendors.openai.sessions)
    async with connected(vendors.url) as socket:
        answer = await socket.ask("realtime.start", model="openai/gpt-realtime-2.1", conversation="c_nobodys")
    assert (answer["error"]["code"], answer["error"]["field"]) == ("conversation_not_found", "conversation")
    assert len(vendors.openai.sessions) == asked


async def test_a_vendor_that_closes_for_good_is_quoted_with_code_and_reason(vendors: Vendors) -> None:
    vendors.openai.troubles.append(Trouble("conversation.item.create", code=1008, reason="Against our policy."))
    ends = {}
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1")
        await caller.do("text", text="Hello.")
        ends["openai"] = await socket.end_of(caller.stream)
        before = len(vendors.google.sessions)
        caller = await begin(socket, "google/gemini-3.8-live")
        await vendors.google.until(lambda: len(vendors.google.sessions) > before, "a session")
        await vendors.google.sessions[-1].drop(1008, "Against our policy.")
        ends["google"] = await socket.end_of(caller.stream)
    for end in ends.values():
        assert (end["status"], end["error"]["code"]) == ("failed", "provider_error")
        assert "1008" in end["error"]["message"] and "Against our policy" in end["error"]["message"]


async def test_a_vendor_that_is_asked_too_often_says_when_to_come_back(vendors: Vendors) -> None:
    vendors.openai.script.append(Fault.because("rate_limit", retry_after=7))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1")
        end = await socket.end_of(caller.stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_rate_limited")
    assert (end["error"]["retry_after"], end["error"]["retryable"]) == (7, True)


async def test_an_interpreter_is_not_interrupted_by_whom_it_interprets(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "google/gemini-live-translate", translate_to="it")
        await caller.speak(SILENCE + WORD + SILENCE[: RATE // 2] + sound_of(2, seconds=0.25) + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"].split()) == ("completed", ["it1", "it2"])
    assert caller.told("playback.clear") == []
    assert [event["text"] for event in caller.told("transcript.final")] == ["w1 w2"]


async def test_sound_that_the_vendor_does_not_take_is_refused_to_be_sent_again(vendors: Vendors) -> None:
    vendors.openai.troubles.append(Trouble("session.update", silent=True))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1")
        await caller.speak(bytes(RATE * 2 * 12), pace=0)
        refused = await socket.rejected()
        await socket.ask("stream.cancel", stream=caller.stream)
        end = await socket.end_of(caller.stream)
    assert (refused["code"], refused["retryable"], refused["retry_after"]) == ("overloaded", True, 0.5)
    assert end["status"] == "cancelled"
    await vendors.openai.streaming(0)


async def test_a_voice_that_the_vendor_does_not_have_ends_the_call_with_its_words(vendors: Vendors) -> None:
    refusal = {
        "code": "invalid_value",
        "param": "session.audio.output.voice",
        "message": "Invalid value: 'nobody'. Supported values are: 'cedar' and 'marin'.",
    }
    vendors.openai.troubles.append(Trouble("session.update", error=refusal))
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1", voice="nobody")
        end = await socket.end_of(caller.stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "invalid_request")
    assert "'cedar' and 'marin'" in end["error"]["message"]


async def test_an_interruption_while_nothing_plays_tells_the_vendor_nothing(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        caller = await begin(socket, "openai/gpt-realtime-2.1", store=False)
        assert (await caller.do("interrupt"))["type"] == "accepted"
        await caller.do("text", text="Where is the boat?")
        await caller.do("answer")
        ended = await caller.until("turn.assistant_ended")
        assert (await caller.do("interrupt"))["type"] == "accepted"
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    session = vendors.openai.sessions[-1]
    assert session.of("response.cancel") == session.of("conversation.item.truncate") == []
    assert (ended["status"], end["status"]) == ("completed", "completed")


async def test_two_calls_of_one_session_are_two_streams(vendors: Vendors) -> None:
    vendors.openai.answers.extend([Answers("In the harbour.")])
    vendors.google.answers.append(Answer("at sea"))
    async with connected(vendors.url) as socket:
        one = await begin(socket, "openai/gpt-realtime-2.1", store=False)
        other = await begin(socket, "google/gemini-3.8-live", store=False)
        await other.speak(WORD + SILENCE)
        await one.do("text", text="Where is the boat?")
        await one.do("answer")
        texts = [(await each.until("turn.assistant_ended"))["text"].strip() for each in (one, other)]
        await one.do("finish")
        await socket.end_of(one.stream)
        # The other one goes on.
        await other.speak(WORD + SILENCE)
        again = await other.until("turn.assistant_ended", turn=2)
        await other.do("finish")
        await socket.end_of(other.stream)
    assert texts == ["In the harbour.", "at sea"]
    assert again["status"] == "completed"


async def test_a_refused_key_ends_the_call_with_the_vendors_reason(vendors: Vendors) -> None:
    vendors.openai.key = "another"
    try:
        async with connected(vendors.url) as socket:
            caller = await begin(socket, "openai/gpt-realtime")
            end = await socket.end_of(caller.stream)
    finally:
        vendors.openai.key = None
    assert end["status"] == "failed"
    assert end["error"]["code"].startswith("provider")
    assert "sk-test" not in json.dumps(end)
