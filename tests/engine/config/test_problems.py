"""What an operator is told about a setting that cannot be used."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from engine.config import (
    CORE_TABLES,
    ConfigError,
    ConfigErrors,
    DatabasesSettings,
    ModelsSettings,
    PluginsSettings,
    RawConfig,
    ServerSettings,
    read_core,
)
from tests.engine.config.conftest import Configure


class Voice(BaseModel):
    name: str = "default"
    speed: float = Field(default=1.0, gt=0)


class Loose(BaseModel):
    """A plugin's table whose author did not forbid unknown keys."""

    model_config = ConfigDict(frozen=True)

    api_key: SecretStr | None = None
    login: str = ""
    mode: Literal["fast", "slow"] = "fast"
    budget: int | Literal["auto"] = "auto"
    voice: Voice = Voice()
    voices: tuple[Voice, ...] = ()
    must: int = 0

    @field_validator("login")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError(f"no spaces in {value}")
        return value


TABLES: dict[str, type[BaseModel]] = {**CORE_TABLES, "plugins.chat": Loose, "vendors.openai": Loose}


def problems_of(raw: RawConfig, name: str, model: type[BaseModel]) -> tuple[ConfigError, ...]:
    with pytest.raises(ConfigErrors) as caught:
        raw.table(name, model)
    return caught.value.errors


def test_an_unknown_key_is_named_with_file_line_and_nearest(configure: Configure, tmp_path: Path) -> None:
    (problem,) = problems_of(configure("# one\n[server]\nhost = 'h'\nprot = 1"), "server", ServerSettings)
    assert (problem.key, problem.nearest) == ("server.prot", "server.port")
    assert problem.origin == f"{tmp_path / 'file.toml'}:4"
    assert str(problem) == f"server.prot ({tmp_path / 'file.toml'}:4): unknown key; did you mean server.port?"


def test_an_unknown_key_from_the_environment_names_its_variable(configure: Configure) -> None:
    (problem,) = problems_of(configure(environ={"BETTERAI__SERVER__PROT": "1"}), "server", ServerSettings)
    assert problem.origin == "environment variable BETTERAI__SERVER__PROT"
    assert problem.nearest == "server.port"


def test_an_unknown_key_like_no_other_lists_the_valid_ones(configure: Configure) -> None:
    (problem,) = problems_of(configure("[plugins]\nzzz = 1"), "plugins", PluginsSettings)
    assert "valid keys here: enabled, required" in problem.message


def test_a_plugins_model_that_ignores_unknown_keys_still_refuses_them(configure: Configure) -> None:
    text = "[plugins.chat.voice]\nspede = 2\n[[plugins.chat.voices]]\nname = 'a'\n[[plugins.chat.voices]]\nnmae = 'b'"
    first, second = problems_of(configure(text), "plugins.chat", Loose)
    assert (first.key, first.nearest) == ("plugins.chat.voice.spede", "plugins.chat.voice.speed")
    assert (second.key, second.nearest) == ("plugins.chat.voices[1].nmae", "plugins.chat.voices[1].name")
    assert str(second.origin).endswith("file.toml:6")


def test_a_wrong_type_tells_what_was_given_and_what_would_be_right(configure: Configure) -> None:
    (problem,) = problems_of(configure("[server]\nport = 'http'"), "server", ServerSettings)
    assert problem.key == "server.port"
    assert "must be a whole number" in problem.message
    assert "but is 'http'" in problem.message


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("port = 70000", "must be 65535 or less, but is 70000"),
        ("drain = nan", "must be a finite number"),
        ("drain = -1", "must be 0 or more"),
        ("loop = 'uvlop'", "must be 'uvloop' or 'asyncio', but is 'uvlop'"),
        ("cors_origins = 'https://a'", "must be a list, but is"),
        ("host = {a = 1}", "must be a string, but is a table"),
        ("public_url = 'ai.example.com'", "must be an address that begins with http:// or https://, such as"),
    ],
)
def test_each_bound_is_told(configure: Configure, line: str, told: str) -> None:
    (problem,) = problems_of(configure(f"[server]\n{line}"), "server", ServerSettings)
    assert told in problem.message


def test_both_branches_of_a_union_are_one_problem(configure: Configure) -> None:
    (problem,) = problems_of(configure("[plugins.chat]\nbudget = 'much'"), "plugins.chat", Loose)
    assert problem.key == "plugins.chat.budget"
    assert " or must be 'auto'" in problem.message


def test_keys_with_dots_are_quoted_as_in_the_file(configure: Configure) -> None:
    (problem,) = problems_of(configure('[models.aliases]\n"gpt-4.1" = 1'), "models", ModelsSettings)
    assert problem.key == 'models.aliases."gpt-4.1"'
    assert str(problem.origin).endswith("file.toml:2")


def test_a_required_key_that_is_missing_is_named_at_its_table(configure: Configure) -> None:
    class Strict(BaseModel):
        must: int

    (problem,) = problems_of(configure("\n[plugins.chat]\n"), "plugins.chat", Strict)
    assert (problem.key, problem.message) == ("plugins.chat.must", "is required and has no default")
    assert str(problem.origin).endswith("file.toml:2")


