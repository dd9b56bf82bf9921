"""Sound for the emulators: tones whose length tells how long the text is, sent piece by piece, with faults."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.emulators.reply import Hold

SECONDS_A_WORD = 0.25


def tone(seconds: float, rate: int, pitch: float = 440.0) -> bytes:
    """A sine of 16 bits, mono."""
    count = int(seconds * rate)
    step = 2 * math.pi * pitch / rate
    return struct.pack(f"<{count}h", *(int(12_000 * math.sin(step * n)) for n in range(count)))


def spoken(text: str, rate: int) -> bytes:
    """A quarter of a second for each word."""
    return tone(SECONDS_A_WORD * max(1, len(text.split())), rate)


@dataclass(frozen=True)
class Sing:
    """How a vendor speaks: `holds` stop it before a piece; `cut` breaks the connection off after so many pieces, by closing it
    where there is a `code`.
    """

    holds: dict[int, Hold] = field(default_factory=dict)
    cut: int | None = None
    code: int | None = None
    odd: bool = False
    pieces: Sequence[bytes] = ()


LOUDNESS = 1_000
LEVEL = 20
"""Milliseconds that are heard in one."""

_STEADY = 3


class Levels:
    """Hears words by the height of their samples: near `k * LOUDNESS` is the word k, which is told once it was steady."""

    def __init__(self, rate: int) -> None:
        self._size = rate * LEVEL // 1000 * 2
        self._rest = b""
        self._word = 0
        self._last = 0
        self._same = 0

    def feed(self, pcm: bytes) -> list[int | None]:
        """For each 20 ms: 0 for silence, the number of a word where it begins, None where it goes on."""
        self._rest += pcm
        levels: list[int | None] = []
        while len(self._rest) >= self._size:
            frame, self._rest = self._rest[: self._size], self._rest[self._size :]
            middle = int.from_bytes(frame[self._size // 2 : self._size // 2 + 2], "little", signed=True)
            levels.append(self._level(round(middle / LOUDNESS)))
        return levels

    def _level(self, level: int) -> int | None:
        self._same = self._same + 1 if level == self._last else 1
        self._last = level
        if level == 0:
            self._word = 0
            return 0
        if level == self._word or self._same < _STEADY:
            return None
        self._word = level
        return level


def levels_of(*words: int, rate: int, seconds: float = SECONDS_A_WORD) -> bytes:
    """Words by their numbers, and 0 for silence, each for some time."""
    return b"".join((word * LOUDNESS).to_bytes(2, "little") * int(seconds * rate) for word in words)
