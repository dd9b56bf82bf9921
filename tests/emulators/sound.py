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
    """How a vendor speaks: `holds` stop it before a piece; `cut` breaks the connection off after so many pieces."""

    holds: dict[int, Hold] = field(default_factory=dict)
    cut: int | None = None
    odd: bool = False
    pieces: Sequence[bytes] = ()
