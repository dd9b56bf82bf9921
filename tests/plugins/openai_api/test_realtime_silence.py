"""Silence after an answer."""

from __future__ import annotations

import asyncio

from engine.api import AssistantEnded, AssistantStarted, Status, UserStarted
from plugins.openai_api.realtime_silence import Silence


class Told:
    """Where the silences began that were told."""

    def __init__(self) -> None:
        self.since: asyncio.Queue[int] = asyncio.Queue()

    async def __call__(self, since: int) -> None:
        self.since.put_nowait(since)


def ended(status: Status = "completed") -> AssistantEnded:
    return AssistantEnded(turn=1, status=status, heard=0, text="")


async def test_it_is_told_once_until_somebody_speaks_or_writes() -> None:
    told = Told()
    silence = Silence(told)
    silence.after = 0.0
    silence.watch(ended(), 1)
    first = await told.since.get()
    silence.watch(ended(), 2)
    silence.watch(UserStarted(turn=2), 3)
    silence.watch(ended(), 4)
    second = await told.since.get()
    silence.watch(ended(), 5)
    silence.broken()
    silence.watch(ended(), 6)
    third = await told.since.get()
    assert (first, second, third) == (1, 4, 6)
    await silence.close()


async def test_what_is_said_or_cut_short_or_not_asked_for_begins_none() -> None:
    told = Told()
    silence = Silence(told)
    silence.watch(ended(), 1)
    silence.after = 0.0
    silence.watch(ended("cancelled"), 2)
    silence.watch(ended(), 3)
    silence.watch(AssistantStarted(turn=1, at=0), 4)
    silence.watch(ended(), 5)
    silence.watch(UserStarted(turn=2), 6)
    silence.watch(ended(), 7)
    assert await told.since.get() == 7
    silence.watch(UserStarted(turn=3), 8)
    silence.watch(ended(), 9)
    await silence.close()
    assert told.since.empty()
