"""Who begins a turn when many want to: a few in each turn of the loop, one of each principal after another."""

from __future__ import annotations

import asyncio

import pytest

from engine.api.errors import Overloaded
from engine.sessions.gate import EACH, FEWEST, MOST_AT_ONCE, Gate


class Clock:
    """Time that passes as the test says: so much from one look to the next."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def queue(gate: Gate, principal: str, count: int, passed: list[str]) -> list[asyncio.Task[None]]:
    """So many who wait at the gate, in their order."""

    async def enter() -> None:
        await gate.enter(principal)
        passed.append(principal)

    tasks = [asyncio.create_task(enter()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def turns_of_the_loop(passed: list[str], until: int) -> list[int]:
    """How many passed in each turn of the loop in which somebody did."""
    counts = []
    while len(passed) < until:
        before = len(passed)
        await asyncio.sleep(0)
        if len(passed) > before:
            counts.append(len(passed) - before)
    return counts


async def test_a_few_pass_in_each_turn_of_the_loop_and_all_in_the_end() -> None:
    passed: list[str] = []
    gate = Gate(clock=Clock())
    await queue(gate, "ann", 11 * FEWEST, passed)
    assert len(passed) == FEWEST
    assert await turns_of_the_loop(passed, 11 * FEWEST) == [FEWEST] * 10
    assert gate.waiting == 0


async def test_in_a_slow_loop_more_pass_in_one_turn_up_to_a_bound() -> None:
    passed: list[str] = []
    more = FEWEST + 3
    await queue(Gate(clock=Clock((more + 0.5) * EACH)), "ann", more + FEWEST, passed)
    assert await turns_of_the_loop(passed, more + FEWEST) == [more]
    passed.clear()
    await queue(Gate(clock=Clock(1000 * EACH)), "ann", MOST_AT_ONCE + FEWEST + 1, passed)
    assert await turns_of_the_loop(passed, MOST_AT_ONCE + FEWEST + 1) == [MOST_AT_ONCE, 1]


async def test_principals_take_turns() -> None:
    passed: list[str] = []
    gate = Gate(clock=Clock())
    await queue(gate, "ann", 5 * FEWEST, passed)
    await queue(gate, "bob", 2, passed)
    await turns_of_the_loop(passed, 5 * FEWEST + 2)
    first = passed.index("bob")
    assert first < 3 * FEWEST
    assert passed[first : first + 3] == ["bob", "ann", "bob"]


async def test_one_more_than_may_wait_is_refused_and_may_come_again() -> None:
    passed: list[str] = []
    gate = Gate(most=3, clock=Clock())
    await queue(gate, "ann", FEWEST + 3, passed)
    with pytest.raises(Overloaded) as refused:
        await gate.enter("bob")
    assert (refused.value.limit, refused.value.retry_after) == (3, 1.0)
    await turns_of_the_loop(passed, FEWEST + 3)
    await gate.enter("bob")


async def test_who_leaves_takes_nobodys_place() -> None:
    passed: list[str] = []
    gate = Gate(clock=Clock())
    tasks = await queue(gate, "ann", FEWEST + 6, passed)
    for task in tasks[FEWEST : FEWEST + 4]:
        task.cancel()
    await turns_of_the_loop(passed, FEWEST + 2)
    assert [task.cancelled() for task in tasks[FEWEST:]] == [True] * 4 + [False] * 2
    assert gate.waiting == 0
