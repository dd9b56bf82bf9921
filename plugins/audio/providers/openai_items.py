"""The stretches of speech of one session at OpenAI, told in the order in which they were spoken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from engine.api import Segment
from plugins.audio.tape import Tape


@dataclass(slots=True, eq=False)
class Item:
    """One stretch. Times are milliseconds of the session; the end is known before it is done."""

    id: str
    start: int | None = None
    end: int | None = None
    words: str = ""
    language: str | None = None
    done: bool = False
    told: str = ""


class Items:
    """What was heard and not told yet. Transcripts are made side by side, so that a later one may be done sooner."""

    def __init__(self, tape: Tape, begin: float) -> None:
        self._tape = tape
        self._begin = begin
        self._items: dict[str, Item] = {}
        self._order: list[Item] = []
        self._last = ""
        self._until = self._known = 0
        # The ends of what was committed by us, for items of which the vendor does not tell them.
        self._commits: deque[int] = deque()

    @property
    def due(self) -> bool:
        """Whether the vendor is to tell a transcript, or that it took what was committed."""
        return bool(self._commits) or any(item.end is not None for item in self._order)

    @property
    def empty(self) -> bool:
        """Whether all was told."""
        return not self._order

    def covers(self, seconds: float) -> bool:
        """Whether the vendor knows that all up to here, counted from the session's beginning, belongs to stretches."""
        open = any(item.start is not None and item.end is None for item in self._items.values())
        return not open and seconds * 1000 <= self._known

    def commit(self) -> None:
        """All that was sent is a stretch, as we say."""
        self._commits.append(self._now)

    def uncommit(self) -> None:
        """The vendor made no item of the oldest commit."""
        if self._commits:
            self._commits.popleft()

    def began(self, id: str, at: int | None) -> None:
        """The vendor noticed speech."""
        self._item(id).start = at

    def ended(self, id: str, at: int | None) -> None:
        """The vendor noticed silence."""
        self._item(id).end = at
        self._known = max(self._known, at or 0)

    def committed(self, id: str, previous: str | None) -> None:
        """A stretch is whole, and its transcript due."""
        item = self._item(id)
        if item.end is None:
            item.end = self._commits.popleft() if self._commits else self._now
        self._place(item, previous)

    def heard(self, id: str, words: str) -> None:
        """Some words more."""
        item = self._item(id)
        item.words += words
        if item not in self._order:
            self._order.append(item)

    def done(self, id: str, words: str, language: str | None) -> None:
        """All words of a stretch; none where it was no speech."""
        item = self._item(id)
        item.words, item.language, item.done = words, language, True
        item.end = self._now if item.end is None else item.end
        if item not in self._order:
            self._order.append(item)

    def finish(self) -> None:
        """No more is committed: words of what never was are all that there are of it."""
        for item in self._order:
            item.done = item.done or item.end is None

    def tell(self) -> Iterator[Segment]:
        """What can be told: a stretch is followed by the next once it is done."""
        while self._order and self._order[0].done:
            item = self._order.pop(0)
            self._last = item.id
            del self._items[item.id]
            end = item.end or 0
            self._tape.told_until(self._begin + end / 1000)
            if item.words.strip():
                yield self._segment(item, final=True)
            self._until = max(self._until, end)
        if self._order and (item := self._order[0]).words.strip() != item.told:
            item.told = item.words.strip()
            yield self._segment(item, final=False)

    @property
    def _now(self) -> int:
        return round((self._tape.at - self._begin) * 1000)

    def _item(self, id: str) -> Item:
        return self._items.setdefault(id, Item(id))

    def _place(self, item: Item, previous: str | None) -> None:
        if item in self._order:
            return
        places = {each.id: place for place, each in enumerate(self._order, 1)}
        first = bool(previous) and previous == self._last
        self._order.insert(places.get(previous or "", 0 if first else len(self._order)), item)

    def _segment(self, item: Item, *, final: bool) -> Segment:
        start = self._until if item.start is None else item.start
        end = self._begin + item.end / 1000 if item.end is not None else None
        return Segment(
            text=item.words.strip(),
            final=final,
            start=round(self._begin + start / 1000, 3),
            end=None if end is None else round(end, 3),
            language=item.language,
        )
