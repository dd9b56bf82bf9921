"""Beginnings and ends of turns in probabilities of speech, and how long a pause may be after which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.realtime.endpointing import (
    FRAME_MS,
    LONGEST_SILENCE_MS,
    SHORTEST_SILENCE_MS,
    START_FRAMES,
    Endpointer,
    silence_after,
)

SPEECH, SILENCE, UNSURE = 0.9, 0.0, 0.4


def happened(probabilities: list[float], silence_ms: int = 320) -> list[tuple[int, str]]:
    """What was found, with the number of the frame at which it was."""
    endpointer = Endpointer(0.5, silence_ms)
    found = ((at, endpointer.feed(each)) for at, each in enumerate(probabilities))
    return [(at, each) for at, each in found if each is not None]


def test_a_click_is_no_speech() -> None:
    assert happened([SILENCE, SPEECH, SILENCE, SPEECH, SILENCE, SILENCE] * 5) == []


def test_speech_begins_after_three_frames_and_ends_after_its_silence() -> None:
    assert happened([SILENCE] * 4 + [SPEECH] * 5 + [SILENCE] * 12) == [(6, "began"), (18, "ended")]


def test_what_is_nearly_speech_goes_on_with_it() -> None:
    assert happened([SPEECH] * 5 + [UNSURE] * 30) == [(2, "began")]
    assert happened([UNSURE] * 30) == []


def test_a_short_pause_is_within_the_turn() -> None:
    assert happened([SPEECH] * 5 + [SILENCE] * 9 + [SPEECH] * 5 + [SILENCE] * 9) == [(2, "began")]


@given(st.lists(st.floats(0, 1), max_size=300), st.integers(100, 2_000))
def test_beginnings_and_ends_take_turns_and_no_turn_is_shorter_than_its_silence(
    probabilities: list[float], silence_ms: int
) -> None:
    found = happened(probabilities, silence_ms)
    assert [kind for _, kind in found] == ["began", "ended"] * (len(found) // 2) + ["began"] * (len(found) % 2)
    for (begin, _), (end, _) in zip(found[::2], found[1::2], strict=False):
        assert (end - begin) * FRAME_MS >= silence_ms
    assert all(begin >= START_FRAMES - 1 for begin, _ in found[:1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 600),
        ("It is green", 600),
        ("It is green.", 300),
        ('He said "stop!"', 300),
        ("I would like a", 1_800),
        ("Well, because", 1_800),
        ("First,", 1_800),
        ("It was a bee", 600),
    ],
)
def test_the_words_say_how_long_a_pause_may_be(text: str, expected: int) -> None:
    assert silence_after(text, 600) == expected


@given(st.text(max_size=80), st.integers(200, 2_000))
def test_no_pause_is_shorter_or_longer_than_the_bounds(text: str, usual: int) -> None:
    assert SHORTEST_SILENCE_MS <= silence_after(text, usual) <= LONGEST_SILENCE_MS
