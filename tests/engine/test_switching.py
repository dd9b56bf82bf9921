"""Changing plugins and settings of a running server: the whole change, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.api import HttpRequest, PluginContext, Route, Upgrade, WebSocket
from engine.api.errors import Conflict, EngineError, NotFound
from engine.config import load
from engine.loader.find import Installed, given_plugins, installed_plugins
from engine.main import Engine
from engine.switching import Refused
from tests.engine.loader.kit import call, plugin, route
from tests.engine.slow_plugin import Slow
from tests.journeys.client import connected
from tests.journeys.echo_plugin import Echo
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


def fails(context: PluginContext) -> Any:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise RuntimeError("the cable is out")
        yield

    return [lifespan()]


@asynccontextmanager
async def never_opens() -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


Thing = plugin(
    "thing", register_routes=lambda _: [route("/api/v1/thing")], register_commands=lambda _: [call("thing.do")]
)
Broken = plugin("broken", register_lifespan=fails)


class Gate:
    """What plugin `slow_to_open` waits for; counts how often it began to open and was closed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.begun, self.closed = 0, 0
        self.waits, self.opens = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.begun += 1
        self.waits.set()
        await self.opens.wait()
        yield
        self.closed += 1


GATE = Gate()
Stuck = plugin("stuck", register_lifespan=lambda _: [never_opens()])
SlowToOpen = plugin(
    "slow_to_open",
    register_lifespan=lambda _: [GATE.lifespan()],
    register_routes=lambda _: [route("/api/v1/slow_to_open")],
)
SlowAndNeedy = plugin("slow_and_needy", requires=("thing",), register_lifespan=lambda _: [GATE.lifespan()])
Needy = plugin("needy", requires=("thing",))
Thief = plugin("thief", register_routes=lambda _: [route("/api/v1/thing")])


def all_of_them() -> dict[str, Installed]:
    chat = {name: found for name, found in installed_plugins().items() if name in ("chat", "openai_api")}
    return {**chat, **given_plugins(Slow, Thing, Broken, Stuck, SlowToOpen, SlowAndNeedy, Needy, Thief, Echo)}


@asynccontextmanager
async def running(folder: Path, *enabled: str, **settings: Any) -> AsyncIterator[Engine]:
    Slow.made.clear()
    base = {
        "plugins.enabled": list(enabled),
        "plugins.switches": str(folder / "switches.toml"),
        "models.default": "slow/slow-1",
    }
    async with engine_inside(folder, {**base, **settings}, installed=all_of_them()) as engine:
        yield engine


