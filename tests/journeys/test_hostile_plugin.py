"""A hostile plugin is named, contained and switched off, and everybody else goes on."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys import hostile_plugin, lifeless_plugin
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, behind, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = Path(hostile_plugin.__file__)


def line_of(words: str) -> int:
    """Where the plugin's source has these words."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    return next(at for at, line in enumerate(lines, 1) if words in line)


def installed(folder: Path, source: Path, **plugins: str) -> dict[str, str]:
    """The variables with which a package of these plugins is installed, as packages are; each with its class in `source`."""
    site = folder / "site"
    info = site / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    points = "".join(f"{name} = hostile_package:{cls}\n" for name, cls in plugins.items())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[betterai.plugins]\n{points}")
    (site / "hostile_package.py").write_text(source.read_text(encoding="utf-8"))
    (site / "slow_to_import.py").write_text("import time\n\ntime.sleep(0.9)\n")
    return {"PYTHONPATH": str(site)}


@pytest.fixture
def hostile(tmp_path: Path, shared_vendor: OpenAIEmulator) -> Iterator[RunningServer]:
    """A server with the plugin on; it has two strikes."""
    site = installed(tmp_path, SOURCE, hostile="Hostile", noting="Noting")
    settings = {**CHAT, "plugins.enabled": ["chat", "openai_api", "hostile"], "plugins.strikes": 2}
    with serving(tmp_path / "server", settings, {**behind(shared_vendor), **site}) as server:
        yield server


