"""Streamed text on a terminal: words move to the next line whole."""

from __future__ import annotations

import random
import re

import pytest
from rich.cells import cell_len

from plugins.chat.terminal.wrapping import Wrapping

_MOVE = re.compile(r"\x1b\[(\d+)D\x1b\[K")
TEXT = "The boat, an old one, drifted slowly past the extraordinary riverbank of 2026.\n\n  - and then 漢字を読む。 it\tsank."


def screen(printed: str) -> list[str]:
    """The lines that a terminal shows once this is printed."""
    lines = [""]
    while printed:
        if move := _MOVE.match(printed):
            left = cell_len(lines[-1]) - int(move[1])
            while cell_len(lines[-1]) > left:
                lines[-1] = lines[-1][:-1]
            printed = printed[move.end() :]
            continue
        char, printed = printed[0], printed[1:]
        if char == "\n":
            lines.append("")
        else:
            lines[-1] += char
    return lines


def shown(text: str, width: int, pieces: int | None = None) -> list[str]:
    wrapping = Wrapping(lambda: width)
    size = pieces or len(text)
    return screen("".join(wrapping.fit(text[at : at + size]) for at in range(0, len(text), size)))


def test_a_word_that_does_not_fit_moves_to_the_next_line() -> None:
    assert [line.rstrip() for line in shown("one two three", 8)] == ["one two", "three"]


def test_a_word_that_comes_in_pieces_moves_as_one() -> None:
    wrapping = Wrapping(lambda: 8)
    assert [wrapping.fit(piece) for piece in ("one tw", "o", "four", "teen")] == [
        "one tw",
        "o",
        "\x1b[3D\x1b[K\ntwofour",
        "\nteen",
    ]


@pytest.mark.parametrize("width", [12, 20, 31, 79])
def test_pieces_of_any_size_look_like_the_whole_text(width: int) -> None:
    assert {tuple(shown(TEXT, width, size)) for size in (1, 2, 3, 7)} == {tuple(shown(TEXT, width))}


@pytest.mark.parametrize("width", [20, 31, 40, 79])
def test_no_line_is_as_wide_as_the_terminal_and_no_word_is_cut(width: int) -> None:
    lines = shown(TEXT, width, 3)
    assert max(cell_len(line.expandtabs()) for line in lines) < width
    ascii_words = re.findall(r"[!-~]+", TEXT)
    assert re.findall(r"[!-~]+", "\n".join(lines)) == ascii_words


def test_a_word_longer_than_the_line_is_cut_at_its_end() -> None:
    assert [line.rstrip() for line in shown("a " + "x" * 12, 6)] == ["a", "xxxxx", "xxxxx", "xx"]


def test_wide_characters_count_twice_and_may_be_parted() -> None:
    assert shown("漢字漢字漢字", 6) == ["漢字", "漢字", "漢字"]


def test_no_line_begins_with_a_mark_that_closes() -> None:
    assert shown("漢字漢字。", 9, 1) == ["漢字漢", "字。"]


def test_a_picture_of_several_characters_stays_whole() -> None:
    assert shown("abc 👩\u200d💻", 6, 1)[-1] == "👩\u200d💻"


def test_a_line_end_of_the_text_begins_a_line() -> None:
    assert shown("one\ntwo three", 8) == ["one", "two ", "three"]


def test_a_line_that_fits_exactly_gets_no_empty_line_behind_it() -> None:
    assert shown("one two \nthree", 8) == ["one two", "three"]


def test_a_terminal_that_grows_or_shrinks_is_followed() -> None:
    widths = iter([40, 10, 40])
    wrapping = Wrapping(lambda: next(widths))
    printed = [wrapping.fit(text) for text in ("one two ", "three four ", "five six")]
    assert screen("".join(printed)) == ["one two ", "three ", "four five six"]


def test_a_terminal_that_shrinks_in_the_middle_of_a_long_line_has_broken_it() -> None:
    widths = iter([40, 10])
    wrapping = Wrapping(lambda: next(widths))
    wrapping.fit("one two three four ")
    assert wrapping.fit("five") == "\nfive"


def test_random_text_keeps_its_words() -> None:
    chance = random.Random(7)
    for _ in range(200):
        words = ["".join(chance.choices("abcdefg", k=chance.randint(1, 11))) for _ in range(30)]
        lines = shown(" ".join(words), chance.randint(13, 60), chance.randint(1, 9))
        assert " ".join(lines).split() == words