async def status(engine: Engine, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{engine.port}{path}") as response:
        return response.status, await response.json()


def standing(engine: Engine) -> dict[str, str]:
    return {name: engine.plugins.state(part) for name, part in engine.loader.parts.items()}


async def closed(engine: Engine) -> None:
    """Return when no plugin is closing."""
    await asyncio.gather(*engine.plugins._closing)


async def test_routes_and_commands_appear_and_vanish(tmp_path: Path) -> None:
    async with running(tmp_path, "chat") as engine, connected(f"http://127.0.0.1:{engine.port}") as socket:
        before = await status(engine, "/api/v1/thing")
        await engine.plugins.switch("thing", True)
        on = await status(engine, "/api/v1/thing")
        answered = await socket.ask("thing.do")
        document = (await status(engine, "/openapi.json"))[1]
        await engine.plugins.switch("thing", False)
        after = await status(engine, "/api/v1/thing")
        refused = await socket.ask("thing.do")
    assert (before[0], before[1]["code"]) == (404, "feature_disabled")
    assert on == (200, {"path": "/api/v1/thing"})
    assert answered["type"] == "accepted"
    assert "/api/v1/thing" in document["paths"]
    assert (after[0], after[1]["code"], refused["error"]["code"]) == (404, "feature_disabled", "feature_disabled")


async def test_a_socket_of_a_plugin_that_goes_is_closed_with_the_reason(tmp_path: Path) -> None:
    async def hold(socket: WebSocket) -> None:
        while await socket.receive() is not None:
            await socket.send("here")

    async def upgrade(request: HttpRequest[Any, Any]) -> Upgrade:
        return Upgrade(hold)

    held = Route(method="GET", path="/api/v1/held", handler=upgrade, socket=True)
    found = {**all_of_them(), **given_plugins(plugin("held", register_routes=lambda _: [held]))}
    settings = {"plugins.enabled": ["chat", "held"], "server.drain": 0.05}
    async with (
        engine_inside(tmp_path, settings, installed=found) as engine,
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
        http.ws_connect("/api/v1/held") as socket,
    ):
        await socket.send_str("Who is there?")
        assert await socket.receive_str() == "here"
        await engine.plugins.switch("held", False)
        end = await socket.receive()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/api/v1/held")
        await closed(engine)
        assert (end.type, end.data, refused.value.status) == (aiohttp.WSMsgType.CLOSE, 1001, 404)
        assert "held" in str(end.extra)
        assert standing(engine)["held"] == "off"


async def test_what_runs_finishes_while_new_work_is_refused_by_name(tmp_path: Path) -> None:
    async with running(tmp_path, "chat", "slow") as engine, connected(f"http://127.0.0.1:{engine.port}") as socket:
        [slow] = Slow.made
        assert slow.provider is not None
        heard = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(heard.stream, "tick ")
        await engine.plugins.switch("slow", False)
        closing, uses = standing(engine)["slow"], engine.plugins.running("slow")
        refused = await socket.ask("chat.send", input="Go", model="slow/slow-1")
        open_while_running = slow.open
        slow.provider.go.set()
        end = await socket.end_of(heard.stream)
        await closed(engine)
        assert (closing, uses) == ("closing", 1)
        assert refused["error"]["code"] == "feature_disabled"
        assert (heard.text, end["status"], end["saved"]) == ("tick tock", "completed", True)
        assert (open_while_running, slow.open, standing(engine)["slow"]) == (True, False, "off")


async def test_what_outlasts_the_limit_is_ended_with_the_reason(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "chat", "slow", **{"server.drain": 0.05}) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        heard = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(heard.stream, "tick ")
        await engine.plugins.switch("slow", False)
        end = await socket.end_of(heard.stream)
        await closed(engine)
    assert (end["status"], end["error"]["code"], end["saved"]) == ("failed", "feature_disabled", True)
    assert "'slow' was switched off" in end["error"]["message"]
    assert not Slow.made[0].open


async def test_turns_of_a_command_that_goes_are_ended_too(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "chat", "slow", **{"server.drain": 0.05}) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        heard = await socket.chat("Go", model="slow/slow-1")
        await socket.text_of(heard.stream, "tick ")
        await engine.plugins.switch("chat", False)
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["reason"], end["error"]["code"]) == ("failed", "shutdown", "feature_disabled")


async def test_a_plugin_that_comes_back_is_a_fresh_one(tmp_path: Path) -> None:
    async with running(tmp_path, "chat", "slow") as engine:
        await engine.plugins.switch("slow", False)
        await engine.plugins.switch("slow", True)
        first, second = Slow.made
    assert first is not second
    assert not first.open


async def test_others_are_switched_while_one_opens(tmp_path: Path) -> None:
    GATE.reset()
    async with running(tmp_path, "chat", "slow") as engine:
        opening = asyncio.create_task(engine.plugins.switch("slow_to_open", True))
        await GATE.waits.wait()
        await engine.plugins.switch("thing", True)
        assert (await status(engine, "/api/v1/thing"))[0] == 200
        await engine.plugins.switch("slow", False)
        await engine.plugins.switch("thing", False)
        assert not opening.done()
        off_again = asyncio.create_task(engine.plugins.switch("slow_to_open", False))
        GATE.opens.set()
        assert (await opening).started == ("slow_to_open",)
        assert (await off_again).stopped == ("slow_to_open",)
        await closed(engine)
        assert GATE.begun == GATE.closed
        assert {name for name, state in standing(engine).items() if state == "on"} == {"chat"}


