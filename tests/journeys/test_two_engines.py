"""Two servers inside one process: each has its plugins, its data and its turns, and one goes without the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import connected
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


def url_of(engine: Engine) -> str:
    return f"http://127.0.0.1:{engine.port}"


@pytest_asyncio.fixture(loop_scope="module")
async def two(tmp_path: Path, shared_vendor: OpenAIEmulator) -> AsyncIterator[tuple[Engine, Engine]]:
    async with AsyncExitStack() as stack:
        engines = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            engines.append(await stack.enter_async_context(engine_inside(folder, CHAT, behind(shared_vendor))))
        yield engines[0], engines[1]


async def test_what_is_said_to_one_stays_there(two: tuple[Engine, Engine], vendor: OpenAIEmulator) -> None:
    one, other = two
    async with connected(url_of(one)) as socket, connected(url_of(other)) as elsewhere, aiohttp.ClientSession() as http:
        heard = await socket.chat("Hi", key="k")
        await socket.end_of(heard.stream)
        refused = await elsewhere.ask("stream.resume", stream=heard.stream)
        again = await elsewhere.chat("Ho", key="k")
        await elsewhere.end_of(again.stream)
        async with http.get(f"{url_of(other)}/api/v1/conversations") as response:
            titles = [conversation["title"] for conversation in (await response.json())["conversations"]]
    assert (refused["error"]["code"], again.text, titles) == ("stream_not_found", "Ho", ["Ho"])


async def test_one_stops_and_the_other_goes_on(two: tuple[Engine, Engine], vendor: OpenAIEmulator) -> None:
    one, other = two
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(url_of(other)) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        await one.stop(0)
        with pytest.raises(aiohttp.ClientConnectorError):
            async with connected(url_of(one)):
                pass
        hold.release()
        end = await socket.end_of(heard.stream)
    assert (heard.text, end["status"], end["saved"]) == ("one two", "completed", True)
