"""The sound of calls is kept where the operator wants it, turn by turn, and found from the messages."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.api import REALTIME_RATE
from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.openai_realtime import Answers, OpenAIRealtimeEmulator
from tests.emulators.reply import Hold, Say
from tests.emulators.sound import tone
from tests.journeys.caller import RATE, Caller, call, spoken
from tests.journeys.client import Socket, connected
from tests.server import CHAT, Settings, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

SILENCE = bytes(RATE * 2)
ANSWER = [f"The boat number {n} lies in the harbour. " for n in range(1, 13)]
SETTINGS: Settings = {
    **CHAT,
    "plugins.enabled": ["chat", "tts", "audio", "realtime", "storage"],
    "plugins.realtime.keep_audio": True,
}
CASCADE = {"model": "cascade", "transcription_model": "local", "speech_model": "openai/tts-1", "voice": "ash"}

Json = dict[str, Any]


class Recorded:
    """A server that keeps the sound of calls, and what a client sees of it."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, question: bytes) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.question = question

    async def get(self, address: str) -> Any:
        async with aiohttp.ClientSession(self.url) as http, http.get(address) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def messages(self, conversation: str) -> list[Json]:
        found: list[Json] = (await self.get(f"/api/v1/conversations/{conversation}/messages"))["messages"]
        return found

    async def objects(self, stream: str) -> list[Json]:
        found: list[Json] = (await self.get(f"/api/v1/storage/objects?origin={stream}"))["objects"]
        return found

    async def sound(self, message: Json, rate: int = RATE) -> bytes:
        """The samples of a message's sound."""
        address = f"/api/v1/storage/objects/{message['metadata']['audio']}/content"
        async with aiohttp.ClientSession(self.url) as http, http.get(address) as answer:
            assert answer.headers["Content-Type"] == "audio/wav"
            content = await answer.read()
        with wave.open(io.BytesIO(content)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
            return bytes(file.readframes(file.getnframes()))


@asynccontextmanager
async def serving(folder: Path, vendor: OpenAIEmulator, **settings: object) -> AsyncIterator[Recorded]:
    async with engine_inside(folder, {**SETTINGS, **settings}, behind(vendor)) as engine:
        question = await spoken(f"http://127.0.0.1:{engine.port}", "Hello, how are you today?")
        yield Recorded(engine, vendor, question)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recorded]:
    async with OpenAIEmulator() as vendor, serving(tmp_path_factory.mktemp("server"), vendor) as server:
        yield server


async def hung_up(socket: Socket, caller: Caller) -> None:
    await caller.do("finish")
    await socket.end_of(caller.stream)


async def test_both_sides_of_a_turn_are_found_from_their_messages(recorded: Recorded) -> None:
    recorded.vendor.script.append(Say("It is fine."))
    async with connected(recorded.url) as socket:
        caller = await call(socket, **CASCADE)
        await caller.speak(recorded.question + SILENCE)
        ended = await caller.until("turn.assistant_ended")
        await hung_up(socket, caller)
    question, answer = await recorded.messages(ended["conversation"])
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert await recorded.sound(answer) == caller.heard.sound
    # Of the silence that ends a turn a part is kept with it.
    assert recorded.question[RATE : 2 * RATE] in await recorded.sound(question)
    assert len(await recorded.objects(caller.stream)) == 2