async def test_a_plugin_opens_once_where_nobody_switches_meanwhile_and_twice_at_the_same_time_never(
    tmp_path: Path,
) -> None:
    GATE.reset()
    async with running(tmp_path, "chat") as engine:
        both = [asyncio.create_task(engine.plugins.switch("slow_to_open", True)) for _ in range(2)]
        await GATE.waits.wait()
        GATE.opens.set()
        changes = await asyncio.gather(*both)
        assert sorted(len(change.started) for change in changes) == [0, 1]
        assert (GATE.begun, GATE.closed) == (1, 0)
        assert (await status(engine, "/api/v1/slow_to_open"))[0] == 200


async def test_a_caller_that_leaves_while_a_plugin_opens_leaves_nothing_behind(tmp_path: Path) -> None:
    GATE.reset()
    async with running(tmp_path, "chat") as engine:
        opening = asyncio.create_task(engine.plugins.switch("slow_to_open", True))
        await GATE.waits.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await engine.plugins.switch("thing", True)
        assert standing(engine)["slow_to_open"] == "off"


async def test_a_plugin_that_needs_one_that_went_while_it_opened_is_refused(tmp_path: Path) -> None:
    GATE.reset()
    async with running(tmp_path, "chat", "thing") as engine:
        opening = asyncio.create_task(engine.plugins.switch("slow_and_needy", True))
        await GATE.waits.wait()
        await engine.plugins.switch("thing", False)
        GATE.opens.set()
        with pytest.raises(Refused, match="needs the plugin 'thing'"):
            await opening
        assert GATE.begun == GATE.closed == 1
        assert standing(engine)["slow_and_needy"] == "off"


async def test_the_others_are_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path, "chat", "slow") as engine:
        chat = engine.loader.parts["chat"].plugin
        await engine.plugins.switch("thing", True)
        assert engine.loader.parts["chat"].plugin is chat
        assert [slow.open for slow in Slow.made] == [True]


@pytest.mark.parametrize(
    ("name", "enabled", "settings", "error", "words"),
    [
        ("thign", True, {}, NotFound, "did you mean 'thing'?"),
        ("broken", True, {}, Refused, "plugin 'broken' did not start: RuntimeError: the cable is out"),
        (
            "stuck",
            True,
            {"plugins.start_timeout": 0.1},
            Refused,
            "plugin 'stuck' did not start: it was not open within 0.1 s at",
        ),
        ("needy", True, {"plugins.enabled": ["chat", "slow"]}, Refused, "needs the plugin 'thing', which is off"),
        ("thief", True, {}, Refused, "both claim the route"),
        ("thing", False, {"plugins.enabled": ["chat", "thing", "needy"]}, Refused, "is needed by needy"),
        ("thing", False, {"plugins.required": ["thing"]}, Refused, "stands in [plugins] required"),
    ],
)
async def test_a_refused_switch_says_why_and_changes_nothing(
    tmp_path: Path, name: str, enabled: bool, settings: dict[str, Any], error: type[EngineError], words: str
) -> None:
    async with running(tmp_path, "chat", "slow", "thing", **settings) as engine:
        before, opened = standing(engine), [slow.open for slow in Slow.made]
        with pytest.raises(error, match=words.replace("[", r"\[").replace("?", r"\?")):
            await engine.plugins.switch(name, enabled)
        assert standing(engine) == before
        assert [slow.open for slow in Slow.made][: len(opened)] == opened
        if before["thing"] == "on":
            assert (await status(engine, "/api/v1/thing"))[0] == 200


async def test_switching_under_load_loses_no_event(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "chat", "echo", **{"models.default": "echo/echo-1"}) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        url = f"http://127.0.0.1:{engine.port}/api/v1/admin/plugins/thing"
        words = " ".join(f"w{at}" for at in range(30))
        async with aiohttp.ClientSession() as http:
            for enabled in (True, False) * 10:
                turns = [await socket.chat(words) for _ in range(10)]
                async with http.put(url, json={"enabled": enabled}) as response:
                    assert response.status == 200
                for heard in turns:
                    end = await socket.end_of(heard.stream)
                    assert (heard.text.strip(), end["status"], end["saved"]) == (words, "completed", True)


