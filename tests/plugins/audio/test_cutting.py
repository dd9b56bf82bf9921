"""Recordings are cut where nobody speaks, and nothing of what was said is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.audio.cutting import BEFORE_FRAMES, END_FRAMES, FRAME_BYTES, LEAST_FRAMES, PAUSE_FRAMES, Cutter, Utterance

LONGEST = 200 * 0.032


def frame(number: int) -> bytes:
    return number.to_bytes(4, "big") * (FRAME_BYTES // 4)


def numbers(utterance: Utterance) -> list[int]:
    pcm = utterance.pcm
    return [int.from_bytes(pcm[at : at + 4], "big") for at in range(0, len(pcm), FRAME_BYTES)]


def cut(probabilities: list[float]) -> list[Utterance]:
    cutter, over = Cutter(LONGEST), list[Utterance]()
    for number, probability in enumerate(probabilities):
        if cutter.feed(frame(number), probability) == "ended" and (utterance := cutter.take()) is not None:
            over.append(utterance)
    last = cutter.finish()
    return [*over, last] if last is not None else over


def test_an_utterance_has_what_came_before_its_first_speech() -> None:
    [utterance] = cut([0.0] * 30 + [0.9] * 20 + [0.0] * 30)
    assert numbers(utterance)[0] == 30 + 2 - BEFORE_FRAMES
    assert (utterance.begin, utterance.end, utterance.spoken) == (32 - BEFORE_FRAMES, 50, 20)


def test_a_short_pause_divides_nothing_and_a_long_one_does() -> None:
    short = [0.9] * 20 + [0.0] * (END_FRAMES - 1) + [0.9] * 20
    assert len(cut(short)) == 1
    assert len(cut([0.9] * 20 + [0.0] * END_FRAMES + [0.9] * 20)) == 2


def test_a_click_is_no_speech() -> None:
    assert cut([0.0] * 10 + [0.9] + [0.0] * 30) == []
    [breath] = cut([0.0] * 10 + [0.9] * (LEAST_FRAMES - 1) + [0.0] * 30)
    assert not breath.is_speech


def test_a_pause_is_told_once_while_it_may_be_the_end() -> None:
    cutter = Cutter(LONGEST)
    told = [cutter.feed(frame(0), each) for each in [0.9] * 20 + [0.0] * (END_FRAMES - 1)]
    assert told.count("pauses") == 1
    assert told.index("pauses") == 20 + PAUSE_FRAMES - 1
    assert cutter.so_far().end == 20


def test_somebody_who_does_not_pause_is_cut_where_it_sounds_least_like_speech() -> None:
    probabilities = [0.9] * 350
    probabilities[185] = 0.4
    first, second = cut(probabilities)
    assert numbers(first)[-1] == 185 and numbers(second)[0] == 186
    assert second.begin == first.begin + len(numbers(first))


@given(st.lists(st.floats(0, 1), max_size=1_500))
def test_utterances_are_in_order_bounded_and_hold_all_speech(probabilities: list[float]) -> None:
    utterances = cut(probabilities)
    held = [number for utterance in utterances for number in numbers(utterance)]
    assert held == sorted(set(held))
    assert all(len(numbers(utterance)) <= 200 for utterance in utterances)
    kept = set(held)
    runs = [at for at in range(1, len(probabilities)) if probabilities[at] >= 0.5 and probabilities[at - 1] >= 0.5]
    assert kept.issuperset(runs)
    for utterance in utterances:
        assert utterance.begin == numbers(utterance)[0]
        assert utterance.begin <= utterance.end <= utterance.begin + len(numbers(utterance))
