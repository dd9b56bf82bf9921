"""What a voice in a process of this machine is: text in, blocks of sound out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

KNEE = 0.5
"""Of full scale: what is quieter goes through as it is."""

CEILING = 0.71
"""-3 dBFS, which no sample passes."""

SILENCE = 0.005
"""Of full scale, below which nothing is heard."""


class LoadedVoice(Protocol):
    """A loaded model."""

    @property
    def rate(self) -> int:
        """Samples a second."""
        ...

    def blocks(self, text: str, voice: str, speed: float) -> Iterator[bytes]:
        """Samples of 16 bits, some seconds at a time, each block computed when it is asked for.

        The same text gives the same samples, so that a speech that was cut off can go on where it was.
        """
        ...


def levelled(samples: NDArray[np.float32], gain: float) -> bytes:
    """Samples of 16 bits, louder by `gain`.

    The gain is one for all sentences, and what would be too loud is bent sample by sample: nothing swells or sinks with
    what is said before it.
    """
    loud = np.nan_to_num(samples) * np.float32(gain)
    height = np.abs(loud)
    room = CEILING - KNEE
    bent = np.sign(loud) * (KNEE + room * np.tanh((height - KNEE) / room))
    limited = np.where(height > KNEE, bent, loud)
    return np.asarray(np.round(limited * 32_767), dtype="<i2").tobytes()


def trimmed(samples: NDArray[np.float32], rate: int, lead: float, tail: float | None) -> NDArray[np.float32]:
    """The samples with at most so many seconds of silence before and, where `tail` says so, behind what is heard."""
    heard = np.flatnonzero(np.abs(samples) > SILENCE)
    if not len(heard):
        return samples[:0] if tail is not None else samples
    begin = max(0, int(heard[0]) - int(lead * rate))
    end = len(samples) if tail is None else min(len(samples), int(heard[-1]) + 1 + int(tail * rate))
    return samples[begin:end]
