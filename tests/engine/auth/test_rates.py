"""What one principal and one key may ask for in a minute, in memory and in a Redis that several servers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import time_machine

from engine.api.errors import LimitExceeded
from engine.api.identity import KeyLimits, Principal
from engine.auth.rates import Rates
from tests.caches import PrivateRedis, redis_server

__all__ = ("redis_server",)

ALICE, BOB = Principal("alice"), Principal("bob")

# The begin of a minute, so that a test knows where in the window it stands.
NOON = 1_800_000_000 - 1_800_000_000 % 60


@pytest.fixture
def time() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@asynccontextmanager
async def rates(
    requests: int | None = None, tokens: int | None = None, redis: str | None = None
) -> AsyncIterator[Rates]:
    opened = Rates(KeyLimits(requests_per_minute=requests, tokens_per_minute=tokens), redis)
    yield opened
    await opened.close()


async def admitted(of: Rates, principal: Principal, tries: int) -> int:
    """How many of so many requests are taken."""
    return sum([(await of.admit(principal)).refusal is None for _ in range(tries)])


async def turn_refused(of: Rates, principal: Principal) -> bool:
    try:
        await of.admit_turn(principal)
    except LimitExceeded:
        return True
    return False


# Requests


@pytest.mark.parametrize("per_minute", [1, 3, 7, 60, 600])
async def test_a_whole_minutes_requests_may_come_at_once(per_minute: int) -> None:
    async with rates(per_minute) as each:
        assert await admitted(each, ALICE, per_minute + 5) == per_minute


async def test_requests_at_one_moment_pass_a_bound_together_no_more_often_than_it_says() -> None:
    async with rates(10) as each:
        verdicts = await asyncio.gather(*(each.admit(ALICE) for _ in range(50)))
    assert sum(verdict.refusal is None for verdict in verdicts) == 10


@pytest.mark.parametrize("after", [0, 1, 29.5, 59])
@pytest.mark.parametrize("per_minute", [1, 6, 100])
async def test_a_request_too_many_is_told_when_the_next_is_taken(
    time: time_machine.Traveller, per_minute: int, after: float
) -> None:
    async with rates(per_minute) as each:
        time.shift(after)
        assert await admitted(each, ALICE, per_minute) == per_minute
        verdict = await each.admit(ALICE)
        assert verdict.refusal is not None
        assert f"principal:alice may use {per_minute} requests a minute" in verdict.refusal.message
        wait = verdict.refusal.retry_after
        assert wait is not None and 0 < wait <= 121
        time.shift(wait - 0.1)
        assert (await each.admit(ALICE)).refusal is not None
        time.shift(0.1)
        assert (await each.admit(ALICE)).refusal is None


async def test_no_minute_has_more_requests_than_its_bound_when_they_come_evenly(time: time_machine.Traveller) -> None:
    async with rates(6) as each:
        taken = []
        for second in range(0, 300, 2):
            if await admitted(each, ALICE, 1):
                taken.append(second)
            time.shift(2)
    assert len(taken) >= 25
    assert max(sum(begin <= at < begin + 60 for at in taken) for begin in taken) <= 7


async def test_a_refused_request_costs_nothing(time: time_machine.Traveller) -> None:
    async with rates(6) as each:
        assert await admitted(each, ALICE, 100) == 6
        time.shift(120)
        assert await admitted(each, ALICE, 100) == 6


async def test_each_principal_has_its_own_minute() -> None:
    async with rates(1) as each:
        assert await admitted(each, ALICE, 1) == 1
        assert await admitted(each, BOB, 1) == 1
        assert await admitted(each, Principal("alice", key="another"), 1) == 0


async def test_a_key_has_a_bound_of_its_own_and_what_it_is_refused_takes_nothing_from_its_principal() -> None:
    narrow = Principal("alice", key="one", limits=KeyLimits(requests_per_minute=2))
    async with rates(10) as each:
        assert await admitted(each, narrow, 50) == 2
        verdict = await each.admit(narrow)
        assert verdict.refusal is not None and "key:one" in verdict.refusal.message
        assert await admitted(each, ALICE, 50) == 8


async def test_without_a_bound_every_request_is_taken_and_nothing_is_told() -> None:
    async with rates() as each:
        assert await admitted(each, ALICE, 1000) == 1000
        assert (await each.admit(ALICE)).headers() == {}


async def test_the_least_that_is_left_is_told(time: time_machine.Traveller) -> None:
    narrow = Principal("alice", key="one", limits=KeyLimits(requests_per_minute=4))
    async with rates(6, 100) as each:
        await each.admit(narrow)
        time.shift(20)
        assert (await each.admit(narrow)).headers() == {
            "x-ratelimit-limit-requests": "4",
            "x-ratelimit-remaining-requests": "2",
            "x-ratelimit-reset-requests": "70.000s",
            "x-ratelimit-limit-tokens": "100",
            "x-ratelimit-remaining-tokens": "100",
            "x-ratelimit-reset-tokens": "0.000s",
        }


# Tokens


async def test_a_turn_is_refused_when_the_minutes_tokens_are_used_and_told_when_there_are_more(
    time: time_machine.Traveller,
) -> None:
    async with rates(tokens=100) as each:
        await each.admit_turn(ALICE)
        each.charge(ALICE, 60)
        await each.settle()
        await each.admit_turn(ALICE)
        time.shift(10)
        # The turn that passes the bound is not stopped; what it used counts whole.
        each.charge(ALICE, 500)
        with pytest.raises(
            LimitExceeded, match="principal:alice may use 100 tokens a minute, of which 0 are left"
        ) as no:
            await each.admit_turn(ALICE)
        await each.settle()
        wait = no.value.retry_after
        assert wait is not None and 0 < wait <= 60
        headers = (await each.admit(ALICE)).headers()
        assert headers["x-ratelimit-remaining-tokens"] == "0"
        time.shift(61)
        await each.admit_turn(ALICE)
        await each.admit_turn(BOB)


async def test_tokens_of_a_key_count_for_it_and_for_its_principal() -> None:
    narrow = Principal("alice", key="one", limits=KeyLimits(tokens_per_minute=10))
    async with rates(tokens=100) as each:
        each.charge(narrow, 20)
        with pytest.raises(LimitExceeded, match="key:one"):
            await each.admit_turn(narrow)
        await each.admit_turn(ALICE)
        each.charge(ALICE, 90)
        with pytest.raises(LimitExceeded, match="principal:alice"):
            await each.admit_turn(ALICE)


async def test_a_spent_minute_of_tokens_refuses_no_other_request() -> None:
    async with rates(tokens=1) as each:
        each.charge(ALICE, 20)
        assert await turn_refused(each, ALICE)
        assert (await each.admit(ALICE)).refusal is None


# A store that servers share


async def test_two_servers_of_one_redis_share_a_minute(redis_server: PrivateRedis) -> None:
    async with rates(5, 100, redis_server.url) as one, rates(5, 100, redis_server.url) as other:
        assert await admitted(one, ALICE, 3) == 3
        assert await admitted(other, ALICE, 5) == 2
        one.charge(ALICE, 200)
        await one.settle()
        assert await turn_refused(other, ALICE)


async def test_in_redis_a_refusal_tells_when_the_next_is_taken(redis_server: PrivateRedis) -> None:
    async with rates(2, None, redis_server.url) as each:
        await admitted(each, ALICE, 2)
        refusal = (await each.admit(ALICE)).refusal
    assert refusal is not None and refusal.retry_after is not None
    assert 30 < refusal.retry_after <= 121


async def test_while_the_redis_is_away_a_server_counts_for_itself(redis_server: PrivateRedis) -> None:
    async with rates(3, 100, redis_server.url) as each:
        assert await admitted(each, ALICE, 1) == 1
        redis_server.stop()
        assert await admitted(each, ALICE, 5) == 3
        each.charge(ALICE, 200)
        await each.settle()
        assert await turn_refused(each, ALICE)


async def test_a_redis_that_hangs_holds_a_request_up_for_a_moment_only(redis_server: PrivateRedis) -> None:
    async with rates(3, None, redis_server.url) as each:
        await each.admit(ALICE)
        redis_server.pause()
        async with asyncio.timeout(5):
            assert await admitted(each, ALICE, 5) == 3


async def test_a_redis_that_was_never_there_costs_nobody_an_answer(redis_server: PrivateRedis) -> None:
    redis_server.stop()
    async with rates(3, None, redis_server.url) as each:
        assert await admitted(each, ALICE, 5) == 3
