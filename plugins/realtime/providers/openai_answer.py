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


class Answers:
    """Which answer is being given, which the vendor was asked for, and which it is still to be asked for."""

    def __init__(self) -> None:
        self.present: Answer | None = None
        self.awaited = False
        """The vendor was asked for one, or begins one by itself, and has not begun."""
        self.owed: str | None = None
        """The event that asks for the next one."""

    @property
    def running(self) -> bool:
        """Whether the vendor gives one now."""
        return self.present is not None and self.present.running

    @property
    def wanted(self) -> Answer | None:
        """The one of which more is to be told."""
        return None if self.present is None or self.present.stopped else self.present

    def owe(self, request: str, *, anew: bool = False) -> None:
        """The vendor is to be asked for one; one that is owed already stays what it is, unless `anew`."""
        if anew or self.owed is None:
            self.owed = request

    def ask(self) -> str | None:
        """The event to send now: none is owed while one is still being given."""
        if self.owed is None or self.running:
            return None
        self.awaited = True
        owed, self.owed = self.owed, None
        return owed

    def begin(self) -> None:
        """The vendor gives one."""
        self.awaited = False
        self.present = Answer()

    def end(self) -> None:
        """It is whole, or broke off."""
        if self.present is not None:
            self.present.running = False

    def lose(self, request: str) -> bool:
        """The session was lost; what it gave, unless nobody wanted it, is owed again. True where it was giving one."""
        broken, self.present = self.present if self.running else None, None
        self.awaited = self.awaited or (broken is not None and not broken.stopped)
        if self.awaited:
            self.owe(request)
        return broken is not None
