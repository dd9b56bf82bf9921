"""From a place in the audio that a model was given to the client's own time of it."""

from __future__ import annotations

from bisect import bisect_right

TOLERANCE = 20
"""Milliseconds by which a client's times may differ from the audio that it sent before they count as a gap."""

MOST_GAPS = 1_000
"""Gaps that are remembered; the oldest are forgotten first."""


class MediaTime:
    """Where a client's pieces of audio lie in its recording. One that names no times sends all of it, from 0 on."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._samples = 0
        self._places: list[int] = [0]
        self._offsets: list[int] = [0]

    def took(self, samples: int, at: int) -> None:
        """The next piece of audio; the client says that it begins at `at`, or nothing with 0."""
        place = self._samples * 1000 // self._rate
        offset = at - place
        if at and abs(offset - self._offsets[-1]) > TOLERANCE:
            self._places.append(place)
            self._offsets.append(offset)
            self._forget()
        self._samples += samples

    def silent(self, samples: int) -> None:
        """The model was given silence that no client sent."""
        self._samples += samples
        self._places.append(self._samples * 1000 // self._rate)
        self._offsets.append(self._offsets[-1] - samples * 1000 // self._rate)
        self._forget()

    def _forget(self) -> None:
        if len(self._places) > MOST_GAPS:
            del self._places[0], self._offsets[0]

    def of(self, place: int) -> int:
        """The client's time of a place, both in milliseconds."""
        gap = max(0, bisect_right(self._places, place) - 1)
        return max(0, place + self._offsets[gap])
