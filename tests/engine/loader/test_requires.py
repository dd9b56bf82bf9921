"""Plugins that need others: they start after them, and are off where one of them is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.api.plugin import Plugin
from engine.loader.find import given_plugins
from engine.loader.gathered import Clash
from engine.loader.load import Loader, RequiredPluginFailed
from tests.engine.loader.kit import config_of, engine_of, health, loaded, plugin, refuse, running


@asynccontextmanager
async def raising_on_entry() -> AsyncIterator[None]:
    raise RuntimeError("no luck today")
    yield


def reasons(loader: Loader) -> dict[str, str | None]:
    return {name: part.reason for name, part in loader.parts.items() if not part.on}


async def test_a_plugin_starts_after_those_it_requires_whatever_the_order_of_the_list(tmp_path: Path) -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def noted(name: str) -> AsyncIterator[None]:
        opened.append(name)
        yield
        opened.append(f"-{name}")

    def noting(name: str, *requires: str) -> type[Plugin]:
        return plugin(name, requires=requires, register_lifespan=lambda context: [noted(name)])

    async with running(tmp_path, noting("top", "middle"), noting("middle", "base"), noting("base"), noting("aside")):
        assert opened == ["base", "middle", "top", "aside"]
    assert opened[4:] == ["-aside", "-top", "-middle", "-base"]


def test_a_plugin_that_is_not_installed_is_missed_by_name(tmp_path: Path) -> None:
    loader = loaded(config_of(tmp_path, []), plugin("top", requires=["ghost"]))
    assert reasons(loader) == {"top": "needs the plugin 'ghost', which is not installed"}


def test_a_plugin_that_is_not_enabled_is_missed_and_the_remedy_told(tmp_path: Path) -> None:
    loader = loaded(config_of(tmp_path, []), plugin("top", requires=["base"]), plugin("base"), enabled=["top"])
    assert reasons(loader)["top"] == "needs the plugin 'base', which is off: add it to [plugins] enabled"


def test_a_failure_passes_up_the_whole_chain_with_its_cause(tmp_path: Path) -> None:
    plugins = [
        plugin("top", requires=["middle"]),
        plugin("middle", requires=["base"]),
        plugin("base", requires=["gone"]),
    ]
    loader = loaded(config_of(tmp_path, []), *plugins, plugin("aside"))
    assert set(reasons(loader)) == {"top", "middle", "base"}
    assert str(reasons(loader)["top"]).endswith("needs the plugin 'gone', which is not installed")


@pytest.mark.parametrize(
    "hooks",
    [
        {"register_tools": refuse},
        {"register_tables": refuse},
        {"register_lifespan": lambda context: [raising_on_entry()]},
    ],
    ids=["gathering", "tables", "lifespan"],
)
async def test_a_failure_at_any_later_step_takes_dependents_along(hooks: dict[str, Any], tmp_path: Path) -> None:
    base = plugin("base", **hooks)
    async with running(tmp_path, plugin("top", requires=["base"]), base, plugin("aside")) as engine:
        assert engine.features == ("aside",)
        lines = await health(engine)
        assert "needs the plugin 'base', which is off" in lines["top"][1]
        assert "no luck today" in lines["top"][1]


async def test_a_required_dependent_stops_the_start_when_its_base_fails(tmp_path: Path) -> None:
    top = plugin("top", requires=["base"])
    base = plugin("base", register_lifespan=lambda context: [raising_on_entry()])
    with pytest.raises(RequiredPluginFailed, match=r"'top' is required and needs the plugin 'base'.*no luck today"):
        await engine_of(tmp_path, top, base, required=["top"]).start()


def test_a_circle_is_told_link_by_link(tmp_path: Path) -> None:
    plugins = [plugin("a", requires=["b"]), plugin("b", requires=["c"]), plugin("c", requires=["a"])]
    with pytest.raises(Clash, match="a -> b -> c -> a"):
        loaded(config_of(tmp_path, []), *plugins)


def test_a_plugin_that_requires_itself_is_a_circle(tmp_path: Path) -> None:
    with pytest.raises(Clash, match="a -> a"):
        loaded(config_of(tmp_path, []), plugin("a", requires=["a"]))


def test_a_circle_of_plugins_that_are_off_anyway_stops_nothing(tmp_path: Path) -> None:
    plugins = [plugin("a", requires=["b"]), plugin("b", requires=["a", "ghost"]), plugin("c")]
    loader = Loader(given_plugins(*plugins), ["a", "b", "c"], ())
    loader.load(config_of(tmp_path, []))
    assert loader.off == ["a", "b"]
