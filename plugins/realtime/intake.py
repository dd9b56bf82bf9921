"""What one client sends into a call, in order, on its way to the model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from engine.api import InvalidFrame, Overloaded, RealtimeAnswer, RealtimeAudio, RealtimeCommit, RealtimeInput
from plugins.realtime.media_time import MediaTime
from plugins.realtime.sound import Codec
from plugins.vendors.codecs import Resampler, pieces_of

ACKNOWLEDGED_EVERY = 0.2
"""Seconds of audio from one acknowledgement to the next."""

MOST_SAID = 1_000
"""Things that were said beside the audio and wait for the model; what is above is refused."""


class Intake:
    """Audio of `rate` samples a second for a model that hears `hears` of them, and what is said beside it.

    At most `backlog` seconds of audio wait for the model. `heard` is given the samples of each frame that was taken, `asked`
    is told before the model is that it is to answer.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        rate: int,
        hears: int,
        backlog: float,
        heard: Callable[[bytes], None],
        asked: Callable[[], None],
    ) -> None:
        self.media = MediaTime(rate)
        self.finished = False
        self._codec = codec
        self._rate = rate
        self._hears = hears
        self._most = backlog * rate * 2
        self._heard = heard
        self._asked = asked
        self._resampler = self._new_resampler()
        self._rest = b""
        self._items: deque[RealtimeInput] = deque()
        self._came = asyncio.Event()
        self._waiting = 0
        self._said = 0
        self._last = 0
        self._unacknowledged = 0
        self._loop = asyncio.get_running_loop()
        self.touched = self.frame_at = self._loop.time()
        """When the client did anything, and when its last frame came, on the loop's clock."""

    def take(self, n: int, payload: bytes, at: int) -> int | None:
        """One frame of the client's audio; gives the count to acknowledge, from time to time."""
        if self.finished:
            raise InvalidFrame("this call is over; no more of its audio is taken")
        if n <= self._last:
            return self._last
        if n != self._last + 1 and self._last:
            raise InvalidFrame(f"after frame {self._last} comes {self._last + 1}, not {n}: send what is missing first")
        pcm, rest = self._codec.decode(self._rest + payload)
        # A frame that alone is longer than all that may wait is taken once nothing waits: again and again it would not fit.
        if self._waiting and self._waiting + len(pcm) > self._most:
            raise Overloaded("the model has not come so far yet; send this frame again", retry_after=0.5)
        self._last, self._rest = n, rest
        self.media.took(len(pcm) // 2, at)
        self.touched = self.frame_at = self._loop.time()
        self._heard(pcm)
        self._sound(pcm)
        self._unacknowledged += len(pcm)
        if self._unacknowledged < self._rate * 2 * ACKNOWLEDGED_EVERY:
            return None
        self._unacknowledged = 0
        return n

    def silence(self, seconds: float) -> None:
        """Silence that the client did not send."""
        samples = int(self._rate * seconds)
        self.media.silent(samples)
        self._sound(bytes(samples * 2))

    def _sound(self, pcm: bytes) -> None:
        self._waiting += len(pcm)
        for piece in pieces_of(pcm, self._rate):
            self.put(RealtimeAudio(piece))

    def check_room(self) -> None:
        """Raise `Overloaded` where the model is far behind what is said beside the audio."""
        if self._said >= MOST_SAID:
            raise Overloaded("the model has not come so far yet; send this again", retry_after=0.5)

    def say(self, item: RealtimeInput) -> None:
        """Something that the client says beside its audio; raises `Overloaded`."""
        self.check_room()
        self.touched = self._loop.time()
        self.put(item)

    def put(self, item: RealtimeInput) -> None:
        """Something that the call itself tells the model."""
        self._said += not isinstance(item, RealtimeAudio)
        self._items.append(item)
        self._came.set()

    def finish(self) -> int:
        """Nothing more comes; gives the last count of a frame that was taken."""
        self.finished = True
        self._came.set()
        return self._last

    async def items(self) -> AsyncIterator[RealtimeInput]:
        """All of it, as the model is told it."""
        while True:
            while self._items:
                item = self._items.popleft()
                self._said -= not isinstance(item, RealtimeAudio)
                if isinstance(item, RealtimeAudio):
                    self._waiting -= len(item.pcm)
                    if self._resampler is not None:
                        item = RealtimeAudio(self._resampler.feed(item.pcm))
                        if not item.pcm:
                            continue
                elif isinstance(item, RealtimeCommit) and self._resampler is not None:
                    # The last of what was spoken belongs to this turn, and not to the next.
                    if rest := self._resampler.feed(b"", last=True):
                        yield RealtimeAudio(rest)
                    self._resampler = self._new_resampler()
                elif isinstance(item, RealtimeAnswer):
                    self._asked()
                yield item
            if self.finished:
                return
            self._came.clear()
            await self._came.wait()

    def _new_resampler(self) -> Resampler | None:
        return Resampler(self._rate, self._hears) if self._rate != self._hears else None
