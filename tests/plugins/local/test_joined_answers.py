"""Answers that follow one another reach the local model as one."""

from __future__ import annotations

from engine.api import Message, TextPart, ToolCall
from plugins.local.chat import joined_answers


def said(role: str, text: str, **fields: object) -> Message:
    return Message(role=role, parts=(TextPart(text),), **fields)  # type: ignore[arg-type]


def test_answers_in_a_row_are_joined_and_turns_stay() -> None:
    call = ToolCall(call_id="c", name="weather", arguments="{}")
    messages = (
        said("user", "Hi"),
        said("assistant", "Hello."),
        said("assistant", "How are you?"),
        said("user", "Well."),
        said("assistant", "Let me see.", tool_calls=(call,)),
        said("assistant", "It rains."),
    )
    joined = joined_answers(messages)
    assert [(each.role, each.text) for each in joined] == [
        ("user", "Hi"),
        ("assistant", "Hello.\nHow are you?"),
        ("user", "Well."),
        ("assistant", "Let me see."),
        ("assistant", "It rains."),
    ]
