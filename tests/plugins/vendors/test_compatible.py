"""Providers of the known vendors and of the operator's own servers are made of their settings."""

import pytest

from engine.api import Reasoning
from engine.testing import deltas_of
from plugins.vendors.addresses import COMPATIBLE_VENDORS
from plugins.vendors.compatible import compatible_servers, compatible_vendor
from plugins.vendors.settings import COMPATIBLE_SETTINGS, CompatibleSettings
from tests.emulators.openai import OpenAIEmulator
from tests.plugins.vendors.kit import OpenHttp, ask, reasoning_of, text_of


@pytest.mark.parametrize("name", COMPATIBLE_VENDORS)
async def test_each_vendor_is_asked_in_its_dialect(name: str, http: OpenHttp) -> None:
    extra = ("reasoning", "random_seed")
    async with OpenAIEmulator(reasoning_field="reasoning", extra_fields=extra) as vendor:
        settings = COMPATIBLE_SETTINGS[name].model_validate({"base_url": vendor.base_url, "api_key": "key-12345"})
        provider = compatible_vendor(name, settings, http)
        dialect = COMPATIBLE_VENDORS[name].dialect
        takes_effort = dialect.efforts or dialect.reasoning_object
        request = ask(seed=1, max_output_tokens=9, reasoning=Reasoning(effort="medium") if takes_effort else None)

        assert text_of(await deltas_of(provider, request)) == "hello there"

    assert provider.name == name
    assert provider.unavailable is None
    assert getattr(provider, "own_address", None) is False
    assert vendor.requests[0].headers["authorization"] == "Bearer key-12345"


async def test_reasoning_is_asked_of_openrouter_as_an_object(http: OpenHttp) -> None:
    async with OpenAIEmulator(reasoning_field="reasoning", extra_fields=("reasoning",)) as vendor:
        settings = COMPATIBLE_SETTINGS["openrouter"].model_validate({"base_url": vendor.base_url, "api_key": "k"})
        from_vendor = compatible_vendor("openrouter", settings, http)
        await deltas_of(from_vendor, ask(reasoning=Reasoning(effort="low")))
    assert vendor.requests[0].body["reasoning"] == {"effort": "low"}


def test_a_vendor_without_its_key_says_what_is_missing(http: OpenHttp) -> None:
    provider = compatible_vendor("groq", COMPATIBLE_SETTINGS["groq"].model_validate({}), http)
    assert getattr(provider, "own_address", None) is True
    assert provider.unavailable == "Groq needs an API key: set GROQ_API_KEY or [vendors.groq] api_key."


async def test_a_server_of_the_operator_answers_without_a_key(http: OpenHttp) -> None:
    async with OpenAIEmulator(require_key=False) as vendor:
        settings = CompatibleSettings.model_validate({"servers": {"lab": {"base_url": vendor.base_url}}})
        (provider,) = compatible_servers(settings, http)
        deltas = await deltas_of(provider, ask("hi"))
    assert text_of(deltas) == "hi"
    assert reasoning_of(deltas) == ""
    assert (provider.name, getattr(provider, "own_address", None)) == ("lab", False)
    assert "authorization" not in vendor.requests[0].headers
