"""The catalogue in OpenAI's shape, and the names under which clients ask for models."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import anthropic.types
import msgspec
import openai.types
import pytest

from engine.api import LOCAL, EngineError, HttpRequest, ModelInfo, ModelNotFound, Price
from engine.http.table import RouteTable
from engine.providers.catalogue import Catalogue
from engine.providers.registry import ModelRules, Registry
from engine.testing import ScriptedProvider
from plugins.openai_api.anthropic_models import ModelsQuery, anthropic_model, anthropic_page
from plugins.openai_api.models import Models
from plugins.openai_api.models_cards import ModelCard
from plugins.openai_api.naming import ModelNames

BIG = ModelInfo(
    id="big-1",
    provider="openai",
    model="big-1-2026",
    aliases=("big",),
    context=128_000,
    capabilities=frozenset({"tools", "images"}),
    price=Price(input=Decimal("1.25"), output=Decimal(10)),
    retires_on=date(2099, 1, 31),
)
ASLEEP = ModelInfo(id="asleep", provider="keyless")
EMBEDDING = ModelInfo(id="embedding-1", provider="openai", role="embedding")


def registry(*providers: ScriptedProvider) -> Registry:
    on = providers or (ScriptedProvider(name="openai"), ScriptedProvider(name="keyless", unavailable="no key"))
    return Registry([("test", each) for each in on], Catalogue([BIG, ASLEEP, EMBEDDING]), ModelRules(default="big-1"))


def names(*providers: ScriptedProvider, default_vendor: str = "openai") -> ModelNames:
    return ModelNames(registry(*providers), default_vendor)


async def ask(path: str) -> Any:
    """The body that answers an address, as plain data."""
    providers = registry()
    routes = Models(providers, ModelNames(providers, "openai")).routes()
    match = RouteTable([("openai_api", route) for route in routes]).resolve("GET", path)
    request = HttpRequest(principal=LOCAL, body=None, query=None, path=match.path, headers={}, id="r1")
    answer = await match.route.handler(request)
    return msgspec.json.decode(msgspec.json.encode(answer.body))  # type: ignore[union-attr]


async def test_models_that_can_be_used_are_listed_with_what_is_known_of_them() -> None:
    listed = await ask("/v1/models")
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["big-1"]
    card = listed["data"][0]
    assert openai.types.Model.model_validate(card, strict=True).shutdown_date == "2099-01-31"
    assert (card["owned_by"], card["context"], card["aliases"]) == ("openai", 128_000, ["big"])
    assert card["capabilities"] == ["images", "tools"] and card["price"]["input"] == "1.25"


@pytest.mark.parametrize("name", ["big-1", "big", "openai/big-1", "openai%2Fbig-1", "openai/big-1-2026"])
async def test_one_model_is_found_under_each_of_its_names(name: str) -> None:
    card = await ask(f"/v1/models/{name}")
    assert (card["id"], card["context"]) == (name.replace("%2F", "/"), 128_000)


@pytest.mark.parametrize("name", ["openai/meta/llama-9", "openai%2Fmeta%2Fllama-9", "llama-9"])
async def test_a_model_that_only_its_vendor_knows_has_a_card_without_details(name: str) -> None:
    card = await ask(f"/v1/models/{name}")
    assert openai.types.Model.model_validate(card, strict=True).owned_by == "openai"
    assert card["id"] == name.replace("%2F", "/") and "context" not in card


async def test_a_model_of_a_vendor_that_is_not_there_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        await ask("/v1/models/nobody/llama-9")


def test_a_bare_unknown_name_goes_to_the_default_vendor() -> None:
    found = names().find("gpt-99")
    assert (found.name, found.target.provider.name, found.target.model) == ("openai/gpt-99", "openai", "gpt-99")


def test_a_known_name_is_left_as_it_is() -> None:
    assert names(default_vendor="keyless").find("big").name == "big"


def test_no_name_is_the_default_model() -> None:
    found = names().find(None)
    assert (found.name, found.target.model) == (None, "big-1-2026")


@pytest.mark.parametrize("vendor", ["keyless", "absent"])
def test_an_unknown_name_is_not_found_where_the_default_vendor_cannot_serve(vendor: str) -> None:
    with pytest.raises(ModelNotFound, match="there is no model 'gpt-99'"):
        names(default_vendor=vendor).find("gpt-99")


@pytest.mark.parametrize("name", ["nobody/gpt-99", "embedding-1"])
def test_what_the_engine_refuses_for_a_reason_does_not_go_to_the_default_vendor(name: str) -> None:
    with pytest.raises(EngineError, match=name):
        names().find(name)


CARDS = [
    ModelCard(id=f"m{at}", object="model", created=0, owned_by="x", role="chat", context=10, max_output=5)
    for at in range(5)
]


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ({}, ["m0", "m1", "m2", "m3", "m4"], False),
        ({"limit": 2}, ["m0", "m1"], True),
        ({"limit": 2, "after_id": "m1"}, ["m2", "m3"], True),
        ({"limit": 2, "after_id": "m3"}, ["m4"], False),
        ({"limit": 2, "after_id": "m4"}, [], False),
        ({"limit": 2, "before_id": "m3"}, ["m1", "m2"], True),
        ({"limit": 2, "before_id": "m1"}, ["m0"], False),
    ],
)
def test_a_page_of_models_is_cut_as_anthropic_cuts_it(query: dict[str, Any], ids: list[str], more: bool) -> None:
    voice = ModelCard(id="voice", object="model", created=0, owned_by="x", role="speech")
    page = anthropic_page([voice, *CARDS], ModelsQuery(**query))
    assert ([model.id for model in page.data], page.has_more) == (ids, more)
    assert (page.first_id, page.last_id) == ((ids[0], ids[-1]) if ids else (None, None))
    known = anthropic.types.ModelInfo.model_validate(msgspec.to_builtins(page.data[0])) if ids else None
    assert known is None or (known.max_input_tokens, known.max_tokens, known.lifecycle) == (10, 5, "active")


def test_a_model_that_its_vendor_closes_has_its_day_for_anthropics_clients_too() -> None:
    card = ModelCard(id="m", object="model", created=0, owned_by="x", role="chat", shutdown_date="2099-01-31")
    told = anthropic.types.ModelInfo.model_validate(msgspec.to_builtins(anthropic_model(card)))
    assert told.lifecycle == "deprecated" and told.retires_at is not None and told.retires_at.year == 2099
