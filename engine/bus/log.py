"""Where the numbered events of one stream are held: the contract, and the log in memory."""

from __future__ import annotations

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
    """A numbered event, with its JSON frame once somebody needed it.

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
            json = self.json = encode_event(prefix, self.n, self.event)
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


class MemoryLog:
    """A log in this process's memory: committed at once, bounded in bytes, and for audio in seconds per lane.

    What is over the bound leaves from the front. Old audio leaves first and on its own, as a `gap` that keeps its number, so
    that it never pushes out a word. `audio_bytes` bounds a lane whose media time does not go on.
    """

    __slots__ = (
        "_audio",
        "_audio_bytes",
        "_audio_held",
        "_audio_ms",
        "_entries",
        "_limit",
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
        first = self._start + after - self.tail
        return self._entries[first : first + limit]

    def _evict(self) -> None:
        # One entry always stays: a reader that keeps up must see the newest event, however large.
        while self.size - self._audio_held > self._limit and self._start < len(self._entries) - 1:
            event = self._entries[self._start].event
            self.size -= _size(event)
            self._start += 1
            self.tail += 1
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
        held.add(n, event)
        self._audio_held += len(event.data)
        while event.at - held.oldest_at > self._audio_ms or (held.bytes > self._audio_bytes and len(held.frames) > 1):
            old = held.frames[0][0]
            size = held.forget()
            self._audio_held -= size
            gap = Gap(lane=event.lane, first=old, last=old)
            self.size += _size(gap) - OVERHEAD - size
            entry = self._entries[self._start + old - self.tail - 1]
            entry.event = gap
            entry.json = None


class _HeldAudio:
    """The audio of one lane that a log still holds: number, media time and bytes of each frame, the oldest first."""

    __slots__ = ("bytes", "frames")

    def __init__(self) -> None:
        self.frames: deque[tuple[int, int, int]] = deque()
        self.bytes = 0

    @property
    def oldest_at(self) -> int:
        return self.frames[0][1]

    def add(self, n: int, event: Audio) -> None:
        self.frames.append((n, event.at, len(event.data)))
        self.bytes += len(event.data)

    def forget(self) -> int:
        """Drop the oldest frame; gives its bytes."""
        size = self.frames.popleft()[2]
        self.bytes -= size
        return size


def _size(event: Event) -> int:
    """Bytes that an event costs; raises what encoding it would, so that nothing is logged that no reader could be sent."""
    if type(event) is TextDelta and event.logprobs is None:
        text = event.text
        return OVERHEAD + (len(text) if text.isascii() else len(text.encode()))
    if type(event) is Audio:
        return OVERHEAD + len(event.data)
    return OVERHEAD + len(encode_json(event))
