"""A client is built and tested against a voice that is none, without a vendor, a program or a cost."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import aiohttp
import pytest
import pytest_asyncio

from engine.wire.g711 import LAWS
from plugins.tts.providers.canned import A_WORD, RATE
from plugins.vendors.codecs import LINE_RATE, AudioFormat, decode
from tests.journeys.client import connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "The boat is green. It sails at noon."
SECONDS = len(TEXT.split()) * A_WORD


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    settings = {"plugins.enabled": ["tts"], "plugins.tts.canned": True, "models.speech": "canned"}
    async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
        yield f"http://127.0.0.1:{engine.port}"


def seconds(sound: bytes, format: AudioFormat) -> float:
    match format:
        case "pcm":
            return len(sound) / 2 / RATE
        case "mulaw" | "alaw":
            return len(LAWS[format].decode(sound)) / 2 / LINE_RATE
        case _:
            return sum(map(len, decode(io.BytesIO(sound), 16_000))) / 32_000


@pytest.mark.parametrize("format", get_args(AudioFormat))
async def test_it_sounds_in_each_format_and_says_that_it_is_no_voice(url: str, format: AudioFormat) -> None:
    body = {"text": TEXT, "format": format}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v1/tts", json=body) as answer:
        assert (answer.status, answer.headers["X-Canned"]) == (200, "true")
        assert seconds(await answer.read(), format) == pytest.approx(SECONDS, abs=0.15)


async def test_it_sounds_alike_each_time_over_the_socket_and_is_told_as_what_it_is(url: str) -> None:
    heard = []
    for _ in range(2):
        async with connected(url) as socket:
            stream = (await socket.ask("tts.start", text=TEXT))["stream"]
            end = await socket.end_of(stream)
        (status,) = [event for event in socket.of(stream).events if event["type"] == "status"]
        assert (status["stage"], "no voice" in status["detail"]) == ("canned", True)
        assert (end["status"], end["model"], "cost" in end) == ("completed", "canned/tone", False)
        heard.append(socket.of(stream).sound)
    assert heard[0] == heard[1]
    assert any(heard[0])


async def test_its_voice_is_listed_and_another_one_is_refused(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/api/v1/tts/voices?model=canned") as answer:
            (voice,) = (await answer.json())["voices"]
        async with http.post(f"{url}/api/v1/tts", json={"text": "one", "voice": "alloy"}) as answer:
            problem = json.loads(await answer.read())
    assert (voice["id"], "no voice" in voice["description"]) == ("tone", True)
    assert (problem["code"], problem["field"]) == ("invalid_request", "voice")


async def test_nobody_gets_it_who_has_not_switched_it_on(tmp_path: Path) -> None:
    async with (
        engine_inside(tmp_path, {"plugins.enabled": ["tts"]}, {}) as engine,
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{engine.port}/api/v1/tts", json={"text": "one", "model": "canned"}) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (404, "model_not_found")
