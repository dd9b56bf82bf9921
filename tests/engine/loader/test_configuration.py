"""Names of plugins and tables in the configuration: a slip stops the start, what is merely off may stand there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import Field

from engine.api.plugin import SettingsTable
from engine.config import ConfigError, ConfigErrors
from engine.loader.find import given_plugins
from engine.main import Engine
from tests.engine.loader.kit import config_of, engine_of, plugin


class Sized(SettingsTable):
    """Settings of a plugin."""

    size: int = Field(1, ge=1)


class Vendor(SettingsTable):
    """A table that plugins share."""

    table = "vendors.acme"

    api_key: str = ""


def problems(folder: Path, enabled: list[str], text: str, required: list[str] | None = None) -> list[ConfigError]:
    """What is wrong with a file where a plugin `sized` and a plugin `vendor` are installed."""
    installed = given_plugins(plugin("sized", settings=Sized), plugin("vendor", tables=lambda: [Vendor]))
    config = config_of(folder, enabled, text, required or [])

    async def judge() -> None:
        Engine(config, installed).prepare_plugins()

    try:
        asyncio.run(judge())
    except ConfigErrors as found:
        return list(found.errors)
    return []


def test_an_enabled_plugin_that_is_not_installed_is_named_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["sizd"], "")
    assert (problem.key, problem.origin, problem.nearest) == ("plugins.enabled", f"{tmp_path}/betterai.toml:6", "sized")
    assert "no plugin 'sizd' is installed; installed are sized, vendor" in str(problem)


def test_a_required_plugin_that_is_not_installed_is_named_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["sized"], "", ["vendr"])
    assert (problem.key, problem.nearest) == ("plugins.required", "vendor")


def test_a_required_plugin_that_is_not_enabled_is_a_contradiction(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["sized"], "", ["vendor"])
    assert "'vendor' is required but not enabled" in problem.message


def test_an_unknown_key_of_a_plugin_stops_the_start_and_is_named_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["sized"], "[plugins.sized]\nsiez = 2\n")
    assert (
        str(problem)
        == f"plugins.sized.siez ({tmp_path}/betterai.toml:9): unknown key; did you mean plugins.sized.size?"
    )


def test_an_unknown_key_beside_a_wrong_value_still_stops_the_start(tmp_path: Path) -> None:
    found = problems(tmp_path, ["sized"], "[plugins.sized]\nsize = 0\nsiez = 2\n")
    assert [problem.key for problem in found] == ["plugins.sized.size", "plugins.sized.siez"]


def test_unknown_keys_of_several_plugins_are_told_together(tmp_path: Path) -> None:
    text = "[plugins.sized]\nsiez = 2\n[vendors.acme]\napi_kye = 3\n"
    found = problems(tmp_path, ["sized", "vendor"], text)
    assert [problem.key for problem in found] == ["plugins.sized.siez", "vendors.acme.api_kye"]


def test_tables_of_installed_plugins_that_are_off_may_stand(tmp_path: Path) -> None:
    assert problems(tmp_path, [], "[plugins.sized]\nanything = 2\n[vendors.acme]\napi_key = 'k'\n") == []


def test_a_table_of_no_installed_plugin_is_named_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, [], "[plugins.sizd]\nsize = 2\n")
    assert (problem.key, problem.nearest) == ("plugins.sizd", "plugins.sized")


def test_a_vendor_that_no_plugin_knows_is_named_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["sized", "vendor"], "[vendors.acmee]\napi_key = 'k'\n")
    assert (problem.key, problem.nearest) == ("vendors.acmee", "vendors.acme")


def test_the_vendor_of_a_plugin_that_is_off_may_stand_beside_known_ones(tmp_path: Path) -> None:
    text = "[vendors.acme]\napi_key = 'k'\n[vendors.deepgram]\napi_key = 'k'\n"
    assert problems(tmp_path, ["vendor"], text) == []


def test_a_slip_in_the_name_of_a_known_vendor_is_told_though_others_are_off(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, ["vendor"], "[vendors.acmee]\napi_key = 'k'\n")
    assert (problem.key, problem.nearest) == ("vendors.acmee", "vendors.acme")


def test_a_table_that_nobody_owns_is_named_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, [], "[sever]\nport = 1\n")
    assert (problem.key, problem.nearest) == ("sever", "server")


async def test_a_plugin_enabled_twice_is_loaded_once(tmp_path: Path) -> None:
    installed = given_plugins(plugin("sized"))
    engine = Engine(config_of(tmp_path, ["sized", "sized"]), installed)
    engine.prepare_plugins()
    assert engine.features == ("sized",)


async def test_a_plugin_that_asks_for_settings_of_others_is_told_so(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, plugin("sized", settings=Sized))
    engine.prepare_plugins()
    context = engine.loader.parts["sized"].context
    assert context is not None
    assert context.settings(Sized).size == 1
    with pytest.raises(LookupError, match="'sized' asks for settings Vendor"):
        context.settings(Vendor)
