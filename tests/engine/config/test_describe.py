"""Settings as documentation, and the configuration files that are shipped."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from engine.config import CORE_TABLES, RawConfig, SettingDoc, describe, load, read_core, render
from engine.config.describe import type_text

CONFIG = Path(__file__).parents[3] / "config"


class Voice(BaseModel):
    speed: float = Field(default=1.0, description="How fast.")


class Acme(BaseModel):
    api_key: SecretStr | None = Field(default=None, description="Key.", json_schema_extra={"env": ["ACME_API_KEY"]})
    base_url: str = Field(default="https://acme", description="Address.", json_schema_extra={"env": ["ACME_BASE_URL"]})
    voice: Voice = Field(default_factory=lambda: Voice(), description="Voice.")
    names: tuple[str, ...] = Field(default=("a", "b"), description="Names.")


def test_a_key_is_described_by_type_default_and_all_its_variables() -> None:
    docs = {doc.key: doc for doc in describe({"vendors.acme": Acme})}
    assert list(docs) == [f"vendors.acme.{key}" for key in ("api_key", "base_url", "voice.speed", "names")]
    key = docs["vendors.acme.api_key"]
    assert (key.type, key.default, key.description) == ("secret string", "", "Key.")
    assert key.env == ("BETTERAI__VENDORS__ACME__API_KEY", "ACME_API_KEY")
    assert docs["vendors.acme.names"].default == '["a", "b"]'
    assert docs["vendors.acme.voice.speed"].env == ("BETTERAI__VENDORS__ACME__VOICE__SPEED",)


def test_a_rendered_table_leaves_to_the_sdks_variable_what_it_may_set() -> None:
    assert render("vendors.acme", Acme).splitlines() == [
        "[vendors.acme]",
        "# Key.",
        '# api_key = "${env:NAME}"',
        "# Address.",
        '# base_url = "https://acme"',
        "# Names.",
        'names = ["a", "b"]',
        "",
        "[vendors.acme.voice]",
        "# How fast.",
        "speed = 1.0",
    ]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int | None, "integer"),
        (Literal["a", "b"], '"a" or "b"'),
        (tuple[str, ...], "list of string"),
        (dict[str, list[float]], "table of list of number"),
        (Path | None, "path"),
    ],
)
def test_types_are_told_in_words(annotation: object, words: str) -> None:
    assert type_text(annotation) == words


@pytest.mark.parametrize("doc", describe(CORE_TABLES), ids=lambda doc: doc.key)
def test_every_core_setting_is_explained(doc: SettingDoc) -> None:
    assert doc.description.endswith(".")


@pytest.mark.parametrize("name", CORE_TABLES)
def test_the_shipped_file_has_every_key_under_its_explanation(name: str) -> None:
    # To repair it, put what render(name, model) returns in place of the table.
    assert render(name, CORE_TABLES[name]) in (CONFIG / "betterai.toml").read_text(encoding="utf-8")


@pytest.fixture
def shipped() -> RawConfig:
    return load(CONFIG / "betterai.toml", {})


@pytest.mark.parametrize("name", CORE_TABLES)
def test_the_shipped_file_says_what_the_defaults_are(shipped: RawConfig, name: str) -> None:
    model = CORE_TABLES[name]
    assert shipped.table(name, model) == model()


def test_the_production_example_has_only_keys_that_exist() -> None:
    file = CONFIG / "production.example.toml"
    raw = load(file, {"BETTERAI_AUTH_SECRET": "a-secret", "BETTERAI_DATABASE_PASSWORD": "a-password"})
    raw.check(CORE_TABLES)
    core = read_core(raw)
    assert core.auth.mode == "keys"
    assert core.auth.secret == SecretStr("a-secret")
    assert core.databases.default == "mysql+asyncmy://betterai:a-password@127.0.0.1:3306/betterai"
