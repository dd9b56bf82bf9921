"""A lease says that its process is dead only where every process has had the time to renew it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from engine.sessions.patience import Patience
from tests.engine.sessions.leases import Hand

LEASE = timedelta(seconds=15)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def patience(hand: Hand) -> Patience:
    return Patience(LEASE, hand)


def answered(patience: Patience, hand: Hand, seconds: float) -> None:
    """The database takes a renewal now and every four seconds, for so long."""
    end = hand.now + seconds
    while hand.now < end:
        patience.answered()
        hand.now = min(hand.now + 4, end)
    patience.answered()


def test_a_process_that_has_just_begun_waits_for_a_lease(patience: Patience, hand: Hand) -> None:
    assert not patience.over
    answered(patience, hand, 14.9)
    assert not patience.over
    answered(patience, hand, 0.1)
    assert patience.over


@pytest.mark.parametrize(("away", "over"), [(4.0, True), (7.5, True), (7.6, False), (60.0, False)])
def test_a_database_that_was_away_for_long_starts_it_anew(
    patience: Patience, hand: Hand, away: float, over: bool
) -> None:
    answered(patience, hand, 20)
    hand.now += away
    assert patience.over is over  # also before anybody has noticed that it is back
    answered(patience, hand, 14.9)
    assert patience.over is over
    answered(patience, hand, 0.1)
    assert patience.over
