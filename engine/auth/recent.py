"""What was learned lately: a bounded map whose entries expire."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """At most `bound` entries, each for `seconds` of `clock`; when it is full, the one unused for longest goes."""

    __slots__ = ("_bound", "_clock", "_entries", "_seconds")

    def __init__(self, bound: int, seconds: float, clock: Callable[[], float]) -> None:
        self._bound = bound
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[KeyT, tuple[ValueT, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: KeyT) -> ValueT | None:
        """The value, or None when there is none or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires = entry
        if expires <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: KeyT, value: ValueT, *, since: float | None = None) -> None:
        """Keep a value; its time runs from `since` on the clock, as shipped from now."""
        start = self._clock() if since is None else since
        self._entries[key] = value, start + self._seconds
        self._entries.move_to_end(key)
        if len(self._entries) > self._bound:
            self._entries.popitem(last=False)

    def drop(self, key: KeyT) -> None:
        """Forget a value; nothing happens when there is none."""
        self._entries.pop(key, None)
