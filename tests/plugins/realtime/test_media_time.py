"""Where a client's audio lies in its recording."""

from __future__ import annotations

from plugins.realtime.media_time import MOST_GAPS, MediaTime

RATE = 16_000
FRAME = RATE // 50


def test_a_client_that_names_no_times_sends_all_of_its_recording() -> None:
    time = MediaTime(RATE)
    for _ in range(100):
        time.took(FRAME, 0)
    assert [time.of(place) for place in (0, 700, 2_000)] == [0, 700, 2_000]


def test_silence_that_was_left_out_is_counted_from_where_it_was() -> None:
    time = MediaTime(RATE)
    for n in range(50):
        time.took(FRAME, n * 20)
    for n in range(50):
        time.took(FRAME, 11_000 + n * 20)
    assert [time.of(place) for place in (0, 999, 1_000, 1_500)] == [0, 999, 11_000, 11_500]


def test_silence_that_the_client_did_not_send_takes_none_of_its_time() -> None:
    time = MediaTime(RATE)
    for _ in range(50):
        time.took(FRAME, 0)
    time.silent(RATE)
    for _ in range(50):
        time.took(FRAME, 0)
    assert [time.of(place) for place in (500, 2_000, 2_500)] == [500, 1_000, 1_500]


def test_times_that_are_rounded_are_no_gaps() -> None:
    time = MediaTime(11_025)
    for n in range(1_000):
        time.took(220, round(n * 220 / 11.025))
    assert time.of(12_345) == 12_345


def test_a_recording_may_begin_at_any_time_and_none_lies_before_it() -> None:
    time = MediaTime(RATE)
    time.took(FRAME, 3_600_000)
    assert time.of(0) == 3_600_000
    time.took(FRAME, 1)
    assert time.of(20) == 1
    assert time.of(0) == 3_600_000


def test_of_many_gaps_the_latest_are_remembered() -> None:
    time = MediaTime(RATE)
    for n in range(1, 2 * MOST_GAPS):
        time.took(FRAME, n * 1_000)
    last = 2 * MOST_GAPS - 2
    assert time.of(last * 20) == (last + 1) * 1_000
    assert time.of((last - 500) * 20) == (last - 499) * 1_000
