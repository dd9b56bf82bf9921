"""Which file is read, and what the environment lays over it."""

from pathlib import Path

import pytest

from engine.config import (
    BusSettings,
    ConfigErrors,
    LimitsSettings,
    ModelsSettings,
    PluginsSettings,
    ServerSettings,
    load,
)
from tests.engine.config.conftest import Configure


def test_without_file_and_environment_the_models_own_defaults_hold(configure: Configure) -> None:
    assert configure().table("server", ServerSettings) == ServerSettings()


def test_the_file_wins_over_the_default_and_the_environment_over_the_file(configure: Configure) -> None:
    text = "[server]\nport = 1000\nmailbox = 8"
    server = configure(text, {"BETTERAI__SERVER__PORT": "2000"}).table("server", ServerSettings)
    assert (server.port, server.mailbox, server.host) == (2000, 8, "127.0.0.1")


@pytest.mark.parametrize("name", ["BETTERAI__SERVER__PORT", "betterai__server__port", "BetterAI__Server__Port"])
def test_names_of_variables_ignore_case(configure: Configure, name: str) -> None:
    assert configure(environ={name: "8123"}).table("server", ServerSettings).port == 8123


def test_a_variable_meets_the_key_that_the_file_spells_with_capitals(configure: Configure) -> None:
    raw = configure('[models]\naliases = { Fast = "a" }', {"BETTERAI__MODELS__ALIASES__FAST": "b"})
    assert raw.table("models", ModelsSettings).aliases == {"Fast": "b"}


def test_lists_and_tables_in_variables_are_json(configure: Configure) -> None:
    raw = configure(
        '[models.aliases]\nslow = "big"',
        {"BETTERAI__PLUGINS__ENABLED": '["chat"]', "BETTERAI__MODELS__ALIASES": '{"fast": "small"}'},
    )
    assert raw.table("plugins", PluginsSettings).enabled == ("chat",)
    assert raw.table("models", ModelsSettings).aliases == {"slow": "big", "fast": "small"}


def test_a_variable_may_unset_what_the_file_sets(configure: Configure) -> None:
    raw = configure("[limits]\nsession_streams = 3", {"BETTERAI__LIMITS__SESSION_STREAMS": "null"})
    assert raw.table("limits", LimitsSettings).session_streams is None


@pytest.mark.parametrize("digits", ["123456", "1e5", "true", "0012"])
def test_a_text_that_looks_like_json_stays_a_text_where_a_text_is_due(configure: Configure, digits: str) -> None:
    raw = configure(environ={"BETTERAI__MODELS__DEFAULT": digits, "BETTERAI__BUS__KEEP": "5"})
    assert raw.table("models", ModelsSettings).default == digits
    assert raw.table("bus", BusSettings).keep == 5.0


def test_a_variable_with_one_leading_underscore_is_not_overlooked(configure: Configure) -> None:
    with pytest.raises(ConfigErrors, match="did you mean BETTERAI__SERVER__PORT"):
        configure(environ={"BETTERAI_SERVER__PORT": "1"})


def test_variables_that_are_not_settings_are_left_alone(configure: Configure) -> None:
    configure(environ={"BETTERAI_PORT": "tcp://10.0.0.1:80", "HOME": "/", "OTHER__SERVER__PORT": "1"}).check({})


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"BETTERAI__SERVER____PORT": "1"}, "empty part"),
        ({"BETTERAI__SERVER__PORT": "1", "betterai__server__port": "2"}, "also given by BETTERAI__SERVER__PORT"),
        ({"BETTERAI__SERVER__PORT__X": "1"}, "server.port is not a table"),
    ],
)
def test_a_variable_that_cannot_be_placed_is_named(configure: Configure, environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigErrors, match=told) as caught:
        configure("[server]\nport = 1", environ)
    assert caught.value.origin is not None
    assert caught.value.origin.startswith("environment variable")


def test_the_named_file_beats_the_variable_and_that_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    for number, name in enumerate(("config/betterai.toml", "by_variable.toml", "by_option.toml"), start=1):
        (tmp_path / name).write_text(f"[server]\nport = {number}\n")

    def port(path: Path | None, environ: dict[str, str]) -> int:
        return load(path, environ).table("server", ServerSettings).port

    assert port(None, {}) == 1
    assert port(None, {"BETTERAI_CONFIG": "by_variable.toml"}) == 2
    assert port(Path("by_option.toml"), {"BETTERAI_CONFIG": "by_variable.toml"}) == 3


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="--config: there is no file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigErrors, match="BETTERAI_CONFIG: there is no file"):
        load(None, {"BETTERAI_CONFIG": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[server]\nport = 1\nhost = \n", ":3, column 8"),
        (b"[server]\nport = 1\nport = 2\n", ":3, column 9"),
        (b'[server]\nhost = "open\n', ":2, column 13"),
        (b"a = [1,\n2,\n", ":3"),
        (b'a = 1\nb = "\xff"\n', ":2"),
    ],
)
def test_a_syntax_error_names_file_and_line(tmp_path: Path, content: bytes, place: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigErrors) as caught:
        load(file, {})
    assert caught.value.origin == f"{file}{place}"


def test_a_file_nested_beyond_reason_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text("a = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigErrors, match="nested too deeply"):
        load(file, {})


def test_a_file_with_windows_line_ends_and_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 5\r\n")
    raw = load(file, {})
    assert raw.table("server", ServerSettings).port == 5
    assert raw.origin("server.port") == f"{file}:2"


def test_a_command_line_option_wins_over_everything_and_leaves_the_original_alone(configure: Configure) -> None:
    raw = configure("[server]\nport = 1", {"BETTERAI__SERVER__PORT": "2"})
    changed = raw.with_value("server.port", 3, "--port")
    assert changed.table("server", ServerSettings).port == 3
    assert changed.origin("server.port") == "--port"
    assert raw.table("server", ServerSettings).port == 2
