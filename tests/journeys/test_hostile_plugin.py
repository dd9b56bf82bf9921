"""A hostile plugin is named, contained and switched off, and everybody else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys import hostile_plugin
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, behind, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = Path(hostile_plugin.__file__)


def line_of(words: str) -> int:
    """Where the plugin's source has these words."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    return next(at for at, line in enumerate(lines, 1) if words in line)


@pytest.fixture
def hostile(tmp_path: Path, shared_vendor: OpenAIEmulator) -> Iterator[RunningServer]:
    """A server with the plugin installed as packages are, and on; it has two strikes."""
    site = tmp_path / "site"
    info = site / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[betterai.plugins]\nhostile = hostile_package:Hostile\n")
    (site / "hostile_package.py").write_text(SOURCE.read_text(encoding="utf-8"))
    settings = {**CHAT, "plugins.enabled": ["chat", "openai_api", "hostile"], "plugins.strikes": 2}
    with serving(tmp_path / "server", settings, {**behind(shared_vendor), "PYTHONPATH": str(site)}) as server:
        yield server


async def state(server: RunningServer) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/api/v1/admin/plugins/hostile") as response:
        return (await response.json())["state"]


async def test_who_blocks_the_loop_is_named_while_it_does_and_switched_off_at_the_last_strike(
    hostile: RunningServer, vendor: OpenAIEmulator
) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(hostile.url) as socket, connected(hostile.url) as other:
        heard = await other.chat("Count")
        await other.text_of(heard.stream, "one ")
        first = asyncio.ensure_future(socket.ask("hostile.sleep", much=1.5))
        named = await hostile.until_logged("loop_blocked")
        assert (await first)["type"] == "accepted"
        standing = await state(hostile)
        await socket.ask("hostile.sleep", much=1.0)
        struck = await hostile.until_logged("plugin_struck_out")
        await hostile.until_logged("switched")
        refused = await socket.ask("hostile.sleep", much=0.1)
        hold.release()
        end = await other.end_of(heard.stream)
        async with aiohttp.ClientSession() as http, http.get(f"{hostile.url}/metrics") as response:
            metrics = await response.text()
    at = f"hostile_package.py:{line_of('time.sleep(request')}"
    assert (named["plugin"], named["function"], standing) == ("hostile", "sleep_on_the_loop", "on")
    assert named["at"].endswith(at)
    assert named["seconds"] < 1.0
    assert struck["plugin"] == "hostile"
    assert refused["error"]["code"] == "feature_disabled"
    assert (heard.text, end["status"]) == ("one two", "completed")
    assert 'betterai_plugin_blocks_total{plugin="hostile"} 2.0' in metrics


async def test_code_that_never_gives_the_loop_back_is_interrupted(hostile: RunningServer) -> None:
    async with connected(hostile.url) as socket:
        answer = await asyncio.wait_for(socket.ask("hostile.spin"), 30)
        alive = await socket.ask("ping")
    named = hostile.logged("loop_blocked")
    assert (answer["type"], answer["error"]["code"]) == ("rejected", "internal")
    assert alive["type"] == "pong"
    assert named["function"] == "spin"


async def test_what_it_leaks_ends_with_it(hostile: RunningServer) -> None:
    async with connected(hostile.url) as socket:
        await socket.ask("hostile.leak", much=3)
        async with (
            aiohttp.ClientSession() as http,
            http.put(f"{hostile.url}/api/v1/admin/plugins/hostile", json={"enabled": False}) as response,
        ):
            assert response.status == 200
        left = await hostile.until_logged("plugin_left_tasks")
        await hostile.until_logged("plugin_closed")
    assert left["tasks"] == ["leaked 0", "leaked 1", "leaked 2"]
    assert await state(hostile) == "off"


async def test_what_it_raises_and_floods_harms_nobody_else(hostile: RunningServer, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["still ", "here"]))
    async with connected(hostile.url) as socket:
        failed = await socket.ask("hostile.fail")
        flood = await socket.answer(await socket.send("hostile.flood", much=5000))
        heard = await socket.chat("Are you there?")
        end = await socket.end_of(heard.stream)
    assert failed["error"]["code"] == "internal"
    assert "sk-hostile" not in str(failed)
    assert flood["type"] == "accepted"
    assert (heard.text, end["status"]) == ("still here", "completed")
