"""Cuts the audio of one recording into utterances, by the probability of speech in each of its frames."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

RATE = 16_000
FRAME = 512
"""Samples that the detector of speech looks at."""

FRAME_BYTES = FRAME * 2
FRAME_SECONDS = FRAME / RATE

THRESHOLD = 0.5
HYSTERESIS = 0.15
"""Speech goes on down to this much below the threshold."""

BEGIN_FRAMES = 2
"""Frames of speech in a row that begin an utterance."""

BEFORE_FRAMES = 12
"""Frames that an utterance has from before its first speech: a weak first consonant is no speech to the detector."""

PAUSE_FRAMES = 7
"""Frames without speech after which what was said so far is worth a careful look: it may be all."""

END_FRAMES = 19
"""Frames without speech that end an utterance."""

LEAST_FRAMES = 7
"""Frames of speech that an utterance has at least. Recognisers invent words for a click or a breath."""

PATIENCE = 0.6
"""Part of the longest utterance from which on any pause ends it."""

SEARCHED = 0.3
"""Part of the longest utterance, at its end, in which one that has no pause is cut where it sounds least like speech."""

Happened: TypeAlias = Literal["began", "goes_on", "pauses", "ended"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech: samples of 16 bits, and where it lies in the recording, in frames."""

    pcm: bytes
    begin: int
    end: int
    """Of its last speech; `pcm` may go on behind it."""
    spoken: int
    """Frames of speech in it; those of an open utterance grow."""

    @property
    def is_speech(self) -> bool:
        """Whether there is enough of it to be words."""
        return self.spoken >= LEAST_FRAMES


class Cutter:
    """Takes a recording's frames one after the other. `longest` is in seconds.

    An utterance that is over is taken out with `take`, one that is still open may be looked at with `so_far`.
    """

    def __init__(self, longest: float) -> None:
        self._longest = int(longest / FRAME_SECONDS)
        self._at = 0
        self._before: deque[bytes] = deque(maxlen=BEFORE_FRAMES)
        self._frames: list[bytes] = []
        self._probabilities: list[float] = []
        self._begin = 0
        self._spoken = 0
        self._silent = 0
        self._recent = 0
        self._over: Utterance | None = None

    @property
    def open(self) -> bool:
        """Whether somebody speaks."""
        return bool(self._frames)

    @property
    def seconds(self) -> float:
        """How long what is open is by now."""
        return len(self._frames) * FRAME_SECONDS

    @property
    def settled(self) -> int:
        """Frame before which nothing is left to be told."""
        return self._begin if self._frames else max(0, self._at - BEFORE_FRAMES)

    def feed(self, frame: bytes, probability: float) -> Happened | None:
        """The next frame, `FRAME_BYTES` long."""
        self._at += 1
        if not self._frames:
            return self._listen(frame, probability)
        self._frames.append(frame)
        self._probabilities.append(probability)
        if probability >= THRESHOLD - HYSTERESIS:
            self._spoken += 1
            self._silent = 0
        else:
            self._silent += 1
        size = len(self._frames)
        if self._silent >= END_FRAMES or (self._silent >= PAUSE_FRAMES and size >= self._longest * PATIENCE):
            self._end(size)
            return "ended"
        if size >= self._longest:
            self._end(self._quietest())
            return "ended"
        if self._silent:
            return "pauses" if self._silent == PAUSE_FRAMES else None
        return "goes_on"

    def finish(self) -> Utterance | None:
        """The recording is over; what is still open ends."""
        if self._frames:
            self._end(len(self._frames))
        return self.take()

    def take(self) -> Utterance | None:
        """The utterance that has just ended."""
        over, self._over = self._over, None
        return over

    def so_far(self) -> Utterance:
        """What is open, as one that ends here."""
        return self._cut(len(self._frames))

    def _listen(self, frame: bytes, probability: float) -> Happened | None:
        self._before.append(frame)
        self._recent = self._recent + 1 if probability >= THRESHOLD else 0
        if self._recent < BEGIN_FRAMES:
            return None
        self._frames = list(self._before)
        quiet = len(self._frames) - self._recent
        self._probabilities = [0.0] * quiet + [1.0] * self._recent
        self._begin = self._at - len(self._frames)
        self._spoken, self._silent = self._recent, 0
        self._before.clear()
        self._recent = 0
        return "began"

    def _cut(self, size: int) -> Utterance:
        spoken = self._spoken if size == len(self._frames) else _spoken(self._probabilities[:size])
        return Utterance(b"".join(self._frames[:size]), self._begin, self._begin + size - self._tail(size), spoken)

    def _tail(self, size: int) -> int:
        return self._silent if size == len(self._frames) else 0

    def _end(self, size: int) -> None:
        self._over = self._cut(size)
        self._frames = self._frames[size:]
        self._probabilities = self._probabilities[size:]
        self._begin += size
        if self._frames:
            self._spoken = _spoken(self._probabilities)
            return
        self._spoken = self._silent = 0

    def _quietest(self) -> int:
        """Where to cut somebody who does not pause: behind the frame of the least speech, late in what is open."""
        size = len(self._probabilities)
        first = size - int(self._longest * SEARCHED)
        return min(range(first, size), key=self._probabilities.__getitem__) + 1


def _spoken(probabilities: list[float]) -> int:
    return sum(each >= THRESHOLD - HYSTERESIS for each in probabilities)
