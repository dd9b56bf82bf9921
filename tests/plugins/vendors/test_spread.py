"""Calls to one vendor are spread over its keys, and none is lost to a key that is held back."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from engine.api import (
    ChatProvider,
    InvalidRequest,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)
from engine.testing import deltas_of
from plugins.vendors.compatible import compatible_servers, compatible_vendor
from plugins.vendors.settings import COMPATIBLE_SETTINGS, CompatibleSettings, OpenAISettings
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Condition, Fault, Hold, Say
from tests.plugins.vendors.kit import OpenHttp, ask, text_of

KEYS = ("key-a-12345", "key-b-12345", "key-c-12345")


def over(vendor: OpenAIEmulator, http: OpenHttp, *keys: str) -> ChatProvider:
    settings = COMPATIBLE_SETTINGS["groq"].model_validate({"base_url": vendor.base_url, "api_keys": keys})
    return compatible_vendor("groq", settings, http)


def used(vendor: OpenAIEmulator) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in vendor.requests]


async def test_one_call_after_another_goes_round(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = over(vendor, http, *KEYS)
    for _ in range(6):
        assert text_of(await deltas_of(provider, ask())) == "hello there"
    assert Counter(used(vendor)) == dict.fromkeys(KEYS, 2)


async def test_calls_at_one_time_go_where_least_is_to_do(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = over(vendor, http, *KEYS)
    hold = Hold()
    vendor.otherwise = lambda request: Say(pieces=["a ", hold])
    calls = [asyncio.ensure_future(deltas_of(provider, ask())) for _ in range(9)]
    await hold.reached()
    hold.release()
    await asyncio.gather(*calls)
    assert Counter(used(vendor)) == dict.fromkeys(KEYS, 3)


@pytest.mark.parametrize("condition", ["rate_limit", "quota", "invalid_key"])
async def test_a_key_that_is_held_back_is_passed_over_at_once_and_for_a_while(
    condition: Condition, vendor: OpenAIEmulator, http: OpenHttp
) -> None:
    provider = over(vendor, http, *KEYS[:2])
    vendor.script.append(Fault.because(condition))
    assert text_of(await deltas_of(provider, ask())) == "hello there"
    held, *_ = used(vendor)
    for _ in range(4):
        await deltas_of(provider, ask())
    assert held not in used(vendor)[1:]
    assert len(used(vendor)) == 6


async def test_when_all_are_held_back_the_last_word_is_told(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = over(vendor, http, *KEYS)
    vendor.script += [Fault.because("rate_limit", retry_after=30)] * 3
    with pytest.raises(ProviderRateLimited) as told:
        await deltas_of(provider, ask())
    assert told.value.retry_after == 30
    assert sorted(used(vendor)) == sorted(KEYS)
    # All rest, and the vendor decides, not we.
    assert text_of(await deltas_of(provider, ask())) == "hello there"


async def test_a_vendor_that_is_down_is_not_asked_with_each_key(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = over(vendor, http, *KEYS)
    vendor.script.append(Fault.because("server"))
    with pytest.raises(ProviderUnavailable):
        await deltas_of(provider, ask())
    assert len(vendor.requests) == 1


async def test_an_answer_that_has_begun_is_not_begun_again(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = over(vendor, http, *KEYS)
    vendor.script.append(Fault.error_event(after=2, say=Say("one two three"), condition="rate_limit"))
    with pytest.raises(ProviderRateLimited):
        await deltas_of(provider, ask())
    assert len(vendor.requests) == 1


async def test_a_request_that_is_wrong_is_told_without_a_call(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    with pytest.raises(InvalidRequest):
        await deltas_of(over(vendor, http, *KEYS), ask("half \ud800"))
    assert not vendor.requests


async def test_keys_are_in_no_error(http: OpenHttp) -> None:
    async with OpenAIEmulator(key="another") as vendor:
        with pytest.raises(ProviderRefused) as told:
            await deltas_of(over(vendor, http, *KEYS), ask())
    assert not [key for key in KEYS if key in f"{told.value!r} {told.value}"]
    assert len(vendor.requests) == 3


async def test_a_server_of_the_operators_has_several_keys(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    table = {"servers": {"lab": {"base_url": vendor.base_url, "api_key": KEYS[0], "api_keys": KEYS}}}
    (provider,) = compatible_servers(CompatibleSettings.model_validate(table), http)
    for _ in range(3):
        await deltas_of(provider, ask())
    assert Counter(used(vendor)) == dict.fromkeys(KEYS, 1)


def test_one_key_is_asked_without_a_detour(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    assert type(over(vendor, http, KEYS[0])).__name__ == "OpenAICompatible"
    each = OpenAISettings.model_validate({"api_key": KEYS[0], "api_keys": [KEYS[1], KEYS[0]]}).each_key()
    assert [settings.key for settings in each] == [KEYS[0], KEYS[1]]
    assert [settings.key for settings in OpenAISettings.model_validate({}).each_key()] == [None]