def test_a_value_where_a_table_is_due_is_told(configure: Configure) -> None:
    (problem,) = problems_of(configure("server = 3"), "server", ServerSettings)
    assert problem.message == "must be a table, [server]"


def test_an_item_of_a_list_that_a_variable_replaced_is_laid_to_the_variable(configure: Configure) -> None:
    raw = configure("[plugins]\nenabled = ['a', 'b']", {"BETTERAI__PLUGINS__ENABLED": "[1]"})
    (problem,) = problems_of(raw, "plugins", PluginsSettings)
    assert (problem.key, problem.origin) == (
        "plugins.enabled[0]",
        "environment variable BETTERAI__PLUGINS__ENABLED",
    )


def test_all_problems_come_at_once(configure: Configure) -> None:
    raw = configure("[server]\nprot = 1\nmailbox = 0\n[bus]\nkeep = 'long'\n[auth]\nmode = 'open'")
    with pytest.raises(ConfigErrors) as caught:
        read_core(raw)
    assert {problem.key for problem in caught.value.errors} == {
        "server.prot",
        "server.mailbox",
        "bus.keep",
        "auth.mode",
    }
    text = str(caught.value)
    assert text.startswith("4 problems in the configuration:\n")
    assert all(problem.key in text for problem in caught.value.errors)


@pytest.mark.parametrize(
    ("text", "key", "nearest", "line"),
    [
        ("\n[sever]\nport = 1", "sever", "server", 2),
        ("[plugins.caht]\nx = 1", "plugins.caht", "plugins.chat", 1),
        ("[plugins.chat]\n[vendors.opnai]\nx = 1", "vendors.opnai", "vendors.openai", 2),
        ("[vendor.openai]\nx = 1", "vendor", "vendors", 1),
        ("\nport = 1", "port", "server.port", 2),
    ],
)
def test_an_unknown_table_is_named_with_its_nearest(
    configure: Configure, text: str, key: str, nearest: str, line: int
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        configure(text).check(TABLES)
    (problem,) = caught.value.errors
    assert (problem.key, problem.nearest) == (key, nearest)
    assert str(problem.origin).endswith(f"file.toml:{line}")


def test_an_unknown_table_in_a_variable_is_named(configure: Configure) -> None:
    with pytest.raises(ConfigErrors, match=r"BETTERAI__SEVER__PORT\): unknown table; did you mean server\?"):
        configure(environ={"BETTERAI__SEVER__PORT": "1"}).check(TABLES)


def test_tables_of_installed_plugins_are_allowed_beside_the_keys_of_plugins(configure: Configure) -> None:
    raw = configure("[plugins]\nenabled = ['x']\n[plugins.chat]\nlogin = 'a'\n[vendors.openai]\nlogin = 'b'")
    raw.check(TABLES)
    assert raw.table("plugins", PluginsSettings).enabled == ("x",)
    assert raw.table("plugins.chat", Loose).login == "a"


def test_a_typo_in_a_key_of_plugins_is_found_beside_plugin_tables(configure: Configure) -> None:
    raw = configure("[plugins]\nenbled = ['x']\n[plugins.chat]\nlogin = 'a'")
    (problem,) = problems_of(raw, "plugins", PluginsSettings)
    assert problem.nearest == "plugins.enabled"


def test_databases_take_further_names_but_no_misspelt_key(configure: Configure) -> None:
    url = "sqlite+aiosqlite:///x.db"
    databases = configure(f"[databases]\nhealth = '{url}'").table("databases", DatabasesSettings)
    assert databases.named == {"health": url}

    (problem,) = problems_of(configure(f"[databases]\ndefualt = '{url}'"), "databases", DatabasesSettings)
    assert (problem.key, problem.nearest) == ("databases.defualt", "databases.default")


def test_a_database_address_without_async_driver_is_refused_without_its_password(configure: Configure) -> None:
    raw = configure("[databases]\nhealth = 'mysql://app:pa@ss/word@db/x'")
    (problem,) = problems_of(raw, "databases", DatabasesSettings)
    assert "asynchronous driver" in problem.message
    assert "mysql://***@db/x" in problem.message


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"api_key = ['{SECRET}']",
        f"api_key = {{ value = '{SECRET}' }}",
        f"api_kye = '{SECRET}'",
        f"login = {{ password = '{SECRET}' }}",
        "login = 'a ${env:PASSWORD}'",
        "mode = '${env:PASSWORD}'",
        "budget = '${file:password.txt}'",
        "voice = '${env:PASSWORD}'",
    ],
)
def test_a_secret_is_never_in_a_message(
    configure: Configure, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password.txt").write_text(SECRET)
    raw = configure(f"[plugins.chat]\n{text}", {"PASSWORD": SECRET})
    with pytest.raises(ConfigErrors) as caught:
        raw.table("plugins.chat", Loose)
    shown = f"{caught.value} {caught.value!r} {raw!r} {caught.value.__context__!r} {caught.value.__cause__!r}"
    assert SECRET not in shown


def test_passwords_of_databases_are_not_in_the_repr_of_their_settings(configure: Configure) -> None:
    url = "mysql+asyncmy://app:hunter2@db/x"
    databases = configure(f"[databases]\ndefault = '{url}'\nhealth = '{url}'").table("databases", DatabasesSettings)
    assert "hunter2" not in f"{databases!r} {databases}"
