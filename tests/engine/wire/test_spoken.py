"""What is written to be seen is not spoken, and what is meant to be heard is."""

from __future__ import annotations

from time import thread_time

import pytest

from engine.wire.spoken import Spoken
from tests.engine.wire.hostile_texts import TEXTS, WITHIN


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**Bold**, _thin_ and `code`.", "Bold, _thin_ and code."),
        ("See [the page](https://example.com/a_b) now.", "See the page now."),
        ("![a cat](cat.png) sits", "a cat sits"),
        ("See [the boat](https://example.com/Boat_(green)) now.", "See the boat now."),
        ("[a [b](c.html) d]", "[a b d]"),
        ("- - -\n|:--|--:|\n- a -- b", "a -- b"),
        ("# A heading", "A heading"),
        ("- one\n- two\n1. three", "one\ntwo\nthree"),
        ("> quoted words", "quoted words"),
        ("Go to https://example.com/x?y=1 at once", "Go to at once"),
        ("Fine 😀👍🏽 thanks", "Fine thanks"),
        ("😀 👨‍👩‍👧 🇳🇴", ""),
        ("---\n***", ""),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a b\n1 2"),
        ("<b>bold</b> 3 < 4", "bold 3 < 4"),
        ("snake_case stays", "snake_case stays"),
        ("```python\nprint(1)\n```\nDone.", "Done."),
        ("", ""),
    ],
)
def test_marks_are_left_out(written: str, spoken: str) -> None:
    assert Spoken().clean(written) == spoken


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_long_text_takes_no_longer_for_what_it_looks_like(text: str) -> None:
    begun = thread_time()
    Spoken().clean(text)
    assert thread_time() - begun < WITHIN


def test_a_block_of_code_may_span_several_texts() -> None:
    spoken = Spoken()
    assert [spoken.clean(text) for text in ("Look:\n```js", "let a = 1. ", "b()\n```\nThat is it.")] == [
        "Look:",
        "",
        "That is it.",
    ]


class Counting(Spoken):
    """Counts the lines that are read."""

    read = 0

    def _line(self, line: str) -> str:
        self.read += 1
        return super()._line(line)


def test_no_more_is_read_than_up_to_the_first_line_that_speaks() -> None:
    spoken = Counting()
    assert spoken.speaks("---\nHello\n" + "again\n" * 1_000)
    assert spoken.read == 2


@pytest.mark.parametrize("text", ["===\n" * 1_000, "```\nHello\n```", "<a>\nhttp://a\n- ", "_ _", ""])
def test_a_text_of_marks_alone_does_not_speak(text: str) -> None:
    assert not Spoken().speaks(text)
    assert Spoken().clean(text) == ""
