"""An answer is read aloud while it is written; what happens to the voice does not happen to the text."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from engine.main import Engine
from tests.databases import unavailable
from tests.emulators.openai import SPEECH_RATE, OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse, Usage
from tests.emulators.sound import Sing, spoken
from tests.journeys.client import connected
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = ["The **boat** is green. ", "It has a ", "name, and `code`."]
SENTENCES = ["The boat is green.", "It has a name, and code."]
ALOUD = {"model": "openai/tts-1", "voice": "ash"}


class Reading:
    """A server that chats and speaks, and the vendor of both."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor

    @property
    def texts(self) -> list[str]:
        """What the vendor's voice was given."""
        asked = [request for request in self.vendor.requests if request.path.endswith("/audio/speech")]
        return [request.body["input"].strip() for request in asked]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reading]:
    settings = {**CHAT, "plugins.enabled": ["chat", "tts"]}
    async with (
        OpenAIEmulator() as vendor,
        engine_inside(tmp_path_factory.mktemp("server"), settings, behind(vendor)) as engine,
    ):
        yield Reading(engine, vendor)


@pytest.fixture
def reading(shared: Reading) -> Reading:
    shared.vendor.script.clear()
    shared.vendor.sounds.clear()
    shared.vendor.requests.clear()
    shared.vendor.closed_by_client.clear()
    return shared


async def test_each_sentence_is_read_while_the_next_is_written(reading: Reading) -> None:
    hold = Hold()
    reading.vendor.script.append(Say(pieces=[ANSWER[0], ANSWER[1], hold, ANSWER[2]], usage=Usage(12, 9)))
    async with connected(reading.url) as socket:
        heard = await socket.chat("Tell me", speak=ALOUD)
        await hold.reached()
        await socket.until(lambda: heard.sound == spoken(SENTENCES[0], SPEECH_RATE), "the first sentence")
        assert not heard.ended
        hold.release()
        end = await socket.end_of(heard.stream)
    assert reading.texts == SENTENCES
    assert heard.sound == b"".join(spoken(text, SPEECH_RATE) for text in SENTENCES)
    assert heard.text == "".join(ANSWER)
    assert (end["status"], end["model"]) == ("completed", "openai/gpt-test")
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (12, 9)
    characters = sum(len(text) for text in SENTENCES)
    assert end["usage"]["characters"] >= characters
    assert float(end["cost"]["amount"]) == pytest.approx(end["usage"]["characters"] * 15 / 1e6)
    assert [event["type"] for event in heard.events if event["type"].startswith("lane")] == [
        "lane.started",
        "lane.ended",
    ]


async def test_what_is_said_before_a_tool_is_called_is_read_while_it_works(reading: Reading) -> None:
    reading.vendor.script += [
        Say("One moment please", tool_calls=[ToolUse("call_1", "weather", "{}")]),
        Say("It is cold in Oslo."),
    ]
    weather = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
    async with connected(reading.url) as socket:
        heard = await socket.chat("Is it cold?", speak=ALOUD, tools=[weather], client_tools="wait")
        await socket.until(lambda: heard.sound == spoken("One moment please", SPEECH_RATE), "the first words")
        await socket.ask("tool.result", stream=heard.stream, call_id="call_1", output="-4")
        await socket.end_of(heard.stream)
    assert reading.texts == ["One moment please", "It is cold in Oslo."]


async def test_a_voice_that_fails_fails_no_text(reading: Reading) -> None:
    reading.vendor.script += [Say(pieces=ANSWER), Fault.because("rate_limit")]
    async with connected(reading.url) as socket:
        heard = await socket.chat("Tell me", speak=ALOUD)
        end = await socket.end_of(heard.stream)
    assert (end["status"], heard.text, heard.sound) == ("completed", "".join(ANSWER), b"")
    assert end["saved"] is True
    (told,) = [event for event in heard.events if event["type"] == "status"]
    assert told["stage"] == "speech_failed" and "limits our rate" in told["detail"]


async def test_a_voice_that_breaks_off_ends_its_lane_and_not_the_turn(reading: Reading) -> None:
    reading.vendor.script.append(Say(pieces=ANSWER))
    reading.vendor.sounds.append(Sing(cut=2))
    async with connected(reading.url) as socket:
        heard = await socket.chat("Tell me", speak=ALOUD)
        end = await socket.end_of(heard.stream)
    (lane,) = [event for event in heard.events if event["type"] == "lane.ended"]
    assert (lane["status"], lane["error"]["code"]) == ("failed", "provider_unavailable")
    assert (end["status"], heard.text) == ("completed", "".join(ANSWER))
    assert heard.sound


async def test_a_cancel_stops_the_model_and_the_voice(reading: Reading) -> None:
    reading.vendor.script.append(Say(pieces=[ANSWER[0], "And ", Hold(), "more"]))
    reading.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(reading.url) as socket:
        heard = await socket.chat("Tell me", speak=ALOUD)
        await socket.until(lambda: bool(heard.sound), "the first sound")
        await socket.ask("stream.cancel", stream=heard.stream)
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["reason"]) == ("cancelled", "client_cancel")
    await reading.vendor.hung_up(2)


async def test_this_machine_reads_for_real(reading: Reading) -> None:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    reading.vendor.script.append(Say(pieces=ANSWER))
    async with connected(reading.url) as socket:
        heard = await socket.chat("Tell me", speak={"model": "local", "voice": "default", "format": "wav"})
        await socket.end_of(heard.stream)
    assert heard.sound[:4] == b"RIFF" and len(heard.sound) > 2 * 16_000 * 2


@pytest.mark.parametrize(
    ("speak", "field"),
    [
        ({"model": "nobody"}, "model"),
        ({"model": "local", "voice": "nobody"}, "voice"),
        ({"speed": 9}, "speak.speed"),
        ({"format": "ogg"}, "speak.format"),
    ],
)
async def test_a_voice_that_is_none_is_refused_before_anything_is_asked(
    reading: Reading, speak: dict[str, object], field: str
) -> None:
    async with connected(reading.url) as socket:
        answer = await socket.ask("chat.send", input="Hi", speak=speak)
    assert answer["error"]["field"] == field
    assert not reading.vendor.requests


async def test_without_a_voice_plugin_it_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with (
        OpenAIEmulator() as vendor,
        engine_inside(tmp_path_factory.mktemp("mute"), CHAT, behind(vendor)) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        answer = await socket.ask("chat.send", input="Hi", speak={})
    assert answer["error"]["code"] == "feature_disabled"
