"""What was learned lately is kept for a time, and never more than so much of it."""

from __future__ import annotations

import pytest

from engine.auth.recent import Recent
from tests.engine.auth.clock import Clock


@pytest.fixture
def recent(clock: Clock) -> Recent[str, int]:
    return Recent(3, 10.0, clock)


def test_a_value_is_there_until_its_time_is_over(recent: Recent[str, int], clock: Clock) -> None:
    recent.put("a", 1)
    clock.now += 9.9
    assert recent.get("a") == 1
    clock.now += 0.1
    assert recent.get("a") is None
    assert len(recent) == 0


def test_reading_does_not_prolong_the_time_and_writing_does(recent: Recent[str, int], clock: Clock) -> None:
    recent.put("read", 1)
    recent.put("written", 1)
    clock.now += 6
    recent.get("read")
    recent.put("written", 2)
    clock.now += 6
    assert (recent.get("read"), recent.get("written")) == (None, 2)


def test_the_time_may_run_from_an_earlier_moment(recent: Recent[str, int], clock: Clock) -> None:
    recent.put("a", 1, since=clock.now - 9)
    clock.now += 1
    assert recent.get("a") is None


def test_the_one_unused_for_longest_goes_when_it_is_full(recent: Recent[str, int]) -> None:
    for name in "abc":
        recent.put(name, 1)
    recent.get("a")
    recent.put("d", 1)
    assert len(recent) == 3
    assert [name for name in "abcd" if recent.get(name)] == ["a", "c", "d"]


def test_a_dropped_value_is_gone_and_dropping_nothing_is_no_error(recent: Recent[str, int]) -> None:
    recent.put("a", 1)
    recent.drop("a")
    recent.drop("a")
    assert recent.get("a") is None