async def answer_of(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        return await response.json()


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
        lasted = await hostile.until_logged("loop_block_over")
        standing = await state(hostile)
        await socket.ask("hostile.sleep", much=1.0)
        struck = await hostile.until_logged("plugin_struck_out")
        await hostile.until_logged("switched")
        refused = await socket.ask("hostile.sleep", much=0.1)
        listed = await asyncio.to_thread(hostile.run, "plugins", "--server", hostile.url)
        hold.release()
        end = await other.end_of(heard.stream)
        async with aiohttp.ClientSession(hostile.url) as http:
            async with http.get("/metrics") as response:
                metrics = await response.text()
            health, shown, status = [
                await answer_of(http, path)
                for path in ("/health/ready", "/api/v1/admin/plugins/hostile", "/api/v1/admin/status")
            ]
    [line] = [each for each in health["checks"] if each["name"] == "hostile"]
    at = f"hostile_package.py:{line_of('time.sleep(request')}"
    assert (named["plugin"], named["function"], standing) == ("hostile", "sleep_on_the_loop", "on")
    assert named["at"].endswith(at)
    assert named["seconds"] < lasted["seconds"]
    assert struck["plugin"] == "hostile"
    assert "held the event loop 2 times in ten minutes, the last time for 1." in struck["reason"]
    assert at in struck["reason"]
    assert (lasted["seconds"] >= 1.4, lasted["cause"], lasted["strike"]) == (True, "wait", "1 of 2")
    assert (health["status"], line["state"], "hostile_package" in line["detail"]) == ("degraded", "degraded", False)
    assert "was switched off: it held the event loop 2 times" in line["detail"]
    assert "/health/ready says why" in refused["error"]["message"]
    assert re.search(r"^hostile +struck out: .*held the event loop 2 times", listed, re.MULTILINE)
    assert (shown["state"], shown["struck_out"], "switched" in shown) == ("failed", True, False)
    assert (shown["state"], at in shown["reason"], list(status["struck_out"])) == ("failed", True, ["hostile"])
    assert 'betterai_plugin_struck_out{plugin="hostile"} 1.0' in metrics
    assert refused["error"]["code"] == "feature_disabled"
    assert (heard.text, end["status"]) == ("one two", "completed")
    assert 'betterai_plugin_blocks_total{plugin="hostile"} 2.0' in metrics


async def test_strikes_are_forgotten_when_the_operator_switches_the_plugin_on_again(hostile: RunningServer) -> None:
    async with connected(hostile.url) as socket, aiohttp.ClientSession(hostile.url) as http:
        await socket.ask("hostile.sleep", much=0.8)
        await hostile.until_logged("loop_block_over")
        for enabled in (False, True):
            async with http.put("/api/v1/admin/plugins/hostile", json={"enabled": enabled}) as response:
                assert response.status == 200
        await socket.ask("hostile.compute", much=0.8)
        again = await hostile.until_logged("loop_block_over", function="compute")
    assert again["strike"] == "1 of 2"
    assert await state(hostile) == "on"


async def test_the_cost_of_an_import_and_of_a_large_request_is_no_strike(hostile: RunningServer) -> None:
    async with connected(hostile.url) as socket:
        await socket.ask("hostile.compute", much=0.9, ballast="x" * 5000)
        await socket.ask("hostile.load")
        imported = await hostile.until_logged("loop_block_over", strike="no: an import")
        large = await hostile.until_logged("loop_block_over", strike="no: the cost of a large request")
        await socket.ask("hostile.compute", much=0.9)
        small = await hostile.until_logged("loop_block_over", strike="1 of 2")
    assert (imported["plugin"], imported["function"]) == ("hostile", "load")
    assert (large["cause"], small["cause"]) == ("compute", "compute")


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
    assert (left["count"], [each.partition(":")[0] for each in left["tasks"]]) == (
        3,
        ["leaked 0", "leaked 1", "leaked 2"],
    )
    assert "hostile_package.py:" in left["tasks"][0] and "_linger at" in left["tasks"][0]
    assert await state(hostile) == "off"


async def test_what_it_raises_and_floods_harms_nobody_and_its_neighbour_in_the_file_is_told_apart(
    hostile: RunningServer, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(Say(pieces=["still ", "here"]))
    async with connected(hostile.url) as socket:
        failed = await socket.ask("hostile.fail")
        flood = await socket.answer(await socket.send("hostile.flood", much=5000))
        heard = await socket.chat("Are you there?")
        end = await socket.end_of(heard.stream)
        async with (
            aiohttp.ClientSession(hostile.url) as http,
            http.put("/api/v1/admin/plugins/noting", json={"enabled": True}) as response,
        ):
            assert response.status == 200
        await socket.ask("hostile.flood", much=1)
        named = await hostile.until_logged("loop_blocked", function="note")
    assert named["plugin"] == "noting"
    assert failed["error"]["code"] == "internal"
    assert "sk-hostile" not in str(failed)
    assert flood["type"] == "accepted"
    assert (heard.text, end["status"]) == ("still here", "completed")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_what_would_end_the_program_ends_the_plugins_own_task_and_names_the_plugin(
    tmp_path: Path, loop: str
) -> None:
    site = installed(tmp_path, Path(lifeless_plugin.__file__), lifeless="Lifeless")
    with serving(tmp_path / "server", {"plugins.enabled": ["lifeless"], "server.loop": loop}, site) as server:
        async with connected(server.url) as socket:
            for name, status in (("exit", "3"), ("interrupt", "interrupt"), ("interrupting", "interrupt")):
                assert (await socket.ask(f"lifeless.{name}"))["type"] == "accepted"
                refused = await server.until_logged("exit_refused", status=status, plugin="lifeless")
                assert "hostile_package.py:" in refused["at"]
                assert (await socket.ask("ping"))["type"] == "pong"
            assert (await socket.ask("lifeless.give_up"))["type"] == "accepted"
            assert (await socket.ask("ping"))["type"] == "pong"
        server.terminate()
        server.logged("draining")


async def test_neither_exits_nor_deaf_lifespans_of_plugins_rule_over_the_process(tmp_path: Path) -> None:
    site = installed(tmp_path, Path(lifeless_plugin.__file__), lifeless="Lifeless", stillborn="Stillborn")
    settings = {"plugins.enabled": ["lifeless", "stillborn"], "plugins.start_timeout": 0.3, "server.loop": "uvloop"}
    with serving(tmp_path / "server", settings, site) as server:
        waited = server.logged("plugin_opens_slowly")
        off = server.logged("plugin_off")
        async with connected(server.url) as socket:
            for name in ("exit", "callback"):
                assert (await socket.ask(f"lifeless.{name}"))["type"] == "accepted"
                await server.until_logged("exit_refused", status="3")
                assert (await socket.ask("ping"))["type"] == "pong"
        server.terminate()
        server.logged("draining")
        begun = time.monotonic()
        server.terminate()
        await asyncio.to_thread(server.wait)
        seconds = time.monotonic() - begun
    assert (waited["plugin"], off["plugin"]) == ("stillborn", "stillborn")
    assert "it was not open within 0.3 s at" in off["reason"]
    assert "hostile_package.py" in off["reason"]
    assert server.logged("stop_forced")
    assert seconds < 8
