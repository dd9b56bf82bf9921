"""What a client says in a vendor's own words is judged like the request's own fields, or refused by name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from engine.api import ChatRequest, InvalidRequest, ModelInfo, Price, TextDelta, Usage
from engine.api.providers import Target
from engine.providers.reserving import UNKNOWN_LONGEST, most
from engine.providers.wording import MOST_OPTIONS, judged, priced_otherwise, refuse_unjudged
from engine.testing import RecordingWriter, ScriptedProvider, answer, ask
from tests.engine.providers.conftest import play, registry

INFO = ModelInfo(
    id="acme/m", provider="acme", model="m-1", aliases=("m",), context=1_000_000, price=Price(output=Decimal(2))
)


class Speaking(ScriptedProvider):
    """A provider that sends bodies of a dialect as they came."""

    dialect = "acme"


TARGETS = [Target(Speaking(name="acme"), "m-1", INFO)]


def of(**fields: Any) -> ChatRequest:
    return judged(structs.replace(ask("Hi"), **fields), TARGETS, "fast")


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"max_tokens": 900}, 900),
        ({"max_completion_tokens": 900}, 900),
        ({"max_output_tokens": 900}, 900),
        ({"max_new_tokens": 900}, 900),
        ({"generationConfig": {"maxOutputTokens": 900}}, 900),
        ({"options": {"num_predict": 900}}, 900),
        ({"max_tokens": 20, "generationConfig": {"maxOutputTokens": 900}}, 900),
        ({"top_k": 3}, 10),
    ],
)
def test_a_bound_on_the_answer_in_any_words_is_the_requests_own(options: dict[str, Any], bound: int) -> None:
    request = of(max_output_tokens=10, provider_options=options)
    assert request.max_output_tokens == bound
    assert most(request, TARGETS[0])[0] >= bound
    assert "max" not in str(request.provider_options) and "num_predict" not in str(request.provider_options)


def test_thinking_that_the_options_ask_for_is_reserved_on_top() -> None:
    plain = most(of(max_output_tokens=10), TARGETS[0])[0]
    for options in (
        {"thinking": {"budget_tokens": 5000}},
        {"reasoning": {"max_tokens": 5000}},
        {"thinking_budget": 5000},
    ):
        assert most(of(max_output_tokens=10, provider_options=options), TARGETS[0])[0] >= plain + 5000


@pytest.mark.parametrize("count", [-1, -1_000_000_000, 5.5, 5000.0, "5000", True])
@pytest.mark.parametrize(
    "field", ["reasoning.max_tokens", "zzz.budget_tokens", "generationConfig.thinkingConfig.max_thinking_tokens"]
)
def test_tokens_of_thinking_that_are_no_count_are_refused_by_their_field(field: str, count: Any) -> None:
    value: Any = count
    for name in reversed(field.split(".")):
        value = {name: value}
    with pytest.raises(InvalidRequest) as refused:
        of(max_output_tokens=10, provider_options=value)
    assert refused.value.field == f"provider_options.{field}"


@pytest.mark.parametrize("longest", [None, 8192])
@pytest.mark.parametrize("name", ["thinkingBudget", "thinking_budget"])
def test_thinking_that_is_left_to_the_model_reserves_all_that_it_can_put_out(name: str, longest: int | None) -> None:
    target = Target(ScriptedProvider(), "m", ModelInfo(id="m", provider="scripted", max_output=longest))
    asked = of(max_output_tokens=10, provider_options={"generationConfig": {"thinkingConfig": {name: -1}}})
    assert asked.provider_options["generationConfig"]["thinkingConfig"] == {name: -1}
    sent = most(structs.replace(of(), provider_options=asked.provider_options, max_output_tokens=0), target)[0]
    assert sent > (longest or UNKNOWN_LONGEST)
    assert most(asked, target)[0] == sent


def test_tokens_of_thinking_in_a_native_body_are_counts() -> None:
    with pytest.raises(InvalidRequest) as refused:
        of(native={"acme": {"max_tokens": 5, "thinking": {"budget_tokens": -5}}})
    assert refused.value.field == "native.acme.thinking.budget_tokens"


def test_a_negative_figure_never_makes_a_call_cheaper() -> None:
    plain = most(structs.replace(ask("Hi"), max_output_tokens=10), TARGETS[0])
    unjudged = structs.replace(ask("Hi"), max_output_tokens=10, provider_options={"a": {"budget_tokens": -(10**9)}})
    assert most(unjudged, TARGETS[0]) >= plain
    assert most(structs.replace(ask("Hi"), max_output_tokens=-(10**9), n=-1), TARGETS[0])[0] > 0


def test_options_count_as_input() -> None:
    plain = most(of(max_output_tokens=10), TARGETS[0])[0]
    tools = {"tools": [{"name": "look", "description": "word " * 1000}]}
    assert most(of(max_output_tokens=10, provider_options=tools), TARGETS[0])[0] > plain + 1000


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"model": "dear"}, "model"),
        ({"n": 128}, "n"),
        ({"messages": []}, "messages"),
        ({"stream": True}, "stream"),
        ({"stream": False}, "stream"),
        ({"models": ["dear"]}, "models"),
        ({"input": "more"}, "input"),
        ({"contents": []}, "contents"),
        ({"best_of": 5}, "best_of"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"generationConfig": {"candidateCount": 8}}, "generationConfig.candidateCount"),
        ({"plugins": [{"id": "web", "model": "dear"}]}, "plugins.0.model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "9000000"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
    ],
)
def test_what_would_replace_what_was_judged_is_refused_by_its_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of(provider_options=options)
    assert refused.value.field == f"provider_options.{field}"


@pytest.mark.parametrize("options", [{"service_tier": "auto"}, {"service_tier": "flex"}, {"top_k": 40}, {"user": "x"}])
def test_other_options_go_on_as_they_came(options: dict[str, Any]) -> None:
    assert of(provider_options=options).provider_options == options


@pytest.mark.parametrize("options", [{"service_tier": "priority"}, {"service_tier": {"a": 1}}, {"speed": "fast"}])
def test_what_changes_the_price_is_named_for_calls_that_a_budget_bounds(options: dict[str, Any]) -> None:
    (name,) = options
    for request, where in (
        (of(provider_options=options), "provider_options"),
        (of(native={"acme": {"max_tokens": 5, **options}}), "native.acme"),
    ):
        refusal = priced_otherwise(request)
        assert refusal is not None
        assert refusal.field == f"{where}.{name}"


def test_what_costs_no_more_than_the_catalogue_says_is_named_by_nothing() -> None:
    for options in ({"service_tier": "flex"}, {"speed": "standard"}, {"top_k": 40}):
        assert priced_otherwise(of(provider_options=options)) is None


async def test_a_call_at_another_price_states_no_cost(writer: RecordingWriter) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    info = ModelInfo(id="acme/m", provider="acme", price=Price(input=Decimal(1), output=Decimal(1)))
    tried: list[dict[str, Any]] = [{"speed": "fast"}, {}]
    for options in tried:
        provider = ScriptedProvider(TextDelta("a"), usage, *answer(), name="acme")
        request = structs.replace(ask("Hi"), provider_options=options)
        await play(registry(provider, entries=(info,)).chat("acme/m"), writer, request)
        assert (writer.cost is None) is bool(options)


def test_a_schema_with_a_property_called_model_names_no_model() -> None:
    schema = {"type": "object", "properties": {"model": {"type": "string"}}}
    refuse_unjudged("chat", {"tools": [{"name": "buy", "input_schema": schema}]})


@pytest.mark.parametrize("role", ["speech", "transcription", "realtime", "embedding"])
def test_no_role_takes_another_model_among_its_options(role: Any) -> None:
    with pytest.raises(InvalidRequest, match="model is not taken"):
        refuse_unjudged(role, {"audio": {"input": {"transcription": {"model": "dear"}}}})
    with pytest.raises(InvalidRequest, match="model is not taken"):
        refuse_unjudged(role, {"model": "dear"})


def test_the_bound_of_a_native_body_is_the_requests_own() -> None:
    request = of(max_output_tokens=10, native={"acme": {"max_tokens": 5_000_000, "messages": []}})
    assert request.max_output_tokens == 5_000_000
    assert most(request, TARGETS[0])[0] >= 5_000_000


def test_a_native_body_without_a_bound_gets_that_of_the_request() -> None:
    assert of(max_output_tokens=10, native={"acme": {"messages": []}}).native["acme"]["max_tokens"] == 10


def test_the_words_of_a_native_body_are_the_input_that_counts() -> None:
    body = {"max_tokens": 10, "messages": [{"role": "user", "content": "word " * 4000}]}
    assert most(of(native={"acme": body}), TARGETS[0])[0] > 4000


@pytest.mark.parametrize("model", ["m-1", "m", "acme/m", "acme/m-1", "fast"])
def test_a_native_body_may_name_the_requests_model_in_any_way(model: str) -> None:
    assert of(native={"acme": {"model": model, "max_tokens": 5}}).max_output_tokens == 5


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "dear", "max_tokens": 5}, "model"),
        ({"model": {"a": 1}}, "model"),
        ({"max_tokens": "5"}, "max_tokens"),
    ],
)
def test_a_native_body_is_judged_by_its_fields(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        of(native={"acme": body})
    assert refused.value.field == f"native.acme.{field}"


@pytest.mark.parametrize(
    "value",
    [
        [1] * MOST_OPTIONS,
        {str(at): 1 for at in range(MOST_OPTIONS)},
        [[[1] * 9] * 100] * 30,
        [{"model": "dear"}, [0] * MOST_OPTIONS],
    ],
)
@pytest.mark.parametrize("role", ["chat", "speech", "transcription", "realtime", "embedding"])
def test_options_of_too_many_values_are_refused_with_the_field_and_the_limit(role: Any, value: Any) -> None:
    with pytest.raises(InvalidRequest, match="more than 20000 values") as caught:
        refuse_unjudged(role, {"top_k": 3, "bias": value})
    assert (caught.value.field, caught.value.limit) == ("provider_options.bias", MOST_OPTIONS)


def test_options_of_as_many_values_as_allowed_are_taken() -> None:
    refuse_unjudged("chat", {"bias": [1] * (MOST_OPTIONS - 1)})


def test_a_native_body_has_as_many_values_as_options_may_beside_its_words_and_tools() -> None:
    words = {"messages": [{"role": "user", "content": "Hi"}] * MOST_OPTIONS, "tools": [{"name": "t"}] * MOST_OPTIONS}
    assert of(native={"acme": {"max_tokens": 5, **words}}).max_output_tokens == 5
    with pytest.raises(InvalidRequest, match=r"native\.acme has more than") as refused:
        of(native={"acme": {"max_tokens": 5, "metadata": {"a": [[1]] * MOST_OPTIONS}}})
    assert (refused.value.field, refused.value.limit) == ("native.acme.metadata", MOST_OPTIONS)


def test_the_arguments_of_a_call_in_a_native_body_bound_no_thinking() -> None:
    called = {"type": "tool_use", "id": "t", "name": "plan", "input": {"max_tokens": "many", "budget_tokens": -1}}
    messages = [{"role": "assistant", "content": [called]}]
    assert of(native={"acme": {"max_tokens": 5, "messages": messages}}).max_output_tokens == 5


async def test_a_chain_judges_the_same_options_once() -> None:
    class Counting(dict[str, Any]):
        looked = 0

        def items(self) -> Any:
            self.looked += 1
            return super().items()

    options = Counting(zzz=1, max_tokens=7)
    request = structs.replace(ask("Hi"), provider_options=options)
    chain = registry(ScriptedProvider(name="acme")).chat("acme/any")

    chain.check(request)
    once = options.looked
    chain.check(structs.replace(request, messages=(*request.messages, *request.messages)))

    assert once > 0 and options.looked == once


@pytest.mark.parametrize(
    ("fields", "field", "what"),
    [
        ({"provider_options": {"max_tokens": "16000"}}, "provider_options.max_tokens", "an answer"),
        ({"native": {"acme": {"max_tokens": "16000"}}}, "native.acme.max_tokens", "an answer"),
        ({"provider_options": {"reasoning": {"max_tokens": "9"}}}, "provider_options.reasoning.max_tokens", "thinking"),
    ],
)
def test_a_bound_that_is_no_count_is_refused_by_what_it_bounds(fields: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the most tokens of {what} are a whole number") as refused:
        of(**fields)
    assert refused.value.field == field
