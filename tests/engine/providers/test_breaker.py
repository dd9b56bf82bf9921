"""The breaker by itself, on a clock in the test's hand."""

from engine.providers.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(2, 30, clock)
    for _ in range(2):
        assert breaker.enter()
        breaker.fail()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(2, 30, Clock())
    for _ in range(3):
        breaker.fail()
        breaker.succeed()
    assert breaker.enter()
    assert not opened(Clock()).enter()


def test_after_the_wait_one_call_may_try_and_its_success_closes() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 29
    assert breaker.wait() == 1
    clock.now = 30
    assert breaker.enter()
    assert not breaker.enter()
    breaker.succeed()
    assert breaker.enter()
    assert breaker.enter()


def test_a_failed_try_opens_it_for_the_whole_time_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 30
    assert breaker.enter()
    breaker.fail()
    assert breaker.wait() == 30


def test_a_try_without_verdict_leaves_room_for_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now = 30
    assert breaker.enter()
    breaker.release()
    assert breaker.enter()
