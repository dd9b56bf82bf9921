"""A configuration is judged whole: every mistake at once, and what a server that starts would lack."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.cli.judging import Verdict, judged
from engine.config import load

MANY = """
[server]
prot = 1
drain = "x"
cors_origins = ["not an origin"]
[sever]
port = 2
[auth]
secret = "short"
[plugins]
enabled = ["chat", "openai_api", "tts", "storage", "chta"]
[plugins.chat]
trimm = 2
[plugins.acme]
a = 1
[limits]
redis = "http://x"
[databases]
default = "mysql+foo://x"
[vendors.openai]
api_kye = "k"
"""


async def verdict(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Verdict:
    file = folder / "betterai.toml"
    file.write_text(text)
    return await judged(load(file, environ or {}))


async def test_a_variable_with_single_underscores_is_named_with_the_right_one(tmp_path: Path) -> None:
    text = '[plugins]\nenabled = ["chat"]\n[auth]\nsecret = "${env:BETTERAI_AUTH_SECRET}"\n'
    wrong = {
        "BETTERAI_SERVER_PORT": "BETTERAI__SERVER__PORT",
        "BETTERAI_SERVER_PROT": "BETTERAI__SERVER__PORT",
        "BETTERAI_PLUGINS_CHAT_CONTEXT": "BETTERAI__PLUGINS__CHAT__CONTEXT",
    }
    fine = (
        "BETTERAI_CONFIG",
        "BETTERAI_SERVER",
        "BETTERAI_KEY",
        "BETTERAI_SERVICE_HOST",
        "BETTERAI_SERVICE_PORT",
        "BETTERAI_X",
    )
    environ = {**dict.fromkeys((*wrong, *fine), "1"), "BETTERAI_AUTH_SECRET": "s" * 32}
    found = await verdict(tmp_path, text, environ)
    assert found.remarks == [f"environment variable {name} sets nothing; write {wrong[name]}" for name in sorted(wrong)]
    assert found.mistakes == []


async def test_a_secret_in_a_variable_that_no_setting_names_is_told(tmp_path: Path) -> None:
    found = await verdict(tmp_path, '[plugins]\nenabled = ["chat"]\n', {"BETTERAI_AUTH_SECRET": "s" * 32})
    assert found.remarks == ["environment variable BETTERAI_AUTH_SECRET sets nothing; write BETTERAI__AUTH__SECRET"]


async def test_mistakes_of_every_kind_are_named_together(tmp_path: Path) -> None:
    found = await verdict(tmp_path, MANY)
    assert {error.key: (error.origin or "").rpartition(":")[2] for error in found.mistakes} == {
        "server.prot": "3",
        "server.drain": "4",
        "server.cors_origins": "5",
        "sever": "6",
        "auth.secret": "9",
        "plugins.enabled": "11",
        "plugins.chat.trimm": "13",
        "plugins.acme": "14",
        "limits.redis": "17",
        "databases.default": "19",
        "vendors.openai.api_kye": "21",
    }


async def test_a_shipped_configuration_has_no_mistake(tmp_path: Path) -> None:
    found = await verdict(tmp_path, f'[databases]\ndefault = "sqlite+aiosqlite:///{tmp_path}/b.db"\n')
    assert found.mistakes == []
    assert found.lacking == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[models]\ndefault = "fasst"\n', "models.default ({file}:2): there is no model 'fasst'"),
        ('[models]\ndefault = "anthropic/claude-x"\n', "ANTHROPIC_API_KEY"),
        ('[models]\naliases = { quick = "nowhere/x" }\n', "models.aliases.quick ({file}:2): "),
        ('[models.fallbacks]\nlocal = ["gone"]\n', "models.fallbacks.local ({file}:2): there is no model 'gone'"),
        (
            '[plugins.storage]\nfolder = "/proc/x"\n',
            "plugins.storage.folder ({file}:2): the folder /proc/x cannot be made or written",
        ),
        ('[vendors.openai]\napi_key = "${env:NO_SUCH_KEY}"\n', "environment variable NO_SUCH_KEY is not set"),
        ('[plugins.tts]\nlocal_voice = "nosuch"\n', "plugins.tts.local_voice ({file}:2): there is no voice 'nosuch'"),
        ("[plugins.tts]\nlocal_voice = 3\n", "plugin tts is off: has settings that cannot be used"),
        (
            '[databases]\ndefault = "sqlite+aiosqlite:////proc/x/b.db"\n',
            "databases.default ({file}:2): the folder /proc/x",
        ),
    ],
)
async def test_what_a_server_would_lack_is_named_and_is_no_mistake(text: str, told: str, tmp_path: Path) -> None:
    found = await verdict(tmp_path, text)
    assert found.mistakes == []
    assert told.format(file=tmp_path / "betterai.toml") in "\n".join(found.lacking)


async def test_judging_writes_nothing(tmp_path: Path) -> None:
    await verdict(tmp_path, f'[plugins.storage]\nfolder = "{tmp_path}/objects"\n')
    assert not await asyncio.to_thread((tmp_path / "objects").exists)


async def test_wrong_bindings_and_a_wrong_value_beside_an_unknown_key_are_named_together(tmp_path: Path) -> None:
    text = '[server]\nhost = "0.0.0.0"\n[plugins.storage]\nquota = -1\nqota = 2\n'
    found = await verdict(tmp_path, text)
    assert [error.key for error in found.mistakes] == ["auth.mode", "plugins.storage.quota", "plugins.storage.qota"]


async def test_nothing_is_made_up_where_a_wrong_setting_is_left_out(tmp_path: Path) -> None:
    text = """
    [auth]
    mode = "keyz"
    [server]
    host = "0.0.0.0"
    [vendors.compatible.servers.acme]
    base_ulr = "http://127.0.0.1:1/v1"
    [models]
    default = "acme/large"
    aliases = { quick = "acme/small" }
    """
    found = await verdict(tmp_path, text)
    server = "vendors.compatible.servers.acme"
    assert {error.key for error in found.mistakes} == {"auth.mode", f"{server}.base_ulr", f"{server}.base_url"}
    assert not [line for line in found.lacking if line.startswith("[models]")]


async def test_mistakes_in_an_entry_of_the_catalogue_hide_no_other(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text('[[models]]\nid = "default"\n')
    text = f'[models]\ncatalogue = "{tmp_path}/more.toml"\n[plugins.storage]\nquotta = 1\n'
    found = await verdict(tmp_path, text)
    assert {error.key for error in found.mistakes} == {"models.default", "plugins.storage.quotta"}


async def test_a_setting_is_named_once_and_with_its_place(tmp_path: Path) -> None:
    found = await verdict(tmp_path, '[databases]\ndefault = "mysql+foo://x/y"\n[server]\nhost = "0.0.0.0"\n')
    told = {error.key: str(error) for error in found.mistakes}
    assert told["databases.default"].count("databases.default") == 1
    assert told["auth.mode"].startswith(f"auth.mode ({tmp_path}/betterai.toml:4): server.host =")


async def test_names_of_models_that_are_like_others_are_told_beside_what_brings_models(tmp_path: Path) -> None:
    text = (
        '[plugins]\nenabled = ["chat", "local", "chta"]\n'
        '[models]\ndefault = "gtp-5"\naliases = { fast = "locl" }\ncatalogue = "nofile.toml"\n'
        '[databases]\ndefault = "postgres://x@localhost/db"\n'
    )
    found = await verdict(tmp_path, text)
    file = tmp_path / "betterai.toml"
    assert [f"{error.key} {error.origin}" for error in found.mistakes] == [
        f"databases.default {file}:8",
        f"plugins.enabled {file}:2",
        f"models.catalogue {file}:6",
    ]
    assert "PostgreSQL is not supported" in found.mistakes[0].message
    assert "the model catalogue nofile.toml cannot be read" in found.mistakes[2].message
    told = [line.partition("; did you mean")[0] for line in found.lacking]
    assert f"models.default ({file}:4): there is no model 'gtp-5'" in told
    assert f"models.aliases.fast ({file}:5): there is no model 'locl'" in told


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("api.example.com", "must be an address that begins with http:// or https://"),
        ("localhost:8000", "must be an address that begins with http:// or https://"),
        ("https://api.example.com/v1?key=x", "must be an address without a query"),
    ],
)
async def test_an_address_is_told_what_it_lacks(address: str, told: str, tmp_path: Path) -> None:
    found = await verdict(tmp_path, f'[vendors.openai]\nbase_url = "{address}"\n')
    assert any(told in line for line in found.lacking)


async def test_a_plugin_that_failed_is_no_matter_of_a_server_that_does_not_run(tmp_path: Path) -> None:
    found = await verdict(tmp_path, '[plugins.local]\nthreads = "x"\n[models]\ndefault = "local"\n')
    assert any("belongs to the plugin 'local', which is enabled but failed" in line for line in found.lacking)
    assert "/health/ready" not in "\n".join(found.lacking)
