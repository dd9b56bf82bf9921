"""Where speech begins and where a turn ends, from the probability of speech in each frame and the shape of the words."""

from __future__ import annotations

import re
from typing import Literal

FRAME_MS = 32
FRAME_BYTES = 1024
"""512 samples of 16 bits, 16,000 a second: what the detector of speech looks at."""

START_FRAMES = 3
"""Frames of speech among the last `START_FRAMES + 1` that begin a turn: a click is no speech."""

HYSTERESIS = 0.15
"""Speech goes on down to this much below the threshold."""

SHORTEST_SILENCE_MS = 200
LONGEST_SILENCE_MS = 2_000

_UNFINISHED = re.compile(
    r"(?:^|\s)(?:an?|and|are|at|because|but|by|for|from|i|if|in|is|like|my|of|on|or|our|so|than|that|the|their|then|this|to"
    r"|um|uh|was|we|were|what|when|where|which|while|who|with|your)$",
    re.IGNORECASE,
)


class Endpointer:
    """Finds beginnings and ends in the probabilities of one call's frames, each `FRAME_MS` long."""

    def __init__(self, threshold: float, silence_ms: int) -> None:
        self.threshold = threshold
        self.silence_ms = silence_ms
        self.speaking = False
        self._recent: list[bool] = []
        self._silent = 0

    def feed(self, probability: float) -> Literal["began", "ended"] | None:
        """What a frame's probability of speech makes known."""
        if not self.speaking:
            self._recent = [*self._recent[-START_FRAMES:], probability >= self.threshold]
            if sum(self._recent) < START_FRAMES:
                return None
            self.speaking, self._silent, self._recent = True, 0, []
            return "began"
        if probability >= self.threshold - HYSTERESIS:
            self._silent = 0
            return None
        self._silent += FRAME_MS
        if self._silent < self.silence_ms:
            return None
        self.speaking = False
        return "ended"


def silence_after(text: str, usual_ms: int) -> int:
    """Milliseconds of silence after which somebody who has said this much has finished: the semantic end of a turn.

    A sentence with its full stop is over soon; after a word that wants another one the pause may be long.
    """
    words = text.rstrip("\"')]").rstrip()
    if not words:
        return usual_ms
    if words[-1] in ".?!…":
        return max(SHORTEST_SILENCE_MS, usual_ms // 2)
    if words[-1] in ",;:-" or _UNFINISHED.search(words):
        return min(LONGEST_SILENCE_MS, usual_ms * 3)
    return usual_ms
