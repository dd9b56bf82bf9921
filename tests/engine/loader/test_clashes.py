"""Two plugins that claim one name stop the start, which names both; at a switch the old tables stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.api.errors import UnknownCommand
from engine.api.identity import LOCAL
from engine.api.plugin import Plugin, SettingsTable
from engine.api.providers import ModelInfo
from engine.loader.gathered import Clash
from engine.testing.providers import ScriptedProvider
from tests.engine.loader.kit import call, engine_of, get, plugin, route, running, tool


class Mine(SettingsTable):
    """A table."""

    table = "vendors.acme"


class Theirs(SettingsTable):
    """Another class under the same name."""

    table = "vendors.acme"


class Server(SettingsTable):
    """A table that is the engine's."""

    table = "server"


def pair(hook: str, thing: Callable[[], Any]) -> tuple[type[Plugin], type[Plugin]]:
    """Two plugins that bring the same by one hook."""
    one = plugin("one", **{hook: lambda context: [thing()]})
    return one, plugin("two", **{hook: lambda context: [thing()]})


PAIRS: dict[str, tuple[tuple[type[Plugin], type[Plugin]], str]] = {
    "route": (pair("register_routes", lambda: route("/api/v1/x")), "'GET /api/v1/x'"),
    "command": (pair("register_commands", lambda: call("x.say")), "'x.say'"),
    "tool": (pair("register_tools", lambda: tool("x")), "'x'"),
    "provider": (pair("register_providers", lambda: ScriptedProvider(name="x")), "'chat x'"),
    "model": (pair("register_models", lambda: ModelInfo(id="x-1", provider="x")), "'x-1'"),
    "settings table": ((plugin("one", tables=lambda: [Mine]), plugin("two", tables=lambda: [Theirs])), "vendors.acme"),
}


@pytest.mark.parametrize(("plugins", "claimed"), PAIRS.values(), ids=PAIRS.keys())
async def test_two_plugins_with_one_name_stop_the_start(
    plugins: tuple[type[Plugin], type[Plugin]], claimed: str, tmp_path: Path
) -> None:
    engine = engine_of(tmp_path, *plugins)
    with pytest.raises(Clash) as clash:
        await engine.start()
    for part in ("'one'", "'two'", claimed):
        assert part in str(clash.value)
    assert not any(database.is_open for database in engine.databases)


async def test_addresses_that_differ_only_in_the_names_of_their_parameters_are_one(tmp_path: Path) -> None:
    one = plugin("one", register_routes=lambda context: [route("/api/v1/x/{id}")])
    two = plugin("two", register_routes=lambda context: [route("/api/v1/x/{name}")])
    with pytest.raises(Clash, match="'one' and by 'two'"):
        await engine_of(tmp_path, one, two).start()


@pytest.mark.parametrize(
    ("claimant", "claimed"),
    [
        (plugin("one", register_commands=lambda context: [call("stream.cancel")]), "stream.cancel"),
        (plugin("one", register_routes=lambda context: [route("/health/live")]), "/health/live"),
        (plugin("one", tables=lambda: [Server]), "[server]"),
    ],
)
async def test_what_is_the_engines_own_cannot_be_claimed(claimant: type[Plugin], claimed: str, tmp_path: Path) -> None:
    with pytest.raises(Clash) as clash:
        await engine_of(tmp_path, claimant).start()
    for part in ("'one'", "engine", claimed):
        assert part in str(clash.value)


async def test_one_role_and_name_may_be_another_in_another_role(tmp_path: Path) -> None:
    class Speaker(ScriptedProvider):
        role = "speech"

    one = plugin("one", register_providers=lambda context: [ScriptedProvider(name="acme"), Speaker(name="acme")])
    async with running(tmp_path, one) as engine:
        assert set(engine.registry.providers()) == {("chat", "acme"), ("speech", "acme")}


async def test_a_switch_replaces_routes_and_commands_whole(tmp_path: Path) -> None:
    version = ["a"]
    changing = plugin(
        "changing",
        register_routes=lambda context: [route(f"/api/v1/{version[0]}")],
        register_commands=lambda context: [call(f"say.{version[0]}")],
        register_tools=lambda context: [tool(version[0])],
    )
    async with running(tmp_path, changing) as engine:
        version[0] = "b"
        engine.swap()
        assert (await get(engine, "/api/v1/a"))[0] == 404
        assert (await get(engine, "/api/v1/b"))[0] == 200
        with pytest.raises(UnknownCommand):
            await engine.commands.call(LOCAL, "say.a", {})
        assert await engine.commands.call(LOCAL, "say.b", {}) == {"called": "say.b"}
        assert list(engine.tools.table()) == ["b"]


@pytest.mark.parametrize("clashing", ["register_routes", "register_commands", "register_providers", "register_models"])
async def test_a_clash_at_a_switch_leaves_the_old_tables(clashing: str, tmp_path: Path) -> None:
    version = ["a"]
    things: dict[str, Callable[[str], Any]] = {
        "register_routes": lambda name: route(f"/api/v1/{name}"),
        "register_commands": lambda name: call(f"say.{name}"),
        "register_providers": lambda name: ScriptedProvider(name=name),
        "register_models": lambda name: ModelInfo(id=f"{name}-1", provider=name),
    }

    def brings(hook: str, own: str) -> Callable[[Any], Any]:
        return lambda context: [things[hook](version[0] if hook != clashing or version[0] == "same" else own)]

    one = plugin("one", **{hook: brings(hook, "one") for hook in things})
    two = plugin("two", **{clashing: brings(clashing, "two")})
    async with running(tmp_path, one, two) as engine:
        before = engine.http and engine.http.routes, engine.supervisor.table, dict(engine.registry.providers())
        known = set(engine.registry.known())
        version[0] = "same"
        with pytest.raises(Clash):
            engine.swap()
        after = engine.http and engine.http.routes, engine.supervisor.table, dict(engine.registry.providers())
        assert after == before
        assert set(engine.registry.known()) == known
