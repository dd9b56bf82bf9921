"""What realtime clients ask of a session by habit: hints are dropped, demands refused, and the rest is taken."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api import InvalidRequest, UnsupportedParameter
from plugins.openai_api.hints import Hints
from plugins.openai_api.realtime_wishes import sort_response, sort_session


@pytest.mark.parametrize(
    ("asked", "dropped"),
    [
        ({"tracing": "auto"}, ["session.tracing"]),
        ({"tracing": None, "include": [], "truncation": "auto"}, []),
        ({"truncation": "disabled", "max_output_tokens": 5}, ["session.truncation"]),
        ({"audio": {"output": {"speed": 1.2}}}, ["session.audio.output.speed"]),
        ({"audio": {"output": {"speed": 1.0}}}, []),
    ],
)
def test_a_hint_is_dropped_and_the_rest_stays(asked: dict[str, Any], dropped: list[str]) -> None:
    hints = Hints()
    session, refused = sort_session({"type": "realtime", "instructions": "x", **asked}, hints)
    assert (sorted(hints.dropped), refused) == (sorted(dropped), [])
    assert session["instructions"] == "x"
    assert not session.keys() & {"tracing", "truncation", "include"}
    assert not session.get("audio", {}).get("output", {}).get("speed")


def test_a_hint_is_refused_in_strict_mode() -> None:
    with pytest.raises(UnsupportedParameter, match=r"session\.tracing"):
        sort_session({"tracing": "auto"}, Hints(strict=True))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"prompt": {"id": "pmpt_1"}}, "session.prompt"),
        ({"tool_choice": "required"}, "session.tool_choice"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "session.tool_choice"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools.0"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm"}}, "output": {"format": {"type": "audio/pcmu"}}}},
            "session.audio.output.format",
        ),
    ],
)
def test_a_demand_is_refused_by_name_and_the_rest_stays(asked: dict[str, Any], field: str) -> None:
    session, refused = sort_session({"instructions": "x", **asked}, Hints())
    assert [error.field for error in refused] == [field]
    assert session["instructions"] == "x"
    assert "prompt" not in session and "tool_choice" not in session and not session.get("tools")
    assert "format" not in session.get("audio", {}).get("output", {})


def test_formats_that_say_the_same_in_other_words_are_one() -> None:
    audio = {"input": {"format": {"type": "audio/pcm"}}, "output": {"format": {"type": "audio/pcm", "rate": 24_000}}}
    assert sort_session({"audio": audio}, Hints()) == ({"audio": audio}, [])


@pytest.mark.parametrize("field", ["modalities", "voice", "input_audio_format", "turn_detection"])
def test_the_form_of_the_beta_is_named_in_one_sentence(field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} is of the API's beta: .* audio.output") as caught:
        sort_session({field: "x"}, Hints())
    assert caught.value.field == f"session.{field}"


@pytest.mark.parametrize("name", ["input", "tools", "prompt", "tool_choice", "conversation"])
def test_a_response_that_would_be_another_one_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        sort_response({name: "none"}, Hints())
    assert caught.value.field == f"response.{name}"


def test_options_of_a_response_that_ask_for_nothing_are_taken() -> None:
    hints = Hints()
    asked = {
        "conversation": "auto",
        "tool_choice": "auto",
        "input": None,
        "tools": [],
        "max_output_tokens": 50,
        "audio": {"output": {"voice": "ash"}},
        "output_modalities": ["text", "audio"],
        "instructions": "x",
    }
    assert sort_response(asked, hints) == {
        "conversation": "auto",
        "output_modalities": ["audio"],
        "instructions": "x",
    }
    assert hints.dropped == ["response.audio", "response.max_output_tokens"]
