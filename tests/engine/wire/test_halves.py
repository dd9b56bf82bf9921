"""Halves of characters in JSON become U+FFFD, and nothing else changes."""

from __future__ import annotations

import json

import pytest

from engine.wire.halves import whole_characters

HALF = "\ufffd"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'"a \ud83d"', f"a {HALF}"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\ud83d\ud83d\ude00"', f"{HALF}\U0001f600"),
        (rb'"\ud83d\ude00\ude00"', f"\U0001f600{HALF}"),
        (rb'"\ude00\ud83d"', f"{HALF}{HALF}"),
        (rb'"\\ud83d"', r"\ud83d"),
        (rb'"\\\ud83d"', f"\\{HALF}"),
        (rb'"\ud83d\\ude00"', f"{HALF}\\ude00"),
        (rb'"\"\ud83d\n"', f'"{HALF}\n'),
    ],
)
def test_only_halves_that_stand_alone_are_replaced(body: bytes, text: str) -> None:
    assert json.loads(whole_characters(body)) == text


@pytest.mark.parametrize("before", range(65_520, 65_546))
def test_a_pair_and_an_escape_stay_whole_wherever_a_large_body_is_cut(before: int) -> None:
    body = b'"' + b"a" * before + rb"\ud83d\ude00\\\ud83d\\" + b"b" * 65_536 + rb'\ude00"'

    text = json.loads(whole_characters(body))

    assert text == "a" * before + f"\U0001f600\\{HALF}\\" + "b" * 65_536 + HALF


@pytest.mark.parametrize("escapes", range(1_020, 1_028))
def test_pairs_stay_whole_among_many_escapes(escapes: int) -> None:
    body = b'"' + rb"\n" * escapes + rb"\ud83d\ude00" * 2_000 + rb'\ud83d"'

    assert json.loads(whole_characters(body)) == "\n" * escapes + "\U0001f600" * 2_000 + HALF


@pytest.mark.parametrize("escapes", range(4))
@pytest.mark.parametrize("between", ["", " "])
def test_many_halves_are_each_replaced(escapes: int, between: str) -> None:
    body = b'"' + rb"\n" * escapes + (rb"\ud83d" + between.encode()) * 5_000 + b'"'

    assert json.loads(whole_characters(body)) == "\n" * escapes + (HALF + between) * 5_000


def test_a_text_without_halves_is_the_same_object() -> None:
    body = b'"hello"'

    assert whole_characters(body) is body
