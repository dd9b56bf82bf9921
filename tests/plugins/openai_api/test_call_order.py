"""Calls that a model writes at once, told one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api import Event, ReasoningDelta, StreamEnded, TextDelta, ToolCall, ToolDelta
from plugins.openai_api.call_order import CallBegun, CallEnded, CallGrown, CallOrder, CallSigned

END = StreamEnded(status="completed", reason="done")


def piece(call: str, arguments: str) -> ToolDelta:
    return ToolDelta(call_id=call, name=f"tool_{call}", arguments=arguments)


def made(call: str, arguments: str, signature: str | None = None) -> ToolCall:
    return ToolCall(call_id=call, name=f"tool_{call}", arguments=arguments, signature=signature)


def told(*events: Event) -> list[Any]:
    """What comes of the events, in short."""
    order = CallOrder()
    short: list[Any] = []
    for step in (step for event in events for step in order.take(event)):
        match step:
            case CallBegun():
                short.append(f"+{step.call.call_id}")
            case CallGrown():
                short.append(step.piece)
            case CallEnded():
                short.append(f"-{step.call.call_id}{' cut' if step.cut else ''}")
            case CallSigned():
                short.append(f"!{step.call.call_id}")
            case TextDelta() | ReasoningDelta():
                short.append(step)
            case StreamEnded():
                short.append(".")
    return short


A, B = '{"x":1}', '{"y":2}'
TEXT = TextDelta("word")


@pytest.mark.parametrize(
    ("events", "steps"),
    [
        ((made("a", A), made("b", B)), ["+a", A, "-a", "+b", B, "-b"]),
        ((piece("a", '{"x"'), piece("a", ":1}"), made("a", A)), ["+a", '{"x"', ":1}", "-a"]),
        (
            (piece("a", '{"x"'), piece("b", '{"y"'), piece("a", ":1}"), piece("b", ":2}"), made("a", A), made("b", B)),
            ["+a", '{"x"', ":1}", "-a", "+b", '{"y":2}', "-b"],
        ),
        ((piece("a", A), piece("b", B), made("a", A), made("b", B)), ["+a", A, "-a", "+b", B, "-b"]),
        (
            (piece("a", '{"x"'), made("b", B), piece("a", ":1}"), made("a", A)),
            ["+a", '{"x"', ":1}", "-a", "+b", B, "-b"],
        ),
        ((piece("a", A), TEXT, made("a", A)), ["+a", A, "-a", TEXT]),
        ((piece("a", '{"x"'), TEXT, piece("a", ":1}"), made("a", A)), ["+a", '{"x"', ":1}", "-a", TEXT]),
        ((TEXT, made("a", A), TEXT), [TEXT, "+a", A, "-a", TEXT]),
        ((piece("a", A), TEXT, made("a", A, "sig")), ["+a", A, "-a", TEXT, "!a"]),
        ((made("a", ""),), ["+a", "-a"]),
    ],
)
def test_each_call_is_written_from_its_beginning_to_its_end(events: tuple[Event, ...], steps: list[Any]) -> None:
    assert told(*events, END) == [*steps, "."]


def test_a_stream_that_ends_in_the_middle_says_which_calls_were_cut() -> None:
    events = (piece("a", '{"x"'), TEXT, piece("b", B), piece("c", '{"z'), END)
    assert told(*events) == ["+a", '{"x"', "-a cut", "+b", B, "-b", "+c", '{"z', "-c cut", TEXT, "."]


def test_pieces_go_out_as_they_come() -> None:
    order = CallOrder()
    assert [type(step) for step in order.take(piece("a", "{"))] == [CallBegun, CallGrown]
    assert [type(step) for step in order.take(piece("a", "}"))] == [CallGrown]
    assert order.writing
