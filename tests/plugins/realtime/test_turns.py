"""The laws of a call's turns hold whatever happens in whatever order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.realtime.turns import Act, Happening, Phase, Turns, advance

HAPPENINGS = st.lists(st.sampled_from(list(Happening)), max_size=60)
TALK = [Happening.SPEECH_BEGAN, Happening.WORDS, Happening.SPEECH_ENDED]


def run(happenings: list[Happening], *, interrupt: bool = True) -> tuple[Turns, list[Act]]:
    turns, acts = Turns(interrupt=interrupt), list[Act]()
    for happening in happenings:
        turns, more = advance(turns, happening)
        acts += more
    return turns, acts


def only(acts: list[Act], *wanted: Act) -> list[Act]:
    return [act for act in acts if act in wanted]


@given(HAPPENINGS, st.booleans())
def test_what_begins_ends_before_it_begins_again(happenings: list[Happening], interrupt: bool) -> None:
    _, acts = run(happenings, interrupt=interrupt)
    for started, ended in (
        (Act.TELL_USER_STARTED, Act.TELL_USER_ENDED),
        (Act.TELL_ASSISTANT_STARTED, Act.TELL_ASSISTANT_ENDED),
    ):
        told = only(acts, started, ended)
        assert told[::2] == [started] * len(told[::2])
        assert told[1::2] == [ended] * len(told[1::2])


@given(HAPPENINGS, st.booleans())
def test_what_is_held_goes_on_or_is_dropped_before_it_is_held_again(
    happenings: list[Happening], interrupt: bool
) -> None:
    _, acts = run(happenings, interrupt=interrupt)
    told = only(acts, Act.HOLD, Act.RESUME, Act.STOP_ANSWER)
    for before, after in pairwise(told):
        assert before is not Act.HOLD or after in (Act.RESUME, Act.STOP_ANSWER)
        assert after is not Act.RESUME or before is Act.HOLD


@given(HAPPENINGS)
def test_nothing_of_an_answer_begins_while_it_is_held(happenings: list[Happening]) -> None:
    turns = Turns()
    for happening in happenings:
        held = turns.held
        turns, acts = advance(turns, happening)
        if held and happening is Happening.ANSWER_BEGAN:
            assert acts == []


@given(HAPPENINGS)
def test_who_may_not_interrupt_stops_nothing(happenings: list[Happening]) -> None:
    turns = Turns(interrupt=False)
    for happening in happenings:
        turns, acts = advance(turns, happening)
        if happening not in (Happening.ASKED, Happening.STOPPED):
            assert not only(acts, Act.HOLD, Act.STOP_ANSWER)


@given(HAPPENINGS, st.booleans())
def test_the_state_and_what_was_told_agree(happenings: list[Happening], interrupt: bool) -> None:
    turns, acts = run(happenings, interrupt=interrupt)
    users = only(acts, Act.TELL_USER_STARTED, Act.TELL_USER_ENDED)
    answers = only(acts, Act.TELL_ASSISTANT_STARTED, Act.TELL_ASSISTANT_ENDED)
    assert turns.talking == (bool(users) and users[-1] is Act.TELL_USER_STARTED)
    assert turns.begun == (bool(answers) and answers[-1] is Act.TELL_ASSISTANT_STARTED)


@given(HAPPENINGS)
def test_silence_and_a_stop_lead_to_rest(happenings: list[Happening]) -> None:
    turns, _ = run([*happenings, Happening.SPEECH_ENDED, Happening.STOPPED])
    assert turns.phase is Phase.IDLE
    assert not turns.talking


def test_a_question_and_its_answer() -> None:
    turns, acts = run([*TALK, Happening.ASKED, Happening.ANSWER_BEGAN, Happening.ANSWER_OVER])
    assert turns.phase is Phase.IDLE
    assert acts == [
        Act.TELL_USER_STARTED,
        Act.TELL_USER_ENDED,
        Act.TELL_ASSISTANT_STARTED,
        Act.TELL_ASSISTANT_ENDED,
    ]


def test_words_over_an_answer_stop_it() -> None:
    speaking = [*TALK, Happening.ASKED, Happening.ANSWER_BEGAN]
    turns, acts = run([*speaking, Happening.SPEECH_BEGAN, Happening.WORDS])
    assert turns.phase is Phase.USER_SPEAKING
    assert acts[3:] == [Act.TELL_USER_STARTED, Act.HOLD, Act.STOP_ANSWER, Act.TELL_ASSISTANT_ENDED]


def test_a_cough_over_an_answer_lets_it_go_on() -> None:
    speaking = [*TALK, Happening.ASKED, Happening.ANSWER_BEGAN]
    turns, acts = run([*speaking, Happening.SPEECH_BEGAN, Happening.SPEECH_ENDED, Happening.NO_WORDS])
    assert turns.phase is Phase.SPEAKING
    assert acts[3:] == [Act.TELL_USER_STARTED, Act.HOLD, Act.TELL_USER_ENDED, Act.RESUME]


@pytest.mark.parametrize("happening", list(Happening))
def test_a_stop_while_nothing_plays_changes_nothing(happening: Happening) -> None:
    assert advance(Turns(), Happening.STOPPED) == (Turns(), [])
    turns, _ = advance(Turns(), happening)
    assert turns.phase in Phase
