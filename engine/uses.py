"""What is in use right now, by what it belongs to, so that a part can be taken away once nobody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Use = TypeVar("Use")
Thing = TypeVar("Thing")


class Uses(Generic[Use, Thing]):
    """Running uses of things: turns of a plugin, calls to a provider, requests to a route."""

    def __init__(self) -> None:
        self._things: dict[Use, Thing] = {}
        self._waiting: list[tuple[set[Use], asyncio.Event]] = []

    def begin(self, use: Use, thing: Thing) -> None:
        """The use of a thing begins."""
        self._things[use] = thing

    def end(self, use: Use) -> None:
        """It is over; ending twice changes nothing."""
        self._things.pop(use, None)
        for left, free in self._waiting:
            left.discard(use)
            if not left:
                free.set()

    def has(self, use: Use) -> bool:
        """Whether a use is not over."""
        return use in self._things

    def of(self, belongs: Callable[[Thing], bool]) -> list[Use]:
        """What uses the things for which `belongs` holds."""
        return [use for use, thing in self._things.items() if belongs(thing)]

    async def over(self, uses: Collection[Use]) -> None:
        """Return when all of these are over; those that begin later do not count."""
        left = {use for use in uses if use in self._things}
        if not left:
            return
        waiting = left, asyncio.Event()
        self._waiting.append(waiting)
        try:
            await waiting[1].wait()
        finally:
            self._waiting.remove(waiting)
