"""The tables of the vendors: where keys and addresses come from, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from engine.config.schema import env_names, fields_of
from plugins.vendors.addresses import COMPATIBLE_VENDORS
from plugins.vendors.settings import (
    COMPATIBLE_SETTINGS,
    AnthropicSettings,
    CompatibleSettings,
    GoogleSettings,
    OpenAISettings,
    VendorSettings,
)

TABLES: list[type[VendorSettings]] = [OpenAISettings, AnthropicSettings, GoogleSettings, *COMPATIBLE_SETTINGS.values()]


@pytest.mark.parametrize(
    ("model", "table", "key", "address"),
    [
        (OpenAISettings, "vendors.openai", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL",)),
        (AnthropicSettings, "vendors.anthropic", ("ANTHROPIC_API_KEY",), ("ANTHROPIC_BASE_URL",)),
        (GoogleSettings, "vendors.google", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), ("GOOGLE_GEMINI_BASE_URL",)),
        (COMPATIBLE_SETTINGS["groq"], "vendors.groq", ("GROQ_API_KEY",), ("GROQ_BASE_URL",)),
        (COMPATIBLE_SETTINGS["ollama"], "vendors.ollama", ("OLLAMA_API_KEY",), ("OLLAMA_HOST",)),
    ],
)
def test_values_come_from_the_variables_of_the_vendors_own_tools(
    model: type[VendorSettings], table: str, key: tuple[str, ...], address: tuple[str, ...]
) -> None:
    assert model.table == table
    assert env_names(fields_of(model)["api_key"]) == key
    assert env_names(fields_of(model)["base_url"]) == address


@pytest.mark.parametrize("model", TABLES)
def test_every_key_is_described_and_every_table_is_its_own(model: type[VendorSettings]) -> None:
    assert all(field.description for field in fields_of(model).values())
    assert [other.table for other in TABLES].count(model.table) == 1
    assert model.model_validate({}).own_address


@pytest.mark.parametrize("model", TABLES)
def test_a_missing_key_is_named_with_where_to_set_it(model: type[VendorSettings]) -> None:
    unavailable = model.model_validate({}).unavailable
    if model.table == "vendors.ollama":
        assert unavailable is None
    else:
        assert unavailable == f"{model.title} needs an API key: set {model.key_env} or [{model.table}] api_key."
    assert model.model_validate({"api_key": "k"}).unavailable is None


def test_another_address_may_be_asked_without_a_key() -> None:
    settings = OpenAISettings.model_validate({"base_url": "http://127.0.0.1:8000/v1"})
    assert not settings.own_address
    assert settings.unavailable is None


@pytest.mark.parametrize("url", ["https://eu.api.openai.com/v1", "https://api.openai.com/v1/"])
def test_regions_of_openai_are_its_own_address(url: str) -> None:
    assert OpenAISettings.model_validate({"base_url": url}).own_address


def test_an_address_that_only_looks_like_openais_is_not() -> None:
    assert not OpenAISettings.model_validate({"base_url": "https://api.openai.com.example.org/v1"}).own_address


def test_a_key_loses_the_line_end_of_its_file_and_is_never_shown() -> None:
    settings = OpenAISettings.model_validate({"api_key": "secret-1\n"})
    assert settings.key == "secret-1"
    assert "secret-1" not in repr(settings)


def test_an_empty_key_is_none() -> None:
    assert OpenAISettings.model_validate({"api_key": " "}).key is None


@pytest.mark.parametrize("key", ["two words", "umläut", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="visible ASCII"):
        OpenAISettings.model_validate({"api_key": key})


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://x", "http://", "http://x:99999", "https://x/v1?key=1", "http://a b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="must be an address"):
        OpenAISettings.model_validate({"base_url": url})


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("gpu-box", "http://gpu-box:11434/v1"),
        ("https://ollama.example.org", "https://ollama.example.org:443/v1"),
        ("http://gpu-box:8080/ollama/v1/", "http://gpu-box:8080/ollama/v1"),
        ("[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_ollamas_own_spellings_of_its_address_are_understood(given: str, address: str) -> None:
    assert COMPATIBLE_SETTINGS["ollama"].model_validate({"base_url": given}).base_url == address


def test_servers_of_the_operator_have_a_name_an_address_and_perhaps_a_key() -> None:
    settings = CompatibleSettings.model_validate({"servers": {"lab": {"base_url": "http://10.0.0.5:8000/v1/"}}})
    assert settings.servers["lab"].base_url == "http://10.0.0.5:8000/v1"
    assert settings.servers["lab"].key is None


@pytest.mark.parametrize("name", ["openai", "local", "Groq!", "groq", "a/b", ""])
def test_a_server_cannot_take_a_known_or_broken_name(name: str) -> None:
    with pytest.raises(ValidationError):
        CompatibleSettings.model_validate({"servers": {name: {"base_url": "http://x"}}})


@pytest.mark.parametrize("table", [{"servers": {"lab": {}}}, {"servers": {"lab": {"base_url": "http://x", "kye": 1}}}])
def test_a_server_without_an_address_or_with_an_unknown_key_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompatibleSettings.model_validate(table)


def test_every_vendor_of_the_table_has_its_settings() -> None:
    assert list(COMPATIBLE_SETTINGS) == list(COMPATIBLE_VENDORS)
    assert {"groq", "deepseek", "xai", "perplexity", "mistral", "openrouter", "ollama"} <= set(COMPATIBLE_VENDORS)
