"""What a recogniser of this machine is: samples of one utterance in, its words out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]
"""Mono, 16,000 a second, between -1 and 1."""

RATE = 16_000


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word; times in seconds from the first sample."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a recogniser made of an utterance.

    `score` is the mean logarithm of a token's probability, at most 0; 0 where the recogniser has no such number.
    """

    text: str
    score: float = 0.0
    words: tuple[TimedWord, ...] = ()


class Recogniser(Protocol):
    """A loaded model. `transcribe` may be called by several threads at once."""

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639 codes of the languages that it hears."""
        ...

    @property
    def longest(self) -> float:
        """Seconds of one utterance that it takes."""
        ...

    def transcribe(self, samples: Samples, language: str | None, *, quick: bool, words: bool) -> Transcript:
        """Write down one utterance, in one of `languages`; None where it is to find that out.

        `quick` is for text that is shown while somebody speaks and replaced soon, `words` asks for their times.
        """
        ...
