"""Calls over the socket: with the models of this machine for real, and with vendors that do as they are told."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.wav import wav_header
from tests.emulators.deepgram import DeepgramEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse, Usage
from tests.journeys.caller import RATE, Caller, call, spoken
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, behind, engine_inside, local_server
from tests.words import bare

__all__ = ("local_server",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION, HEARD = "Hello, how are you today?", "hello how are you today"
ANSWER = [f"The boat number {n} lies in the harbour. " for n in range(1, 13)]
SILENCE = bytes(RATE * 2)
VENDORS = {"model": "cascade", "transcription_model": "local", "speech_model": "openai/tts-1", "voice": "ash"}


async def test_a_spoken_question_is_answered_in_speech_by_this_machine_alone(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION)
    async with connected(local_server.url) as socket:
        caller = await call(socket)
        await caller.speak(question + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    assert caller.kinds == [
        "stream.started",
        "lane.started",
        "turn.user_started",
        "turn.user_ended",
        "transcript.final",
        "turn.assistant_started",
        "turn.assistant_ended",
        "lane.ended",
        "stream.ended",
    ]
    assert [bare(event["text"]) for event in caller.told("transcript.final")] == [HEARD]
    assert ended["status"] == "completed"
    assert ended["text"] == caller.heard.text
    assert ended["message"]
    assert abs(ended["heard"] - len(caller.heard.sound) * 1000 // (RATE * 2)) <= 20
    assert end["status"] == "completed"


async def test_the_program_talks(local_server: RunningServer, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    question.write_bytes(wav_header(RATE) + await spoken(local_server.url, QUESTION))
    command = ["talk", "--in", str(question), "--out", str(tmp_path / "answer.wav"), "--server", local_server.url]
    told = await asyncio.to_thread(local_server.run, *command)
    assert HEARD in (bare(line) for line in told.splitlines() if line.startswith("> "))
    with wave.open(str(tmp_path / "answer.wav")) as answer:
        assert (answer.getnchannels(), answer.getsampwidth(), answer.getframerate()) == (1, 2, 24_000)
        assert answer.getnframes() > 12_000


async def test_the_program_hears_a_recording_like_a_microphone(local_server: RunningServer, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    question.write_bytes(wav_header(RATE) + await spoken(local_server.url, QUESTION) + SILENCE)
    command = ["transcribe", "--mic-file", str(question), "--server", local_server.url]
    told = await asyncio.to_thread(local_server.run, *command)
    assert HEARD in map(bare, told.splitlines())
    assert "FILE" in await asyncio.to_thread(local_server.run, "transcribe")
    question.write_bytes(b"RIFF")
    assert "recording" in await asyncio.to_thread(local_server.run, *command)


async def test_the_program_says_what_is_wrong(local_server: RunningServer, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    question.write_bytes(b"RIFF")
    output = str(tmp_path / "answer.wav")
    told = await asyncio.to_thread(local_server.run, "talk", "--in", str(question), "--out", output)
    assert "cannot read" in told
    assert "Traceback" not in told
    question.write_bytes(wav_header(RATE) + SILENCE)
    command = ["talk", "--in", str(question), "--out", output, "--server", local_server.url, "--model", "nobody"]
    assert "nobody" in await asyncio.to_thread(local_server.run, *command)


class Calling:
    """A server whose calls think and speak with an emulated vendor, and hear for real; and a question, spoken."""

    def __init__(
        self, engine: Engine, folder: Path, vendor: OpenAIEmulator, deepgram: DeepgramEmulator, question: bytes
    ) -> None:
        self.database = folder / "betterai.db"
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.deepgram = deepgram
        self.question = question

    def asked(self, at: int) -> list[tuple[str, Any]]:
        """Role and content of the messages that the chat model was given, by request."""
        requests = [request for request in self.vendor.requests if request.path.endswith("/chat/completions")]
        return [(message["role"], message["content"]) for message in requests[at].body["messages"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Calling]:
    folder = tmp_path_factory.mktemp("server")
    async with (
        OpenAIEmulator() as vendor,
        DeepgramEmulator() as deepgram,
        serving_calls(folder, vendor, deepgram, {}) as engine,
    ):
        question = await spoken(f"http://127.0.0.1:{engine.port}", QUESTION)
        yield Calling(engine, folder, vendor, deepgram, question)


def serving_calls(folder: Path, vendor: OpenAIEmulator, deepgram: DeepgramEmulator, settings: dict[str, Any]) -> Any:
    ears = {"vendors.deepgram.api_key": "dg-0123456789", "vendors.deepgram.base_url": deepgram.base_url}
    own = {**CHAT, **ears, "plugins.enabled": ["chat", "tts", "audio", "realtime"], **settings}
    return engine_inside(folder, own, behind(vendor))


@pytest.fixture
def calling(shared: Calling) -> Calling:
    shared.vendor.script.clear()
    shared.vendor.sounds.clear()
    shared.vendor.requests.clear()
    shared.vendor.closed_by_client.clear()
    return shared


async def answering(caller: Caller, calling: Calling) -> None:
    """Ask the question, and wait until the answer is heard."""
    await caller.speak(calling.question + SILENCE)
    await caller.until("turn.assistant_started")


async def test_speech_over_an_answer_stops_it_at_once_up_to_the_vendor(calling: Calling) -> None:
    hold = Hold()
    calling.vendor.script += [Say(pieces=[*ANSWER[:6], hold, *ANSWER[6:]]), Say("It is late.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await answering(caller, calling)
        await hold.reached()
        await caller.speak(calling.question + SILENCE)
        cleared = await caller.until("playback.clear")
        cut = await caller.until("turn.assistant_ended")
        await calling.vendor.hung_up()
        second = await caller.until("turn.assistant_ended", status="completed")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert cleared["lane"] == "speech"
    assert cut["status"] == "cancelled"
    said = "".join(ANSWER)
    assert cut["text"]
    assert said.startswith(cut["text"])
    # A quarter of a second for each word: what was heard are the words of that time.
    assert abs(len(cut["text"].split()) - cut["heard"] / 250) <= 2
    assert (second["text"], second["turn"]) == ("It is late.", 2)
    (answered,) = [content for role, content in calling.asked(1) if role == "assistant"]
    assert answered.strip() == cut["text"].strip()


async def test_a_cough_over_an_answer_lets_it_go_on_where_it_was(calling: Calling) -> None:
    calling.vendor.script.append(Say(pieces=ANSWER[:2]))
    async with connected(calling.url) as socket:
        # Deepgram's emulator hears no words in it.
        caller = await call(socket, **{**VENDORS, "transcription_model": "deepgram/nova-3"})
        await caller.do("text", text="Where is the boat?")
        await caller.do("answer")
        await caller.until("turn.assistant_started")
        await caller.speak(calling.question[RATE // 2 : RATE] + SILENCE)
        await caller.until("playback.clear")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert [event["stage"] for event in caller.told("status")] == ["no_words"]
    assert ended["status"] == "completed"
    assert ended["text"] == "".join(ANSWER[:2])
    assert ended["heard"] == 250 * sum(len(sentence.split()) for sentence in ANSWER[:2])
    assert len(caller.told("turn.assistant_started")) == 1


async def test_where_speech_may_not_stop_an_answer_it_is_answered_after_it(calling: Calling) -> None:
    calling.vendor.script += [Say(pieces=ANSWER[:1]), Say("It is late.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, turn_detection={"interrupt": False})
        await answering(caller, calling)
        await caller.speak(calling.question + SILENCE)
        second = await caller.until("turn.assistant_ended", text="It is late.")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert [event["status"] for event in caller.told("turn.assistant_ended")] == ["completed", "completed"]
    assert caller.told("playback.clear") == []
    assert second["turn"] == 2


async def test_in_manual_mode_the_client_says_when_a_turn_is_over(calling: Calling) -> None:
    calling.vendor.script.append(Say("Fine."))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, turn_detection={"type": "manual"})
        await caller.speak(calling.question + SILENCE, pace=0)
        assert caller.told("turn.user_started") == []
        await caller.do("commit")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert [bare(event["text"]) for event in caller.told("transcript.final")] == [HEARD]
    assert (ended["status"], ended["text"]) == ("completed", "Fine.")
    role, asked = calling.asked(0)[-1]
    assert (role, bare(asked)) == ("user", HEARD)


async def test_a_call_that_only_listens_needs_no_model_that_answers(
    local_server: RunningServer, tmp_path: Path
) -> None:
    question = await spoken(local_server.url, QUESTION)
    settings = {**CHAT, "plugins.enabled": ["audio", "realtime"]}
    async with (
        engine_inside(tmp_path, settings, {}) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        caller = await call(socket, model="cascade", transcription_model="local", listen_only=True)
        await caller.speak((question + SILENCE) * 2)
        await socket.until(lambda: len(caller.told("transcript.final")) == 2, "two turns")
        refused = await socket.rejected(await socket.send("realtime.answer", stream=caller.stream))
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    assert [bare(event["text"]) for event in caller.told("transcript.final")] == [HEARD, HEARD]
    assert not {"turn.assistant_started", "lane.started"} & set(caller.kinds)
    assert (refused["code"], refused["field"]) == ("invalid_request", "stream")
    assert end["status"] == "completed"


async def test_what_is_written_is_answered_in_speech_and_remembered(calling: Calling) -> None:
    calling.vendor.script += [Say("Peter.", usage=Usage(12, 3)), Say("I said it.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.do("text", text="What is your name?")
        await caller.do("answer")
        first = await caller.until("turn.assistant_ended", text="Peter.")
        await caller.do("text", text="Again?")
        await caller.do("answer", instructions="Be short.")
        await caller.until("turn.assistant_ended", text="I said it.")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (first["usage"]["input_tokens"], first["usage"]["output_tokens"]) == (12, 3)
    assert first["answered_by"].startswith("s_")
    asked = calling.asked(1)
    assert asked[1:] == [("user", "What is your name?"), ("assistant", "Peter."), ("user", "Again?")]
    assert "Be short." in asked[0][1]
    assert "Be short." not in calling.asked(0)[0][1]


async def test_the_last_sentence_is_heard_before_the_answer_is_written_down(calling: Calling) -> None:
    calling.vendor.script.append(Say("Fine."))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        with closing(sqlite3.connect(calling.database, isolation_level=None)) as backup:
            backup.execute("BEGIN EXCLUSIVE")
            await caller.do("text", text="How are you?")
            await caller.do("answer")
            await caller.until("turn.assistant_started")
            assert not caller.told("turn.assistant_ended")
            backup.execute("ROLLBACK")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["text"], ended["status"]) == ("Fine.", "completed")
    assert ended["message"]


async def test_what_is_said_before_a_tool_is_called_is_heard_while_it_works(calling: Calling) -> None:
    calling.vendor.script += [
        Say("One moment please", tool_calls=[ToolUse("call_1", "weather", "{}")]),
        Say("It is cold in Oslo."),
    ]
    tool = {"name": "weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {}}}
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, tools=[tool])
        await caller.do("text", text="Is it cold in Oslo?")
        await caller.do("answer")
        await caller.until("turn.assistant_started")
        asked = await caller.until("tool.call")
        await caller.do("tool_result", call_id=asked["call_id"], output="-4")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    spoken_texts = [r.body["input"].strip() for r in calling.vendor.requests if r.path.endswith("/audio/speech")]
    assert spoken_texts == ["One moment please", "It is cold in Oslo."]
    assert ended["text"] == "One moment pleaseIt is cold in Oslo."


async def test_nothing_is_kept_where_nothing_is_to_be(calling: Calling) -> None:
    calling.vendor.script += [Say("Peter."), Say("I said it.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, store=False)
        for text, answer in (("What is your name?", "Peter."), ("Again?", "I said it.")):
            await caller.do("text", text=text)
            await caller.do("answer")
            ended = await caller.until("turn.assistant_ended", text=answer)
            assert "conversation" not in ended
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert calling.asked(1)[1:] == [("user", "What is your name?"), ("assistant", "Peter."), ("user", "Again?")]


async def test_the_clients_tools_are_called_and_answered(calling: Calling) -> None:
    calling.vendor.script += [
        Say(tool_calls=[ToolUse("call_1", "weather", '{"city": "Oslo"}')]),
        Say("It is cold in Oslo."),
    ]
    tool = {"name": "weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {}}}
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, tools=[tool])
        await caller.do("text", text="Is it cold in Oslo?")
        await caller.do("answer")
        asked = await caller.until("tool.call")
        await caller.do("tool_result", call_id=asked["call_id"], output={"celsius": -4})
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (asked["name"], asked["client"]) == ("weather", True)
    assert ended["text"] == "It is cold in Oslo."
    assert calling.asked(1)[-1] == ("tool", '{"celsius":-4}')


async def test_a_tool_of_an_answer_that_is_stopped_takes_no_answer(calling: Calling) -> None:
    calling.vendor.script.append(Say(tool_calls=[ToolUse("call_1", "weather", "{}")]))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, tools=[{"name": "weather"}])
        await caller.do("text", text="Is it cold in Oslo?")
        await caller.do("answer")
        await caller.until("tool.call")
        await caller.do("interrupt")
        off = await caller.until("tool.cancelled")
        late = await caller.do("tool_result", call_id="call_1", output="cold")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (off["call_id"], off["name"]) == ("call_1", "weather")
    assert (late["error"]["code"], late["error"]["field"]) == ("tool_call_not_found", "call_id")


async def test_a_call_may_be_answered_in_writing_alone(calling: Calling) -> None:
    calling.vendor.script.append(Say("Fine."))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, modalities=["text"])
        await caller.speak(calling.question + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"], caller.heard.sound) == ("completed", "Fine.", b"")
    assert caller.told("lane.started") == []


async def test_an_interpreter_says_it_in_the_other_language(calling: Calling) -> None:
    calling.vendor.script.append(Say("Hallo, wie geht es dir heute?"))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS, translate_to="de")
        await caller.speak(calling.question + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert ended["text"] == "Hallo, wie geht es dir heute?"
    assert "interpreter" in calling.asked(0)[0][1]


async def test_a_model_that_fails_fails_its_answer_and_the_call_goes_on(calling: Calling) -> None:
    calling.vendor.script += [Fault.because("rate_limit"), Say("Now I am here.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.do("text", text="Are you there?")
        await caller.do("answer")
        failed = await caller.until("turn.assistant_ended")
        await caller.do("answer")
        ended = await caller.until("turn.assistant_ended", status="completed")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "provider_rate_limited")
    assert (ended["text"], end["status"]) == ("Now I am here.", "completed")


async def test_a_voice_that_fails_leaves_the_words(calling: Calling) -> None:
    calling.vendor.script += [Say("Fine."), Fault.because("rate_limit")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.do("text", text="How are you?")
        await caller.do("answer")
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert (ended["status"], ended["text"], caller.heard.sound) == ("completed", "Fine.", b"")
    assert caller.told("status", stage="speech_failed")


async def test_a_client_who_was_cut_off_comes_back_and_hears_the_rest(calling: Calling) -> None:
    calling.vendor.script.append(Say(pieces=ANSWER[:2]))
    heard: dict[str, Any] = {}
    async with connected(calling.url, heard) as socket:
        caller = await call(socket, **VENDORS)
        await answering(caller, calling)
        stream = caller.stream
    async with connected(calling.url, heard) as socket:
        accepted = await socket.ask("stream.resume", stream=stream, after=socket.of(stream).last)
        caller = Caller(socket, accepted)
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(stream)
    assert ended["status"] == "completed"
    assert len(caller.heard.sound) == ended["heard"] * RATE * 2 // 1000


async def test_a_call_that_nobody_comes_back_to_ends(shared: Calling, tmp_path: Path) -> None:
    async with serving_calls(tmp_path, shared.vendor, shared.deepgram, {"plugins.realtime.grace": 0.2}) as engine:
        url = f"http://127.0.0.1:{engine.port}"
        heard: dict[str, Any] = {}
        async with connected(url, heard) as socket:
            stream = (await call(socket, **VENDORS)).stream
        async with connected(url, heard) as socket, asyncio.timeout(10):
            while (await socket.ask("realtime.played", stream=stream, at=0))["type"] == "accepted":
                pass
            await socket.ask("stream.resume", stream=stream, after=socket.of(stream).last)
            end = await socket.end_of(stream)
    assert end["status"] == "completed"
    assert [e["stage"] for e in heard[stream].events if e["type"] == "status"][-1] == "left"


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"model": "nobody"}, "model_not_found", "model"),
        ({"sample_rate": 4_000}, "invalid_request", "sample_rate"),
        ({"encoding": "opus"}, "invalid_request", "encoding"),
        ({"voice": "nobody", "speech_model": "local"}, "invalid_request", "voice"),
        ({"language": "de"}, "unsupported_parameter", "language"),
        ({"turn_detection": {"type": "psychic"}}, "invalid_request", "turn_detection.type"),
        ({"turn_detection": {"threshold": 7}}, "invalid_request", "turn_detection.threshold"),
        ({"modalities": []}, "invalid_request", "modalities"),
        ({"chat_model": "nobody"}, "model_not_found", "model"),
        ({"tools": [{"name": "a"}, {"name": "a"}]}, "invalid_request", "tools"),
        ({"conversation": "c_of_nobody"}, "conversation_not_found", "conversation"),
    ],
)
async def test_what_cannot_be_is_refused_before_the_call(
    calling: Calling, fields: dict[str, Any], code: str, field: str
) -> None:
    async with connected(calling.url) as socket:
        error = await socket.rejected(await socket.send("realtime.start", **{**VENDORS, **fields}))
    assert (error["code"], error["field"]) == (code, field)


async def test_only_what_is_kept_nowhere_can_be_forgotten(calling: Calling) -> None:
    async with connected(calling.url) as socket:
        kept, unkept = await call(socket, **VENDORS), await call(socket, **VENDORS, store=False)
        refused = [
            (await socket.rejected(await socket.send("realtime.forget", stream=stream, **fields)))["field"]
            for stream, fields in (
                (kept.stream, {"turn": 1}),
                (unkept.stream, {}),
                (unkept.stream, {"turn": 1, "item": "a"}),
            )
        ]
        await unkept.do("forget", turn=1)
        await unkept.until("status", stage="nothing_forgotten")
        for each in (kept, unkept):
            await each.do("finish")
            await socket.end_of(each.stream)
    assert refused == ["stream", "turn", "turn"]


async def test_two_calls_of_one_session_do_not_hear_each_other(calling: Calling) -> None:
    calling.vendor.script.append(Say("Fine."))
    async with connected(calling.url) as socket:
        silent, caller = await call(socket, **VENDORS), await call(socket, **VENDORS)
        await caller.speak(calling.question + SILENCE)
        await caller.until("turn.assistant_ended", status="completed")
        for each in (silent, caller):
            await each.do("finish")
            await socket.end_of(each.stream)
    assert silent.kinds == ["stream.started", "lane.started", "lane.ended", "stream.ended"]


async def test_an_interruption_while_nothing_plays_changes_nothing(calling: Calling) -> None:
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        assert (await caller.do("interrupt"))["type"] == "accepted"
        assert (await caller.do("commit"))["type"] == "accepted"
        assert (await caller.do("clear"))["type"] == "accepted"
        await caller.until("status", stage="nothing_said")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
        late = await socket.rejected(await socket.send("realtime.interrupt", stream=caller.stream))
    assert end["status"] == "completed"
    assert (late["code"], late["field"]) == ("stream_not_found", "stream")


async def test_a_frame_may_end_in_half_a_sample_and_a_missing_one_is_named(calling: Calling) -> None:
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(bytes(639), pace=0)
        caller.n = 5
        await caller.speak(bytes(640), pace=0)
        missing = await socket.rejected()
        await caller.do("finish")
        await socket.end_of(caller.stream)
    assert missing["code"] == "invalid_frame"
    assert "after frame 1 comes 2" in missing["message"]


async def test_turns_lie_where_they_are_in_the_callers_recording(calling: Calling) -> None:
    calling.vendor.script += [Say("Fine."), Say("Fine.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(calling.question + SILENCE)
        first = await caller.until("turn.user_started", turn=1)
        await caller.until("turn.assistant_ended")
        # An hour, of which a caller that sends speech alone sends nothing.
        await caller.speak(SILENCE + calling.question + SILENCE, since=3_599_000)
        second = await caller.until("turn.user_started", turn=2)
        over = await caller.until("turn.user_ended", turn=2)
        await caller.do("finish")
        await socket.end_of(caller.stream)
    length = len(calling.question) // (RATE * 2 // 1000)
    assert 0 <= first["at"] <= 400
    assert abs(second["at"] - 3_600_000 - first["at"]) <= 400
    assert length <= over["at"] - 3_600_000 <= length + 1_000


def _hum() -> bytes:
    """A second and a half of a loud mains hum, with its overtones."""
    times = [2 * math.pi * 50 * n / RATE for n in range(RATE * 3 // 2)]
    waves = (8_000 * math.sin(t) + 3_000 * math.sin(3 * t) + 1_000 * math.sin(5 * t) for t in times)
    return array("h", map(int, waves)).tobytes()


def _clicks() -> bytes:
    """A click of a millisecond ten times a second."""
    click = array("h", [20_000, -20_000] * (RATE // 2_000)).tobytes()
    return (click + bytes(RATE // 10 * 2 - len(click))) * 15


NOISES = {"white": random.Random(1).randbytes(RATE * 2), "hum": _hum(), "clicks": _clicks(), "silence": bytes(RATE * 4)}


@pytest.mark.parametrize("noise", NOISES)
async def test_silence_and_noise_are_no_turns(calling: Calling, noise: str) -> None:
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(SILENCE + NOISES[noise] + SILENCE, pace=0)
        # What is said after them is the first turn.
        calling.vendor.script.append(Say("Fine."))
        await caller.speak(calling.question + SILENCE, pace=0)
        await caller.until("turn.assistant_ended")
        await caller.do("finish")
        await socket.end_of(caller.stream)
    (final,) = caller.told("transcript.final")
    assert bare(final["text"]) == HEARD
    assert [event["turn"] for event in caller.told("turn.user_started")] == [1]


async def test_a_person_whose_frames_stop_is_silent(calling: Calling) -> None:
    calling.vendor.script += [Say("Fine."), Say("Fine.")]
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(calling.question, pace=0)
        first = await caller.until("turn.user_ended")
        await caller.until("turn.assistant_ended")
        await caller.speak(SILENCE + calling.question + SILENCE, pace=0)
        second = await caller.until("turn.user_started", turn=2)
        await caller.do("finish")
        await socket.end_of(caller.stream)
    length = len(calling.question) // (RATE * 2 // 1000)
    assert bare(caller.told("transcript.final")[0]["text"]) == HEARD
    assert first["at"] >= length
    # The silence that nobody sent takes no time of the recording.
    assert abs(second["at"] - length - 1_000) <= 400


async def test_sound_for_a_call_that_is_over_is_refused(calling: Calling) -> None:
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.do("finish")
        await socket.end_of(caller.stream)
        await caller.speak(bytes(640), pace=0)
        error = await socket.rejected()
    assert error["code"] == "invalid_frame"
    assert [event["type"] for event in caller.heard.events].count("stream.ended") == 1


async def test_hours_of_sound_at_once_are_taken_as_fast_as_they_are_heard(calling: Calling) -> None:
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(bytes(RATE * 2 * 120), pace=0)
        taken = await caller.do("finish")
        await socket.end_of(caller.stream)
    assert taken["n"] == caller.n


async def test_a_detector_that_dies_ends_its_calls_with_the_reason_and_the_next_call_has_another(
    calling: Calling,
) -> None:
    calling.vendor.script.append(Say("Fine."))
    async with connected(calling.url) as socket:
        caller = await call(socket, **VENDORS)
        await caller.speak(SILENCE, pace=0)
        for process in psutil.Process().children():
            if any("speech_child" in part for part in process.cmdline()):
                process.kill()
        end = await socket.end_of(caller.stream)
        again = await call(socket, **VENDORS)
        await again.speak(calling.question + SILENCE)
        ended = await again.until("turn.assistant_ended")
        await again.do("finish")
        await socket.end_of(again.stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert "finds speech" in end["error"]["message"]
    assert ended["status"] == "completed"
