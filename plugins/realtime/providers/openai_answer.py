"""The answer that OpenAI is giving: its items, and how much of each there is to hear."""

from __future__ import annotations

from collections.abc import Iterator

from engine.api import REALTIME_RATE


class Answer:
    """One response. `running` until the vendor says that it is done, `stopped` once nobody wants more of it."""

    def __init__(self) -> None:
        self.running = True
        self.stopped = False
        self._sizes: dict[str, int] = {}
        self._said: dict[str, str] = {}

    def sound(self, item: str, size: int) -> None:
        """So many bytes more of an item's sound."""
        self._sizes[item] = self._sizes.get(item, 0) + size

    def words(self, item: str, text: str) -> str:
        """More words of an item; gives all of them."""
        self._said[item] = said = self._said.get(item, "") + text
        return said

    def interrupt(self, heard: str) -> Iterator[tuple[str, str]]:
        """Nobody wants more; gives each item with the words of it that were heard."""
        self.stopped = True
        for item, said in self._said.items():
            yield item, heard[: len(said)].strip()
            heard = heard[len(said) :]

    def ends(self, heard: int) -> Iterator[tuple[str, int]]:
        """Items of which not all was heard, with the milliseconds that were; the vendor refuses more than there are."""
        for item, size in self._sizes.items():
            length = size * 1000 // (REALTIME_RATE * 2)
            if heard < length:
                yield item, max(0, heard)
            heard -= length
