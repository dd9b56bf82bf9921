"""Where the numbered events of one stream are held: the contract, and the log in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from engine.api.errors import SlowConsumer
from engine.api.events import Audio, Event, Gap, TextDelta
from engine.wire.frames import encode_event, encode_json

OVERHEAD = 280
"""Bytes that an entry costs beside its payload: the entry, the event and their slots."""


class Entry(msgspec.Struct, gc=False):
    """A numbered event, with its JSON frame once somebody needed it. A gap has the last of the numbers that it covers.

    Neither entries nor events can be part of a cycle, so the garbage collector need not look at them: a busy server holds
    hundreds of thousands.
    """

    n: int
    event: Event
    json: bytes | None = None

    def frame(self, prefix: bytes) -> bytes:
        """The event as a text frame: encoded once, however many read it."""
        json = self.json
        if json is None:
            event = self.event
            prev = event.first - 1 if type(event) is Gap else None
            json = self.json = encode_event(prefix, self.n, event, prev)
        return json


class Log(Protocol):
    """An append-only log. The owner numbers; readers see up to `committed`, and nothing before `tail`."""

    tail: int
    """The last number that is no longer held; 0 while all are."""

    committed: int
    """The last number that readers may see."""

    size: int
    """Bytes held, overhead counted."""

    def append(self, entry: Entry) -> None:
        """Take the next entry. Never waits; raises `LogUnavailable` when its buffer is full."""
        ...

    def read(self, after: int, limit: int) -> Sequence[Entry]:
        """At most `limit` committed entries that follow number `after`, in order.

        Raises `SlowConsumer` when some of them are no longer held.
        """
        ...

    def audio_after(self, lane: str, n: int) -> float:
        """Seconds of a lane's audio that follow number `n`."""
        ...


class MemoryLog:
    """A log in this process's memory: committed at once, bounded in bytes, and for audio in seconds per lane.

    What is over the bound leaves from the front. Old audio leaves first and on its own, as a `gap` that keeps its numbers, so
    that it never pushes out a word: of what `limit` bounds only the gaps are its share, one for each run of frames.
    `audio_bytes`, overhead counted, bounds a lane whose media time does not go on.
    """

    __slots__ = (
        "_audio",
        "_audio_bytes",
        "_audio_held",
        "_audio_ms",
        "_entries",
        "_limit",
        "_sparse",
        "_start",
        "committed",
        "size",
        "tail",
    )

    def __init__(self, limit: int, audio_seconds: float = 30.0, audio_bytes: int = 8 << 20) -> None:
        self.tail = 0
        self.committed = 0
        self.size = 0
        self._limit = limit
        self._audio_ms = audio_seconds * 1000
        self._audio_bytes = audio_bytes
        self._audio_held = 0
        self._entries: list[Entry] = []
        self._start = 0
        self._sparse = False
        self._audio: dict[str, _HeldAudio] | None = None

    def append(self, entry: Entry) -> None:
        event = entry.event
        # Nearly every event is a piece of ASCII text: its size is known without a call.
        if type(event) is TextDelta and event.logprobs is None and event.text.isascii():
            self.size += OVERHEAD + len(event.text)
        else:
            self.size += _size(event)
        self._entries.append(entry)
        self.committed = entry.n
        if type(event) is Audio:
            self._age_audio(entry.n, event)
        if self.size - self._audio_held > self._limit:
            self._evict()

    def read(self, after: int, limit: int) -> Sequence[Entry]:
        if after < self.tail:
            raise SlowConsumer(
                f"the events up to number {self.tail} are no longer held and the last one seen is {after}; "
                "resume the stream to get all that it said"
            )
        first = self._place(after + 1)
        entries = self._entries[first : first + limit]
        if self._sparse and entries and type(gap := entries[0].event) is Gap and gap.first <= after:
            # The reader had some of the audio before it was dropped.
            entries[0] = Entry(entries[0].n, Gap(lane=gap.lane, first=after + 1, last=gap.last))
        return entries

    def audio_after(self, lane: str, n: int) -> float:
        held = self._audio.get(lane) if self._audio is not None else None
        if held is None:
            return 0.0
        first = next((at for number, at, _ in held.frames if number > n), None)
        return 0.0 if first is None else (held.frames[-1][1] - first) / 1000

    def _place(self, n: int) -> int:
        """Where the entry stands that has the number or covers it."""
        if self._sparse:
            return bisect_left(self._entries, n, self._start, key=_number)
        return self._start + n - 1 - self.tail

    def _evict(self) -> None:
        # One entry always stays: a reader that keeps up must see the newest event, however large.
        while self.size - self._audio_held > self._limit and self._start < len(self._entries) - 1:
            entry = self._entries[self._start]
            event = entry.event
            self.size -= _size(event)
            self._start += 1
            self.tail = entry.n
            if type(event) is Audio and self._audio is not None:
                self._audio_held -= self._audio[event.lane].forget()
        # A quarter is enough to make the deletion cheap, and little enough for what was evicted not to linger.
        if self._start * 4 > len(self._entries):
            del self._entries[: self._start]
            self._start = 0

    def _age_audio(self, n: int, event: Audio) -> None:
        if self._audio is None:
            self._audio = {}
        held = self._audio.setdefault(event.lane, _HeldAudio())
        self._audio_held += held.add(n, event)
        while event.at - held.oldest_at > self._audio_ms or (held.bytes > self._audio_bytes and len(held.frames) > 1):
            self._drop(held.frames[0][0], event.lane)
            size = held.forget()
            self._audio_held -= size
            self.size -= size

    def _drop(self, n: int, lane: str) -> None:
        """Put a gap in the place of a frame of audio, or widen the gap before it; the frame's own size is not its matter."""
        place = self._place(n)
        entry = self._entries[place]
        before = self._entries[place - 1] if place > self._start else entry
        gap = before.event
        if type(gap) is Gap and gap.lane == lane and gap.last == n - 1:
            self.size -= _size(gap)
            entry.event = Gap(lane=lane, first=gap.first, last=n)
            del self._entries[place - 1]
            self._sparse = True
        else:
            entry.event = Gap(lane=lane, first=n, last=n)
        entry.json = None
        self.size += _size(entry.event)


class _HeldAudio:
    """The audio of one lane that a log still holds: number, media time and size of each frame, the oldest first."""

    __slots__ = ("bytes", "frames")

    def __init__(self) -> None:
        self.frames: deque[tuple[int, int, int]] = deque()
        self.bytes = 0

    @property
    def oldest_at(self) -> int:
        return self.frames[0][1]

    def add(self, n: int, event: Audio) -> int:
        """Hold a frame; gives the bytes that it costs."""
        size = _size(event)
        self.frames.append((n, event.at, size))
        self.bytes += size
        return size

    def forget(self) -> int:
        """Drop the oldest frame; gives the bytes that it cost."""
        size = self.frames.popleft()[2]
        self.bytes -= size
        return size


def _number(entry: Entry) -> int:
    return entry.n


def _size(event: Event) -> int:
    """Bytes that an event costs; raises what encoding it would, so that nothing is logged that no reader could be sent."""
    if type(event) is TextDelta and event.logprobs is None:
        text = event.text
        return OVERHEAD + (len(text) if text.isascii() else len(text.encode()))
    if type(event) is Audio:
        return OVERHEAD + len(event.data)
    return OVERHEAD + len(encode_json(event))
