"""The text of a custom tool's call, decoded while it is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.openai_api.custom_input import GrowingInput, text_input


def grown(arguments: str, size: int) -> tuple[str, str]:
    """What the pieces give, and what is missing at the end."""
    growing = GrowingInput()
    said = "".join(growing.take(arguments[at : at + size]) for at in range(0, len(arguments), size))
    return said, growing.rest(text_input(arguments))


@given(st.text(), st.integers(1, 9), st.booleans())
def test_the_pieces_and_the_rest_are_the_text(text: str, size: int, ascii_only: bool) -> None:
    said, rest = grown(json.dumps({"input": text}, ensure_ascii=ascii_only), size)
    assert said + rest == text


def test_the_text_comes_before_the_call_is_whole() -> None:
    growing = GrowingInput()
    assert [growing.take(piece) for piece in ('{"in', 'put": "*** Be', "gin\\", "nadd \\ud83d", "\\ude00", '"}')] == [
        "",
        "*** Be",
        "gin",
        "\nadd ",
        "\U0001f600",
        "",
    ]


@pytest.mark.parametrize("arguments", ['{"other":"x"}', "not json", '{"input":7}', '["input"]', ""])
def test_what_is_no_such_argument_is_the_text_itself(arguments: str) -> None:
    said, rest = grown(arguments, 3)
    assert text_input(arguments) == said + rest == arguments


@pytest.mark.parametrize("arguments", ['{"input":"cut', '{"input":"cut\\', '{"input":"cut\\ud8'])
def test_of_a_call_that_was_cut_off_what_had_come_is_the_text(arguments: str) -> None:
    assert grown(arguments, 4) == ("cut", "")
