"""Ids of conversations and messages."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from plugins.chat.history.ids import new_id, new_ids

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_the_millisecond_in_which_they_were_made(one: datetime, other: datetime) -> None:
    first, second = sorted((one, other))
    if int(first.timestamp() * 1000) < int(second.timestamp() * 1000):
        assert new_id("m_", first) < new_id("m_", second)


def test_ids_that_are_made_together_sort_as_told() -> None:
    made = new_ids("m_", datetime.now(UTC), 50)
    assert made == sorted(made)
    assert len(set(made)) == 50


def test_two_ids_of_one_moment_differ() -> None:
    now = datetime.now(UTC)
    made = {new_id("m_", now) for _ in range(1000)}
    assert len(made) == 1000
    assert {len(id) for id in made} == {30}
