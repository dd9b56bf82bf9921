"""Where live speech may be cut, for vendors that leave it to their caller."""

from __future__ import annotations

from array import array
from collections import deque

SILENCE = 0.6
"""Seconds of quiet that end a stretch of speech."""

LONGEST = 20.0
"""Seconds after which a breath is enough; half of that later a stretch ends wherever it is."""

BREATH = 0.06

FRAME = 0.02
"""Seconds that are looked at in one."""

_FAINTEST = 30.0
"""Mean height of samples under which there is no speech, whatever the room is like."""

_OVER_ROOM = 3.0
_ROOM_FRAMES = 250


class Pauses:
    """Finds quiet after speech, by how loud it is beside the quietest of the last seconds."""

    def __init__(self, rate: int) -> None:
        self._size = int(rate * FRAME) * 2
        self._rest = b""
        self._room: deque[float] = deque(maxlen=_ROOM_FRAMES)
        self._quiet = 0.0
        self._length = 0.0
        self.spoke = False
        """Whether somebody has spoken in the present stretch."""
        self.heard = False
        """Whether somebody had in the last one."""
        self.loud = 0.0
        """Seconds up to where anything was heard, be it the room."""
        self._at = 0.0

    def feed(self, pcm: bytes) -> bool:
        """Whether a stretch ends with this piece, which is then the last of it."""
        self._rest += pcm
        while len(self._rest) >= self._size:
            frame, self._rest = self._rest[: self._size], self._rest[self._size :]
            self._take(loudness(frame))
        if not self._ends:
            return False
        self.heard, self.spoke = self.spoke, False
        self._quiet = self._length = 0.0
        return True

    def _take(self, height: float) -> None:
        self._room.append(height)
        self._length += FRAME
        self._at += FRAME
        if height > _FAINTEST:
            self.loud = self._at
        # Whoever speaks from the first moment is not the room.
        room = min(self._room) if len(self._room) == _ROOM_FRAMES else 0.0
        if height > max(_FAINTEST, _OVER_ROOM * room):
            self.spoke, self._quiet = True, 0.0
        else:
            self._quiet += FRAME

    @property
    def _ends(self) -> bool:
        if self._length >= LONGEST:
            return self._quiet >= BREATH or self._length >= 1.5 * LONGEST
        return self.spoke and self._quiet >= SILENCE


def loudness(frame: bytes) -> float:
    """Mean height of the samples."""
    samples = array("h", frame)
    return sum(map(abs, samples)) / len(samples)
