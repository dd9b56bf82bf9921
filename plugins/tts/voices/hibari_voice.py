"""Hibari: a small English voice, learnt from Kokoro's af_heart, about thirty times as quick as speech on one core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hibari import Hibari

from plugins.tts.voices.phonemes import LEAD, English
from plugins.tts.voices.voice import levelled, trimmed

GAIN = 2.2
"""Its sentences peak at about 0.3 of full scale."""

SEED = 1
"""Of the noise in its sound: the same text gives the same samples."""


class HibariVoice:
    """A loaded model. `voice` is always its one voice."""

    rate = 24_000

    def __init__(self, path: Path, *, threads: int) -> None:
        # With a path the library looks for nothing; another of its voices than "heart" it would fetch from a hub.
        self._model = Hibari(voice="heart", model=str(path), threads=threads)
        self._english = English()

    def blocks(self, text: str, voice: str, speed: float) -> Iterator[bytes]:
        """See `LoadedVoice`."""
        noise = np.random.default_rng(SEED)
        for block in self._english.blocks(text):
            samples = self._model.from_ids(self._model.ids(block.phonemes), speed, noise)
            yield levelled(trimmed(samples, self.rate, LEAD, block.tail), GAIN)
