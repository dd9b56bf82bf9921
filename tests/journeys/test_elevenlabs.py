"""ElevenLabs speaks, emulated: text goes in while sound comes out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.elevenlabs import RATE, ElevenLabsEmulator
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import Sing, spoken
from tests.journeys.client import connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "el-test-0123456789"
DOMI = "AZnzlk1XvdvUeBnXmlld"


class Server:
    """A server and ElevenLabs behind it."""

    def __init__(self, engine: Engine, vendor: ElevenLabsEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def post(self, **body: object) -> tuple[int, bytes]:
        told = {"model": "elevenlabs", "format": "pcm", **body}
        async with self.http.post(f"{self.url}/api/v1/tts", json=told) as answer:
            return answer.status, await answer.read()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with ElevenLabsEmulator(key=KEY) as vendor, aiohttp.ClientSession() as http:
        settings = {
            "plugins.enabled": ["tts"],
            "models.retries": 0,
            "models.breaker_failures": 1000,
            "vendors.elevenlabs.base_url": vendor.base_url,
            "vendors.elevenlabs.api_key": KEY,
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
            yield Server(engine, vendor, http)


@pytest.fixture
def server(shared: Server) -> Server:
    vendor = shared.vendor
    for each in (vendor.script, vendor.sounds, vendor.closes, vendor.said, vendor.requests, vendor.closed_by_client):
        each.clear()
    return shared


async def test_a_sentence_is_heard_before_the_next_one_is_known(server: Server) -> None:
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs/eleven_flash_v2_5", voice=DOMI))["stream"]
        await socket.ask("tts.text", stream=stream, text="The first one is here. ")
        first = spoken("The first one is here.", RATE)
        await socket.until(lambda: socket.of(stream).sound == first, "the first sentence")
        await socket.ask("tts.text", stream=stream, text="And here is the second.")
        await socket.ask("tts.finish", stream=stream)
        end = await socket.end_of(stream)
    assert server.vendor.said == [["The first one is here.", "And here is the second."]]
    assert socket.of(stream).sound == first + spoken("And here is the second.", RATE)
    assert (end["status"], end["model"]) == ("completed", "elevenlabs/eleven_flash_v2_5")
    assert float(end["cost"]["amount"]) == pytest.approx(end["usage"]["characters"] * 50 / 1e6)
    assert DOMI in server.vendor.requests[0].path


async def test_a_text_is_spoken_into_a_file(server: Server) -> None:
    assert await server.post(text="One two three.") == (200, spoken("One two three.", RATE))


async def test_the_accounts_voices_are_listed(server: Server) -> None:
    async with server.http.get(f"{server.url}/api/v1/tts/voices?model=elevenlabs") as answer:
        assert {each["name"] for each in (await answer.json())["voices"]} == {"Rachel", "Domi"}


async def test_a_cancel_hangs_up(server: Server) -> None:
    server.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        await socket.until(lambda: bool(socket.of(stream).sound), "the first sound")
        await socket.ask("stream.cancel", stream=stream)
        assert (await socket.end_of(stream))["status"] == "cancelled"
    await server.vendor.hung_up()


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ("invalid_key", 502, "provider_refused"),
        ("rate_limit", 429, "provider_rate_limited"),
        ("server", 502, "provider_unavailable"),
    ],
)
async def test_a_refusal_is_told(server: Server, condition: Condition, status: int, code: str) -> None:
    server.vendor.script.append(Fault.because(condition))
    told, problem = await server.post(text="one")
    assert (told, json.loads(problem)["code"]) == (status, code)
    assert KEY.encode() not in problem


async def test_a_close_for_a_reason_is_told_with_its_code(server: Server) -> None:
    server.vendor.closes.append((1008, "voice_not_fine_tuned"))
    told, problem = await server.post(text="one")
    assert told == 502
    assert "code 1008: voice_not_fine_tuned" in json.loads(problem)["detail"]


async def test_a_connection_that_breaks_in_mid_word_fails_the_speech_and_keeps_what_was_heard(server: Server) -> None:
    server.vendor.sounds.append(Sing(cut=2))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert socket.of(stream).sound
