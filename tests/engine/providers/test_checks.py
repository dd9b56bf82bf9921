"""Demands of a request against what the catalogue knows."""

import pytest
from msgspec import structs

from engine.api import (
    AudioPart,
    ChatRequest,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    ModelInfo,
    Reasoning,
    ResponseFormat,
    Target,
    WebSearch,
)
from engine.api.chat import Part
from engine.providers.checks import unsupported
from engine.testing import ScriptedProvider, ask

PLAIN = ModelInfo(id="plain", provider="scripted")


def asked(part: Part) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", parts=(part,)),))


DEMANDS = [
    (asked(ImagePart(url="http://x/y.png")), "images", "input"),
    (asked(AudioPart(data="", format="wav")), "audio", "input"),
    (asked(FilePart(data="")), "files", "input"),
    (structs.replace(ask(), tools=(FunctionTool(name="f"),)), "tools", "tools"),
    (structs.replace(ask(), tools=(WebSearch(),)), "web_search", "tools"),
    (structs.replace(ask(), response_format=ResponseFormat(kind="json_schema")), "json_schema", "response_format"),
    (structs.replace(ask(), reasoning=Reasoning(effort="high")), "reasoning", "reasoning"),
    (structs.replace(ask(), logprobs=0), "logprobs", "logprobs"),
]


@pytest.mark.parametrize(("request_", "capability", "field"), DEMANDS)
def test_a_demand_needs_its_capability(request_: ChatRequest, capability: str, field: str) -> None:
    error = unsupported(Target(ScriptedProvider(), "m", PLAIN), request_)
    assert error is not None
    assert (error.field, "scripted/m" in error.message) == (field, True)
    able = structs.replace(PLAIN, capabilities=frozenset({capability}))
    assert unsupported(Target(ScriptedProvider(), "m", able), request_) is None


@pytest.mark.parametrize(("request_", "capability", "field"), DEMANDS)
def test_nothing_is_checked_where_nothing_is_known(request_: ChatRequest, capability: str, field: str) -> None:
    assert unsupported(Target(ScriptedProvider(), "m", None), request_) is None
    assert unsupported(Target(ScriptedProvider(), "m", PLAIN, checked=False), request_) is None


def test_to_ask_for_no_reasoning_is_no_demand() -> None:
    request = structs.replace(ask(), reasoning=Reasoning(effort="none"), response_format=ResponseFormat(kind="json"))
    assert unsupported(Target(ScriptedProvider(), "m", PLAIN), request) is None
