"""The sound of a turn is what was said and what was heard of the answer, whatever happened in between."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import ObjectStore
from plugins.realtime.recording import BEFORE, LONGEST, Recorder

RATE = 100
SECOND = RATE * 2


def recorder(*, on: bool = True) -> Recorder:
    # Nothing is put into it here: only whether there is one matters.
    return Recorder(cast("ObjectStore", object()) if on else None, RATE)


def sound(letter: str, seconds: float = 1.0) -> bytes:
    return letter.encode() * int(seconds * SECOND)


def test_a_turn_has_the_speech_a_moment_before_it_and_the_answer() -> None:
    call = recorder()
    call.hear(sound("-", 10), manual=False)
    call.speech_began()
    call.hear(sound("a", 2), manual=False)
    call.speech_ended()
    call.hear(sound("-", 3), manual=False)
    call.answering()
    call.sent(sound("A", 4))
    turn = call.take()
    assert (turn.said, turn.answered) == (sound("-", BEFORE) + sound("a", 2), sound("A", 4))
    assert (call.take().said, call.take().answered) == (b"", b"")


def test_speech_over_an_answer_belongs_to_the_next_turn() -> None:
    call = recorder()
    call.speech_began()
    call.hear(sound("a"), manual=False)
    call.speech_ended()
    call.answering()
    call.sent(sound("A", 5))
    call.speech_began()
    call.held(3 * SECOND)
    call.hear(sound("b"), manual=False)
    first = call.take()
    call.speech_ended()
    call.answering()
    call.sent(sound("B"))
    second = call.take()
    assert (first.said, first.answered) == (sound("a"), sound("A", 3))
    assert (second.said, second.answered) == (sound("b"), sound("B"))


def test_a_cough_is_no_part_of_what_was_said_and_the_answer_is_there_once() -> None:
    call = recorder()
    call.speech_began()
    call.hear(sound("a"), manual=False)
    call.speech_ended()
    call.answering()
    call.sent(sound("A", 5))
    call.speech_began()
    call.held(3 * SECOND)
    call.hear(sound("c"), manual=False)
    call.speech_ended()
    call.no_speech()
    call.sent(sound("A", 4))
    turn = call.take()
    assert (turn.said, turn.answered) == (sound("a"), sound("A", 7))
    call.answering()
    assert call.take().said == b""


def test_an_answer_that_nobody_heard_leaves_its_question_to_the_next() -> None:
    call = recorder()
    for letter in "ab":
        call.speech_began()
        call.hear(sound(letter), manual=False)
        call.speech_ended()
        call.answering()
    assert call.take().said == sound("a") + sound("b")


def test_where_the_client_says_what_a_turn_is_all_of_it_belongs_to_it() -> None:
    call = recorder()
    call.hear(sound("a", 20), manual=True)
    call.speech_began()
    call.speech_ended()
    call.answering()
    assert call.take().said == sound("a", 20)


def test_what_is_to_be_forgotten_is() -> None:
    call = recorder()
    call.hear(sound("a", 20), manual=True)
    call.no_speech()
    call.hear(sound("b"), manual=True)
    call.speech_began()
    call.speech_ended()
    call.answering()
    assert call.take().said == sound("b")


STEPS = st.sampled_from(["hear", "began", "ended", "cough", "answering", "sent", "held", "take"])


@pytest.mark.parametrize("on", [True, False])
@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 400)), max_size=60))
def test_neither_side_grows_past_its_bound_nor_by_half_a_sample(on: bool, steps: list[tuple[str, int]]) -> None:
    call, heard, sent = recorder(on=on), 0, 0
    for step, seconds in steps:
        match step:
            case "hear":
                call.hear(sound("a", seconds), manual=False)
                heard += seconds
            case "began":
                call.speech_began()
            case "ended":
                call.speech_ended()
            case "cough":
                call.no_speech()
            case "answering":
                call.answering()
            case "sent":
                call.sent(sound("A", seconds))
                sent += seconds
            case "held":
                call.held(seconds * 2)
            case _:
                turn = call.take()
                for side, most in ((turn.said, heard), (turn.answered, sent)):
                    assert len(side) <= min(most, LONGEST) * SECOND and len(side) % 2 == 0
                    assert on or not side
