"""A wrong value of one vendor costs that vendor, and is named wherever somebody looks for the reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.api import SettingsTable
from engine.config import ConfigErrors, load
from engine.loader.find import installed_plugins
from engine.loader.load import Loader
from engine.loader.salvage import salvaged
from engine.main import Engine
from plugins.vendors.settings import CompatibleSettings, OpenAISettings

UNSET = '[vendors.openai]\napi_key = "${env:BETTERAI_TEST_NO_SUCH_KEY}"\n'


@asynccontextmanager
async def serving(folder: Path, text: str, environ: dict[str, str] | None = None) -> AsyncIterator[Engine]:
    file = folder / "betterai.toml"
    file.write_text(
        f'[server]\nport = 0\n[databases]\ndefault = "sqlite+aiosqlite:///{folder}/betterai.db"\n'
        f'[plugins]\nenabled = ["chat", "openai_api", "tts", "audio"]\n{text}'
    )
    engine = Engine(load(file, environ or {}), installed_plugins())
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(0)


async def get(engine: Engine, path: str) -> Any:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http, http.get(path) as answer:
        return await answer.json()


def reason_of(engine: Engine, role: Any, name: str) -> str:
    return engine.registry.providers()[role, name].unavailable or ""


@pytest.mark.parametrize(
    ("text", "environ", "reason"),
    [
        (UNSET, {}, "environment variable BETTERAI_TEST_NO_SUCH_KEY is not set or empty"),
        ('[vendors.openai]\nbase_url = "not an address"\n', {}, "must be an address"),
        ("[vendors.openai]\napi_key = 7\n", {}, "must be a string"),
        ('[vendors.openai]\napi_key = "two words"\n', {}, "visible ASCII"),
        ('[vendors.openai]\napi_key = "${file:/nowhere/key}"\n', {}, "the file that it names cannot be used"),
        ('[vendors.openai]\nproject = ""\n', {}, "match pattern"),
        ("", {"OPENAI_BASE_URL": "10.0.0.7:8000"}, "must be an address"),
        ("[vendors]\nopenai = 3\n", {}, "must be a table"),
    ],
)
async def test_one_wrong_value_costs_its_vendor_in_every_role_and_nothing_else(
    tmp_path: Path, text: str, environ: dict[str, str], reason: str
) -> None:
    async with serving(tmp_path, text, environ) as engine:
        assert engine.features == ("audio", "chat", "openai_api", "tts")
        for role in ("chat", "embedding", "speech", "transcription"):
            assert reason in reason_of(engine, role, "openai")
        assert "vendors.openai" not in reason_of(engine, "chat", "anthropic")
        health = await get(engine, "/health/ready")
        status = await get(engine, "/api/v1/admin/status")
    [line] = [each for each in health["checks"] if each["name"] == "vendors.openai"]
    assert (health["status"], line["state"]) == ("degraded", "degraded")
    assert reason in line["detail"]
    assert any(reason in each.get("reason", "") for each in status["providers"] if each["name"] == "openai")


async def test_what_clients_read_holds_no_path_and_no_given_value(tmp_path: Path) -> None:
    text = '[vendors.openai]\napi_key = "${file:/nowhere/key}"\nbase_url = "ftp://10.0.0.7"\n'
    async with serving(tmp_path, text) as engine:
        shown = f"{await get(engine, '/health/ready')} {await get(engine, '/api/v1/admin/status')}"
        problems = str(engine.loader.faults["vendors.openai"])
    assert "/nowhere" not in shown and "10.0.0.7" not in shown and str(tmp_path) not in shown
    assert "/nowhere" in problems


async def test_a_call_to_the_vendor_says_what_is_wrong(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, UNSET) as engine,
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
        http.post("/api/v1/chat", json={"input": "Hi", "model": "openai/gpt-5"}) as answer,
    ):
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (503, "model_unavailable")
    assert "BETTERAI_TEST_NO_SUCH_KEY is not set" in problem["detail"]


async def test_one_wrong_server_costs_that_server(tmp_path: Path) -> None:
    text = (
        '[vendors.compatible.servers.good]\nbase_url = "http://127.0.0.1:1/v1"\n'
        '[vendors.compatible.servers.bad]\nbase_url = "nowhere"\n'
        '[vendors.compatible.servers."keyed.one"]\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "${env:NO_SUCH_KEY}"\n'
        '[vendors.compatible.servers.openai]\nbase_url = "http://127.0.0.1:1/v1"\n'
    )
    async with serving(tmp_path, text) as engine:
        assert reason_of(engine, "chat", "good") == ""
        assert "must be an address" in reason_of(engine, "chat", "bad")
        assert "NO_SUCH_KEY is not set" in reason_of(engine, "embedding", "keyed.one")
        assert "OPENAI_API_KEY" in reason_of(engine, "chat", "openai")
        health = await get(engine, "/health/ready")
    [line] = [each for each in health["checks"] if each["name"] == "vendors.compatible"]
    assert "is taken" in line["detail"] and "must be an address" in line["detail"]


async def test_servers_that_are_no_table_cost_all_servers_and_no_plugin(tmp_path: Path) -> None:
    async with serving(tmp_path, "[vendors.compatible]\nservers = 3\n") as engine:
        assert "chat" in engine.features
        assert "must be a table" in str(engine.loader.faults)


async def test_an_unknown_key_of_a_vendor_still_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="api_kye"):
        async with serving(tmp_path, UNSET + 'api_kye = "k"\n'):
            pass


async def test_the_next_reload_takes_the_vendor_in_when_it_is_right(tmp_path: Path) -> None:
    async with serving(tmp_path, UNSET) as engine:
        file = tmp_path / "betterai.toml"
        file.write_text(file.read_text().replace("${env:BETTERAI_TEST_NO_SUCH_KEY}", "sk-right"))
        await engine.reload()
        assert reason_of(engine, "chat", "openai") == ""
        assert engine.loader.faults == {}
        health = await get(engine, "/health/ready")
    assert health["status"] == "ready"


async def test_the_log_names_table_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(tmp_path, UNSET):
        pass
    assert f"vendors.openai.api_key ({tmp_path}/betterai.toml:8)" in capsys.readouterr().out.replace("\n", "")


class Own(SettingsTable):
    """A table that its plugin cannot work without."""

    size: int = 1


def test_a_table_says_itself_what_a_wrong_value_costs(tmp_path: Path) -> None:
    file = tmp_path / "betterai.toml"
    file.write_text("[own]\nsize = 'x'\n[vendors.openai]\napi = 'x'\n[vendors.compatible]\nservers = {a = 1}\n")
    config = load(file, {})

    def outcome(name: str, model: type[SettingsTable]) -> SettingsTable | None:
        with pytest.raises(ConfigErrors) as wrong:
            config.table(name, model)
        return salvaged(config, name, model, wrong.value.errors)

    assert outcome("own", Own) is None
    vendor, servers = outcome("vendors.openai", OpenAISettings), outcome("vendors.compatible", CompatibleSettings)
    assert vendor is not None and list(vendor.faults) == [""]
    assert servers is not None and list(servers.faults) == ["a"]
    assert vendor != OpenAISettings.model_validate({}), "a vendor with a fault is another setting than one without"


def test_a_loader_reads_a_shared_table_once(tmp_path: Path) -> None:
    file = tmp_path / "betterai.toml"
    file.write_text(UNSET)
    loader = Loader(installed_plugins(), ["chat", "tts", "audio"], ())
    config = load(file, {})
    loader.load(config)
    loader.settings(config)
    assert (list(loader.faults), len(loader.faults["vendors.openai"]), loader.off) == (
        ["vendors.openai"],
        1,
        ["local", "openai_api", "realtime", "storage"],
    )
