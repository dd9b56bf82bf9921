"""What a log in memory holds, what it lets go, and what that costs."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from engine.api.errors import SlowConsumer
from engine.api.events import Audio, Event, Gap, StatusChanged, StreamEnded, TextDelta
from engine.bus.log import OVERHEAD, Entry, MemoryLog


def filled(log: MemoryLog, *events: Event) -> MemoryLog:
    for event in events:
        log.append(Entry(log.committed + 1, event))
    return log


def events_of(log: MemoryLog) -> list[Event]:
    return [entry.event for entry in log.read(log.tail, 10_000)]


def test_what_is_over_the_bound_leaves_from_the_front() -> None:
    log = filled(MemoryLog(10 * (OVERHEAD + 10)), *(TextDelta("x" * 10) for _ in range(25)))
    assert (log.tail, log.committed, log.size) == (15, 25, 10 * (OVERHEAD + 10))
    assert [entry.n for entry in log.read(15, 100)] == list(range(16, 26))


def test_a_reader_behind_the_tail_is_told_what_is_gone() -> None:
    log = filled(MemoryLog(10 * (OVERHEAD + 10)), *(TextDelta("x" * 10) for _ in range(25)))
    with pytest.raises(SlowConsumer, match="up to number 15 are no longer held and the last one seen is 14"):
        log.read(14, 1)


def test_one_event_larger_than_the_bound_is_held_for_those_who_keep_up() -> None:
    log = filled(MemoryLog(1000), TextDelta("a"), TextDelta("x" * 5000))
    assert [entry.n for entry in log.read(1, 10)] == [2]
    assert log.tail == 1


def test_words_count_by_bytes() -> None:
    assert filled(MemoryLog(10_000), TextDelta("漢字")).size == OVERHEAD + 6


@pytest.mark.parametrize("event", [TextDelta("\ud83d"), StatusChanged(stage="\ud83d"), TextDelta("", 0, [{"a": {1j}}])])
def test_what_no_reader_could_be_sent_is_refused_and_leaves_no_trace(event: Event) -> None:
    log = filled(MemoryLog(10_000), TextDelta("a"))
    size = log.size
    with pytest.raises((UnicodeEncodeError, TypeError)):
        log.append(Entry(2, event))
    assert (log.committed, log.size) == (1, size)
    filled(log, TextDelta("b"))
    assert events_of(log) == [TextDelta("a"), TextDelta("b")]


def test_what_was_let_go_is_free_memory() -> None:
    log = MemoryLog(1 << 20)
    tracemalloc.start()
    try:
        for _ in range(200):
            filled(log, TextDelta("x" * (1 << 20)))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 6 << 20


def test_the_memory_of_many_small_events_with_their_frames_is_near_the_size_told() -> None:
    log = MemoryLog(1 << 20)
    tracemalloc.start()
    try:
        for n in range(1, 6000):
            log.append(Entry(n, TextDelta(f"word{n} ")))
            for entry in log.read(n - 1, 1):
                entry.frame(b'{"stream":"s_0123456789abcdef01234567","n":')
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * log.size
    assert log.size <= 1 << 20


def audio(at: int, size: int = 100, lane: str = "speech") -> Audio:
    return Audio(lane=lane, data=b"\0" * size, at=at)


def test_old_audio_becomes_one_gap_that_keeps_its_numbers() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), *(audio(at) for at in range(0, 3000, 500)))
    assert events_of(log) == [Gap(lane="speech", first=1, last=3), audio(1500), audio(2000), audio(2500)]
    assert [entry.n for entry in log.read(0, 10)] == [3, 4, 5, 6]


def test_a_reader_in_the_middle_of_what_became_a_gap_is_told_of_the_rest() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), *(audio(at) for at in range(0, 3000, 500)))
    (entry,) = log.read(2, 1)
    assert (entry.n, entry.event) == (3, Gap(lane="speech", first=3, last=3))
    assert [entry.n for entry in log.read(3, 2)] == [4, 5]


def test_a_gap_tells_in_its_frame_which_number_was_before_it() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), TextDelta("a"), *(audio(at) for at in range(0, 3000, 500)))
    gap = log.read(1, 1)[0]
    assert gap.frame(b'{"n":') == b'{"n":4,"prev":1,"type":"gap","lane":"speech","from":2,"to":4}'


def test_a_word_stands_between_the_gaps_of_the_audio_around_it() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), audio(0), audio(20), TextDelta("a"), audio(40), audio(60))
    filled(log, audio(9000))
    assert [type(event) for event in events_of(log)] == [Gap, TextDelta, Gap, Audio]
    assert [entry.n for entry in log.read(2, 10)] == [3, 5, 6]


def test_a_frame_that_was_encoded_as_audio_is_not_sent_again_once_it_is_a_gap() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), audio(0))
    entry = log.read(0, 1)[0]
    filled(log, audio(5000))
    assert entry.frame(b'{"n":') == b'{"n":1,"type":"gap","lane":"speech","from":1,"to":1}'


def test_each_lane_ages_by_its_own_time() -> None:
    log = filled(MemoryLog(1 << 20, audio_seconds=1.0), audio(0, lane="music"), audio(90_000), audio(91_500))
    assert [type(event) for event in events_of(log)] == [Audio, Gap, Audio]


def test_audio_counts_for_what_is_held_and_not_against_the_words() -> None:
    log = filled(MemoryLog(5000), TextDelta("hello"), *(audio(n, 10_000) for n in range(5)))
    assert log.size == 6 * OVERHEAD + 5 + 50_000
    assert log.tail == 0


def test_audio_whose_time_stands_still_is_bounded_too() -> None:
    log = MemoryLog(1 << 20, audio_bytes=100_000)
    for _ in range(5000):
        filled(log, audio(0, 1000))
    held = [event for event in events_of(log) if isinstance(event, Audio)]
    assert 90_000 < sum(OVERHEAD + len(event.data) for event in held) <= 100_000
    assert log.size <= (1 << 20) + 100_000 + OVERHEAD


def test_the_size_is_what_is_held_whatever_left_and_whatever_became_a_gap() -> None:
    log = MemoryLog(3000, audio_seconds=0.1)
    for n in range(300):
        filled(log, audio(n * 20, n), TextDelta("é" * (n % 7)), StatusChanged(stage="s" * n))
    while log.tail < log.committed - 1:  # one large event after another pushes everything out
        filled(log, TextDelta("x" * 5000))
    assert log.size == OVERHEAD + 5000


def test_an_ended_stream_is_held_to_its_last_event() -> None:
    end = StreamEnded(status="completed", reason="done")
    log = filled(MemoryLog(100), TextDelta("x" * 200), end)
    assert events_of(log) == [end]


def test_minutes_of_audio_do_not_push_out_a_word() -> None:
    log = filled(MemoryLog(1 << 20), TextDelta("hello"), *(audio(20 * n) for n in range(50 * 120)))
    assert log.tail == 0