async def test_of_an_answer_that_was_stopped_only_what_was_heard_is_kept(recorded: Recorded) -> None:
    hold = Hold()
    recorded.vendor.script += [Say(pieces=[*ANSWER[:6], hold, *ANSWER[6:]]), Say("It is late.")]
    async with connected(recorded.url) as socket:
        caller = await call(socket, **CASCADE)
        await caller.speak(recorded.question + SILENCE)
        await caller.until("turn.assistant_started")
        await hold.reached()
        await caller.speak(recorded.question + SILENCE)
        cut = await caller.until("turn.assistant_ended", status="cancelled")
        last = await caller.until("turn.assistant_ended", status="completed")
        await hung_up(socket, caller)
    asked, stopped, again, answer = await recorded.messages(last["conversation"])
    assert stopped["status"] == "cancelled"
    assert len(await recorded.sound(stopped)) == pytest.approx(cut["heard"] * RATE * 2 / 1000, abs=RATE * 2 / 1000)
    assert caller.heard.sound.startswith(await recorded.sound(stopped))
    for message in (asked, again):
        assert recorded.question[RATE : 2 * RATE] in await recorded.sound(message)
    assert caller.heard.sound.endswith(await recorded.sound(answer))


async def test_a_call_that_is_not_to_be_kept_leaves_no_sound(recorded: Recorded) -> None:
    recorded.vendor.script.append(Say("It is fine."))
    async with connected(recorded.url) as socket:
        caller = await call(socket, **CASCADE, store=False)
        await caller.speak(recorded.question + SILENCE)
        await caller.until("turn.assistant_ended")
        await hung_up(socket, caller)
    assert await recorded.objects(caller.stream) == []


async def test_a_vendors_own_model_is_recorded_too(tmp_path: Path) -> None:
    sentence = tone(0.4, REALTIME_RATE)
    async with OpenAIRealtimeEmulator() as vendor:
        vendor.transcripts.append("Where is the boat?")
        vendor.answers.append(Answers("In the harbour."))
        own = {"vendors.openai.base_url": vendor.base_url, "vendors.openai.api_key": "sk-test-0123456789"}
        settings = {**SETTINGS, **own, "plugins.enabled": ["chat", "realtime", "storage"]}
        async with engine_inside(tmp_path, settings) as engine:
            server = Recorded(engine, OpenAIEmulator(), b"")
            async with connected(server.url) as socket:
                asked = {"model": "openai/gpt-realtime", "sample_rate": REALTIME_RATE}
                caller = Caller(socket, await socket.ask("realtime.start", **asked))
                await caller.speak(sentence + bytes(REALTIME_RATE * 2))
                saved = await caller.until("message.saved")
                await hung_up(socket, caller)
            question, answer = await server.messages(saved["conversation"])
            assert await server.sound(answer, REALTIME_RATE) == caller.heard.sound
            assert sentence in await server.sound(question, REALTIME_RATE)


async def test_what_does_not_fit_the_quota_is_told_and_the_words_are_kept(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor, serving(tmp_path, vendor, **{"plugins.storage.quota": 1000}) as server:
        vendor.script.append(Say("It is fine."))
        async with connected(server.url) as socket:
            caller = await call(socket, **CASCADE)
            await caller.speak(server.question + SILENCE)
            ended = await caller.until("turn.assistant_ended")
            await hung_up(socket, caller)
        assert [event["stage"] for event in caller.told("status")] == ["audio_not_kept", "audio_not_kept"]
        question, answer = await server.messages(ended["conversation"])
    assert answer["text"] == "It is fine." and "metadata" not in question


@pytest.mark.parametrize(
    "settings",
    [
        {"plugins.realtime.keep_audio": False},
        {"plugins.enabled": ["chat", "tts", "audio", "realtime"]},
    ],
    ids=["the operator does not want it", "there is no store"],
)
async def test_otherwise_a_call_goes_on_and_nothing_is_kept(tmp_path: Path, settings: Settings) -> None:
    async with OpenAIEmulator() as vendor, serving(tmp_path, vendor, **settings) as server:
        vendor.script.append(Say("It is fine."))
        async with connected(server.url) as socket:
            caller = await call(socket, **CASCADE)
            await caller.speak(server.question + SILENCE)
            ended = await caller.until("turn.assistant_ended")
            await hung_up(socket, caller)
        assert ended["status"] == "completed"
        assert all("metadata" not in message for message in await server.messages(ended["conversation"]))
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []
