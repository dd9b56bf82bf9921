"""What a lost session of OpenAI's has to be told again: the conversation so far, and speech that it had not heard out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from engine.api import REALTIME_RATE, RealtimePast
from plugins.realtime.providers.openai_events import message, spoken

MOST_ITEMS = 400
"""Items of the conversation that are remembered; the oldest are forgotten first."""

MOST_SPEECH = 60.0
"""Seconds of a person's speech that are kept until it is understood."""

MOST_QUIET = 5.0
"""Seconds kept while nobody is known to speak: the vendor tells of speech a little after it began."""

_BYTES_A_MS = REALTIME_RATE * 2 // 1000


class Tape:
    """The person's sound that belongs to no turn yet. Positions are milliseconds of the present session."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._begin = 0
        self._size = 0
        self._given = 0
        self._before = 0
        """Bytes that were given before the present session's own began."""
        self.talking = False
        self.lost = 0

    def add(self, pcm: bytes, *, manual: bool) -> None:
        """More sound; without turn detection all of it may be speech."""
        self._pieces.append(pcm)
        self._size += len(pcm)
        self._given += len(pcm)
        speech = manual or self.talking
        most = int((MOST_SPEECH if speech else MOST_QUIET) * REALTIME_RATE * 2)
        while self._size > most and len(self._pieces) > 1:
            size = self._drop()
            self.lost += size if speech else 0

    def _drop(self) -> int:
        piece = self._pieces.popleft()
        self._size -= len(piece)
        self._begin += len(piece)
        return len(piece)

    @property
    def end(self) -> int:
        """Where the sound ends."""
        return (self._begin + self._size) // _BYTES_A_MS

    def place(self, position: int | None) -> int | None:
        """A position as milliseconds of the whole conversation."""
        return None if position is None else self._before // _BYTES_A_MS + position

    def cut(self, until: int) -> bytes:
        """Take off what comes before a position."""
        taken = bytearray()
        while self._pieces and self._begin + len(self._pieces[0]) <= until * _BYTES_A_MS:
            taken += self._pieces[0]
            self._drop()
        if self._pieces and (rest := until * _BYTES_A_MS - self._begin) > 0:
            taken += self._pieces[0][:rest]
            self._pieces[0] = self._pieces[0][rest:]
            self._begin += rest
            self._size -= rest
        return bytes(taken)

    def clear(self) -> None:
        """Forget it; positions go on."""
        while self._pieces:
            self._drop()

    def rewind(self) -> list[bytes]:
        """Begin a session, which hears this first."""
        self._begin = 0
        self._before = self._given - self._size
        self.talking = False
        return list(self._pieces)


class Memory:
    """The conversation as items of the vendor's, in order, by the ids of the session that told them."""

    def __init__(self, past: Sequence[RealtimePast]) -> None:
        self._items: dict[str, dict[str, Any]] = {}
        self._number = 0
        for each in past:
            self.keep(message(each.role, each.text))

    def keep(self, item: dict[str, Any], id: str | None = None) -> None:
        """One item more, or what there is to say of it now."""
        if id is None:
            self._number += 1
            id = f"own {self._number}"
        self._items[id] = item
        if len(self._items) > MOST_ITEMS:
            del self._items[next(iter(self._items))]

    def unheard(self, id: str, pcm: bytes) -> None:
        """A turn of the person's whose words are not known yet: its sound is kept instead."""
        self.keep(spoken(pcm), id)

    def heard(self, id: str, text: str) -> None:
        """The words of a turn; one without any was no speech."""
        if text.strip():
            self.keep(message("user", text), id)
        else:
            self._items.pop(id, None)

    def items(self) -> Iterator[dict[str, Any]]:
        """What a session is told first. Words that are still missing from an answer never come any more."""
        for item in self._items.values():
            content = item.get("content")
            if content is None or any(part.get("text") or part.get("audio") for part in content):
                yield item