async def test_a_switch_that_is_kept_holds_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "betterai.toml").write_text(
        f'[plugins]\nenabled = ["chat", "slow"]\nswitches = "{tmp_path}/switches.toml"\n', encoding="utf-8"
    )
    environ = {
        "BETTERAI__SERVER__PORT": "0",
        "BETTERAI__DATABASES__DEFAULT": f"sqlite+aiosqlite:///{tmp_path}/betterai.db",
        "BETTERAI__LOG__LEVEL": "critical",
    }

    async def begun() -> Engine:
        engine = Engine(load(tmp_path / "betterai.toml", environ), all_of_them())
        await engine.start()
        return engine

    engine = await begun()
    await engine.plugins.switch("thing", True, persist=True)
    await engine.plugins.switch("slow", False, persist=True)
    await engine.stop(0)
    again = await begun()
    states = standing(again)
    await again.plugins.switch("slow", True, persist=True)
    await again.stop(0)
    assert (states["thing"], states["slow"], states["chat"]) == ("on", "off", "on")
    written = (tmp_path / "switches.toml").read_text(encoding="utf-8")
    assert 'enable = ["slow", "thing"]\ndisable = []' in written


async def test_a_switch_that_the_environment_would_undo_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path, "chat") as engine:
        with pytest.raises(Conflict, match="BETTERAI__PLUGINS__ENABLED says which plugins are on"):
            await engine.plugins.switch("thing", True, persist=True)
        assert standing(engine)["thing"] == "off"
        await engine.plugins.switch("thing", True)
        with pytest.raises(Conflict, match="BETTERAI__PLUGINS__ENABLED says which plugins are on"):
            await engine.plugins.switch("thing", False, persist=True)


async def test_a_reload_takes_over_settings_and_tells_what_waits(tmp_path: Path) -> None:
    file = tmp_path / "betterai.toml"

    def write(word: str, more: str = "") -> None:
        file.write_text(
            f'[plugins]\nenabled = ["chat", "slow"]\n[plugins.slow]\nword = "{word}"\n{more}', encoding="utf-8"
        )

    write("tick")
    environ = {
        "BETTERAI__SERVER__PORT": "0",
        "BETTERAI__DATABASES__DEFAULT": f"sqlite+aiosqlite:///{tmp_path}/betterai.db",
        "BETTERAI__LOG__LEVEL": "critical",
        "BETTERAI__PLUGINS__SWITCHES": f"{tmp_path}/switches.toml",
    }
    engine = Engine(load(file, environ), all_of_them())
    await engine.start()
    try:
        chat = engine.loader.parts["chat"].plugin
        write("tack", '[models]\naliases = { quick = "slow/slow-1" }\n[server]\nmailbox = 9\n')
        async with aiohttp.ClientSession() as http:
            async with http.post(f"http://127.0.0.1:{engine.port}/api/v1/admin/reload") as response:
                told = await response.json()
            async with connected(f"http://127.0.0.1:{engine.port}") as socket:
                heard = await socket.chat("Go", model="quick")
                await socket.text_of(heard.stream, "tack ")
                provider = Slow.made[-1].provider
                assert provider is not None
                provider.go.set()
                await socket.end_of(heard.stream)
            write("tack", "[models]\nretries = -1\n")
            async with http.post(f"http://127.0.0.1:{engine.port}/api/v1/admin/reload") as response:
                refused = response.status, await response.json()
        assert (told["started"], told["stopped"], told["restart"]) == (["slow"], ["slow"], ["server.mailbox"])
        assert {"key": "plugins.slow.word", "before": "tick", "after": "tack"} in told["changed"]
        assert engine.loader.parts["chat"].plugin is chat
        assert (refused[0], refused[1]["code"]) == (409, "conflict")
        assert "models.retries" in refused[1]["detail"]
    finally:
        await engine.stop(0)
