"""What one principal may hold open and start, and how it is told that this is enough."""

from __future__ import annotations

import pytest

from engine.api.errors import LimitExceeded
from engine.api.identity import Principal
from engine.auth.limits import RequestRate, SocketCount
from tests.engine.auth.clock import Clock

ALICE, BOB = Principal("alice"), Principal("bob")


def admitted(rate: RequestRate, principal: Principal, tries: int) -> int:
    """How many of so many requests are taken."""
    count = 0
    for _ in range(tries):
        try:
            rate.admit(principal)
        except LimitExceeded:
            continue
        count += 1
    return count


def test_a_principal_holds_so_many_sockets_and_no_more() -> None:
    sockets = SocketCount(2)
    sockets.admit(ALICE)
    sockets.admit(ALICE)
    with pytest.raises(LimitExceeded, match="at most 2 sockets"):
        sockets.admit(ALICE)
    assert sockets.held(ALICE) == 2


def test_the_sockets_of_one_principal_do_not_count_for_another() -> None:
    sockets = SocketCount(1)
    sockets.admit(ALICE)
    sockets.admit(BOB)


def test_keys_of_one_principal_share_its_sockets() -> None:
    sockets = SocketCount(1)
    sockets.admit(Principal("alice", key="one"))
    with pytest.raises(LimitExceeded):
        sockets.admit(Principal("alice", key="two"))


def test_a_closed_socket_makes_room_for_one_other() -> None:
    sockets = SocketCount(2)
    leave = sockets.admit(ALICE)
    sockets.admit(ALICE)
    leave()
    leave()
    assert sockets.held(ALICE) == 1
    sockets.admit(ALICE)
    with pytest.raises(LimitExceeded):
        sockets.admit(ALICE)


def test_without_a_bound_sockets_are_not_counted() -> None:
    sockets = SocketCount(None)
    leaving = [sockets.admit(ALICE) for _ in range(100)]
    assert sockets.held(ALICE) == 0
    for leave in leaving:
        leave()


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 600])
def test_a_whole_minutes_requests_may_come_at_once(clock: Clock, per_minute: int) -> None:
    assert admitted(RequestRate(per_minute, clock=clock), ALICE, per_minute + 5) == per_minute


def test_a_request_too_many_is_told_when_the_next_is_taken(clock: Clock) -> None:
    rate = RequestRate(6, clock=clock)
    assert admitted(rate, ALICE, 6) == 6
    clock.now += 4
    with pytest.raises(LimitExceeded, match=r"at most 6 requests a minute; .* in 6\.0 s") as refused:
        rate.admit(ALICE)
    assert refused.value.retry_after == pytest.approx(6)
    clock.now += 6
    assert admitted(rate, ALICE, 2) == 1


def test_a_refused_request_costs_nothing(clock: Clock) -> None:
    rate = RequestRate(6, clock=clock)
    assert admitted(rate, ALICE, 100) == 6
    clock.now += 10
    assert admitted(rate, ALICE, 100) == 1


def test_requests_come_free_one_by_one(clock: Clock) -> None:
    rate = RequestRate(6, clock=clock)
    admitted(rate, ALICE, 6)
    clock.now += 30
    assert admitted(rate, ALICE, 6) == 3
    clock.now += 600
    assert admitted(rate, ALICE, 10) == 6


def test_each_principal_has_its_own_minute(clock: Clock) -> None:
    rate = RequestRate(1, clock=clock)
    rate.admit(ALICE)
    rate.admit(BOB)
    with pytest.raises(LimitExceeded):
        rate.admit(Principal("alice", key="another"))


def test_without_a_bound_every_request_is_taken(clock: Clock) -> None:
    assert admitted(RequestRate(None, clock=clock), ALICE, 1000) == 1000


def test_what_is_left_of_a_rate_comes_back_with_time(clock: Clock) -> None:
    rate = RequestRate(6, clock=clock)
    for _ in range(4):
        rate.admit(ALICE)
    left = rate.allowance(ALICE)
    assert left is not None
    assert (left.limit, left.remaining, round(left.reset, 6)) == (6, 2, 40.0)
    clock.now += 20.0
    left = rate.allowance(ALICE)
    assert left is not None
    assert left.headers() == {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "20.000s",
    }
    other = rate.allowance(BOB)
    assert other is not None and (other.remaining, other.reset) == (6, 0.0)


def test_a_rate_that_is_off_has_nothing_left_to_tell() -> None:
    assert RequestRate(None).allowance(ALICE) is None
