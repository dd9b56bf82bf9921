"""A plugin that fails is off and says why; the others serve. Where it is required, nothing starts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from sqlalchemy import MetaData
from structlog.testing import capture_logs

from engine.api.data import Tables
from engine.api.errors import ModelUnavailable, UnknownCommand
from engine.api.hooks import hookimpl
from engine.api.identity import LOCAL
from engine.api.plugin import Health, HealthCheck, Plugin, SettingsTable
from engine.loader.find import Installed, given_plugins
from engine.loader.load import Loader, RequiredPluginFailed
from engine.testing.providers import ScriptedProvider
from engine.wire.hiding import without_places
from tests.engine.loader.kit import (
    call,
    config_of,
    engine_of,
    get,
    health,
    loaded,
    plugin,
    refuse,
    route,
    running,
    tool,
)


class Sized(SettingsTable):
    """Settings that can be wrong."""

    size: int = Field(1, ge=1)
    mode: str = Field("known", pattern="^known$")


class Raises(Plugin):
    """A plugin that cannot be made."""

    name = "bad"

    def __init__(self) -> None:
        raise RuntimeError("no luck today")


class Forgetful(Plugin):
    """A plugin one of whose hooks is not marked."""

    name = "forgetful"

    def register_tools(self, context: Any) -> list[Any]:
        return []

    @hookimpl
    def register_routes(self, context: Any) -> list[Any]:
        return []


class CannotSay(ScriptedProvider):
    """A provider whose answer is none."""

    async def stream(self, request: Any) -> Any:  # type: ignore[override]
        return []


class Silent:
    """A provider that does not say whether it can serve."""

    role, name = "chat", "silent"


class Misspelt(Plugin):
    """A plugin with a hook that does not exist."""

    name = "bad"

    @hookimpl
    def register_route(self) -> list[Any]:
        return []


class WrongArgument(Plugin):
    """A plugin that asks its hook for what is not given."""

    name = "bad"

    @hookimpl
    def register_routes(self, app: Any) -> list[Any]:
        return []


class Nameless(Plugin):
    """A plugin that was found under a name it does not bear."""


class NoPlugin:
    """A class of its own kind."""

    name = "bad"


def import_fails() -> type[Plugin]:
    raise ModuleNotFoundError("No module named 'acme_sdk'", name="acme_sdk")


def found(load: Callable[[], Any]) -> Mapping[str, Installed]:
    """Two installed plugins: one that is loaded by the function, and a good one."""
    good = given_plugins(plugin("good", register_routes=lambda context: [route("/api/v1/good")]))
    return {"bad": Installed("bad", "test", load), **good}


@asynccontextmanager
async def raising_on_entry() -> AsyncIterator[None]:
    raise RuntimeError("no luck today")
    yield


def bad(**hooks: Callable[[Any], Any]) -> Callable[[], type[Plugin]]:
    return lambda: plugin("bad", **hooks)


FAILURES: dict[str, tuple[Callable[[], Any], str]] = {
    "its import fails": (import_fails, "No module named 'acme_sdk'"),
    "it is no plugin": (lambda: NoPlugin, "no subclass of engine.api.Plugin"),
    "it is no class": (lambda: "plugin", "no subclass of engine.api.Plugin"),
    "it has no name": (lambda: Nameless, "the class is named None, its entry point 'bad'"),
    "it has another name": (lambda: plugin("other"), "the class is named 'other', its entry point 'bad'"),
    "its constructor raises": (lambda: Raises, "RuntimeError: no luck today"),
    "its Settings are no model": (lambda: plugin("bad", settings=dict), "Settings is no pydantic model"),
    "it requires a text": (lambda: plugin("bad", requires="good"), "requires is a list of names, not 'good'"),
    "its hook asks for a wrong argument": (lambda: WrongArgument, "Argument(s) {'app'} are declared"),
    "its hook does not exist": (lambda: Misspelt, "no hook 'register_route'; did you mean 'register_routes'?"),
    "its settings hook raises": (lambda: plugin("bad", tables=lambda: refuse(None)), "no luck today"),  # type: ignore[arg-type]
    "its settings have no table": (lambda: plugin("bad", tables=lambda: [Sized]), "a list with 'Sized' in it"),
    "its tables are none": (bad(register_tables=lambda context: ["notes"]), "each of it is Tables"),
    "its hook raises": (bad(register_routes=refuse), "register_routes failed: RuntimeError: no luck today"),
    "its hook returns nothing": (
        bad(register_tools=lambda context: None),
        "register_tools failed: it returned nothing",
    ),
    "its hook returns one thing": (bad(register_tools=lambda context: tool("t")), "it returned 'Tool'"),
    "its hook returns a text": (bad(register_commands=lambda context: "say"), "it returned 'str'"),
    "its hook returns other things": (bad(register_routes=lambda context: [tool("t")]), "a list with 'Tool' in it"),
    "its provider is a class": (bad(register_providers=lambda context: [ScriptedProvider]), "'ScriptedProvider' in it"),
    "its provider is silent": (bad(register_providers=lambda context: [Silent()]), "has no `unavailable`"),
    "its provider cannot stream": (
        bad(register_providers=lambda context: [CannotSay()]),
        "is a coroutine function; it is an `async def` with `yield`",
    ),
    "its hook is async": (bad(register_tools=lambda context: asyncio.sleep(0)), "hooks are not async"),
    "its migrations are nowhere": (
        bad(register_tables=lambda context: [Tables(MetaData(), Path("/nowhere"))]),
        "bad has no folder of migrations at",
    ),
    "its address is none": (bad(register_routes=lambda context: [route("api/v1/bad")]), "which is no address"),
    "it brings one tool twice": (
        bad(register_tools=lambda context: [tool("t"), tool("t")]),
        "it brings the tool 't' twice",
    ),
    "its lifespan raises": (bad(register_lifespan=lambda context: [raising_on_entry()]), "RuntimeError: no luck today"),
    "its lifespan is not called": (
        bad(register_lifespan=lambda context: [raising_on_entry]),
        "each of it is an async context manager",
    ),
}


@pytest.mark.parametrize(("load", "reason"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_plugin_that_fails_is_off_and_says_why(load: Callable[[], Any], reason: str, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running(tmp_path, installed=found(load)) as engine:
            assert engine.features == ("good",)
            lines = await health(engine)
            assert await get(engine, "/api/v1/good") == (200, {"path": "/api/v1/good"})

    assert lines["status"] == ("degraded", "")
    state, detail = lines["bad"]
    assert state == "degraded"
    assert reason in detail
    [told] = [line["reason"] for line in logs if line["event"] == "plugin_off"]
    assert without_places(told) == detail
    assert re.search(r"\w+\.py:\d+\)?$|entry point is that of test\)$", told)
    assert "/engine/" not in told.replace("/tests/engine/", "")


def test_a_method_with_the_name_of_a_hook_and_without_its_mark_is_told(tmp_path: Path) -> None:
    with capture_logs() as logs:
        loader = loaded(config_of(tmp_path, ["forgetful"]), Forgetful)
    [told] = [line for line in logs if line["event"] == "hook_not_marked"]
    line = Forgetful.register_tools.__code__.co_firstlineno
    assert (told["plugin"], told["method"]) == ("forgetful", f"register_tools at {__file__}:{line}")
    assert loader.parts["forgetful"].on


def test_a_module_that_is_missing_is_named_with_what_to_install(tmp_path: Path) -> None:
    loader = Loader(found(import_fails), ["bad", "good"], ())
    loader.load(config_of(tmp_path, ["bad", "good"]))
    reason = loader.parts["bad"].reason
    assert reason is not None
    line = import_fails.__code__.co_firstlineno + 1
    assert "mostly by `pip install acme_sdk`" in reason and f"({__file__}:{line})" in reason


@pytest.mark.parametrize("load", [load for load, _ in FAILURES.values()], ids=FAILURES.keys())
async def test_a_required_plugin_that_fails_stops_the_start(load: Callable[[], Any], tmp_path: Path) -> None:
    engine = engine_of(tmp_path, required=["bad"], installed=found(load))
    with pytest.raises(RequiredPluginFailed, match="plugin 'bad' is required and"):
        await engine.start()
    assert not any(database.is_open for database in engine.databases)


async def test_wrong_values_switch_a_plugin_off_and_are_all_told(tmp_path: Path) -> None:
    text = '[plugins.bad]\nsize = 0\nmode = "unknown key"\n'
    async with running(tmp_path, plugin("bad", settings=Sized), plugin("good"), text=text) as engine:
        assert engine.features == ("good",)
        _, detail = (await health(engine))["bad"]
        assert "plugins.bad.size (…:9): must be 1 or more, but is 0" in detail
        assert "plugins.bad.mode" in detail
        # The page is open to anybody; the operator is shown the file, too.
        told = {line.name: line.detail for line in await engine.checks()}
        assert f"plugins.bad.size ({tmp_path}/betterai.toml:9): must be" in told["bad"]


async def test_a_reason_holds_no_secret(tmp_path: Path) -> None:
    def leak(context: Any) -> Any:
        raise RuntimeError("cannot reach https://user:hunter2@example.com/")

    async with running(tmp_path, plugin("bad", register_routes=leak)) as engine:
        assert "hunter2" not in str(await health(engine))


async def test_a_plugin_that_fails_late_takes_back_all_that_it_brought(tmp_path: Path) -> None:
    late = plugin(
        "late",
        register_routes=lambda context: [route("/api/v1/late")],
        register_commands=lambda context: [call("later.say")],
        register_tools=lambda context: [tool("late_tool")],
        register_providers=lambda context: [ScriptedProvider(name="late")],
        register_health_checks=lambda context: [HealthCheck("pulse", lambda: Health("ok"))],
        register_lifespan=lambda context: [raising_on_entry()],
    )
    async with running(tmp_path, late, plugin("good", register_tools=lambda context: [tool("good_tool")])) as engine:
        status, problem = await get(engine, "/api/v1/late")
        assert (status, problem["code"]) == (404, "feature_disabled")
        assert "the plugin 'late', which is enabled but failed; /health/ready says why" in problem["detail"]
        with pytest.raises(UnknownCommand):
            await engine.commands.call(LOCAL, "later.say", {})
        with pytest.raises(ModelUnavailable):
            engine.registry.get("chat", "late")
        assert list(engine.tools.table()) == ["good_tool"]
        assert list(await health(engine)) == ["status", "late"]


async def test_the_others_are_not_asked_again_when_one_fails_late(tmp_path: Path) -> None:
    asked: list[str] = []

    def tools(context: Any) -> list[Any]:
        asked.append("tools")
        return [tool("good_tool")]

    late = plugin("late", register_lifespan=lambda context: [raising_on_entry()])
    async with running(tmp_path, late, plugin("good", register_tools=tools)):
        assert asked == ["tools"]


async def test_what_a_plugin_opened_before_it_failed_is_closed(tmp_path: Path) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        told.append("opened")
        yield
        told.append("closed")

    late = plugin("late", register_lifespan=lambda context: [opened(), raising_on_entry()])
    async with running(tmp_path, late):
        assert told == ["opened", "closed"]


async def test_a_lifespan_that_raises_at_its_end_keeps_none_of_the_others_open(tmp_path: Path) -> None:
    told: list[str] = []

    @asynccontextmanager
    async def ends(name: str) -> AsyncIterator[None]:
        yield
        told.append(name)
        if name == "b":
            raise RuntimeError("no luck today")

    plugins = [plugin(name, register_lifespan=lambda context, name=name: [ends(name)]) for name in "abc"]
    with capture_logs() as logs:
        async with running(tmp_path, *plugins):
            pass
    assert told == ["c", "b", "a"]
    assert [line["plugin"] for line in logs if line["event"] == "plugin_did_not_close"] == ["b"]


@pytest.mark.parametrize("check", [lambda: refuse(None), lambda: None])  # type: ignore[arg-type]
async def test_a_health_check_that_fails_is_a_degraded_line(check: Callable[[], Any], tmp_path: Path) -> None:
    sick = plugin("sick", register_health_checks=lambda context: [HealthCheck("pulse", check)])
    async with running(tmp_path, sick) as engine:
        state, detail = (await health(engine))["sick.pulse"]
        assert state == "degraded"
        assert detail.startswith("the check itself failed: ")


async def test_an_import_that_fails_is_told_without_a_traceback_and_a_bug_with_one(tmp_path: Path) -> None:
    with capture_logs() as logs:
        engine_of(tmp_path, installed=found(import_fails)).prepare_plugins()
        engine_of(tmp_path, installed=found(lambda: Raises)).prepare_plugins()
    assert [line["exc_info"] is None for line in logs if line["event"] == "plugin_off"] == [True, False]
