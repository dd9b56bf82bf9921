"""The sound of answers on its way to the client: at the speed of play, and no further ahead than a stop can reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

FRAME_MS = 20
AHEAD = 0.2
"""Seconds of sound that the client has before it plays them, at most."""

INSTANT = 1e-6
"""Seconds below which it is now: sums of frames are not exact."""

ROOM = 2.0
"""Seconds of sound that wait to be played before its maker is asked to wait."""

MOST_WAITING = 300.0
"""Seconds of sound that are kept for a vendor who makes it as fast as he can; what is above is refused."""

ABSENCE_LOOK = 0.1
"""Seconds from one look for a client that has gone to the next: its answer waits for it."""

KEPT = 5.0
"""Seconds that were played and are kept, to go on where a held answer was heard last."""


@dataclass(slots=True)
class _Mark:
    offset: int
    text: str


class Answer:
    """One answer: its sound, its words, and which of them were played. Offsets are bytes of its sound."""

    def __init__(self, rate: int) -> None:
        self._bytes_a_second = rate * 2
        self._sound = bytearray()
        self._dropped = 0
        self._marks: list[_Mark] = []
        self.words: list[str] = []
        self.next = 0
        self.whole = False

    @property
    def size(self) -> int:
        """Bytes of sound that there are, dropped ones included."""
        return self._dropped + len(self._sound)

    @property
    def waiting(self) -> float:
        """Seconds that were not sent yet."""
        return (self.size - self.next) / self._bytes_a_second

    def add(self, pcm: bytes, text: str) -> None:
        """More sound; `text` begins with it."""
        if text:
            self._marks.append(_Mark(self.size, text))
        self._sound += pcm

    def take(self, size: int) -> bytes:
        """The next bytes to send; a short rest once all is there."""
        begin = self.next - self._dropped
        piece = bytes(self._sound[begin : begin + size])
        self.next += len(piece)
        if (old := self.next - self._dropped - int(KEPT * self._bytes_a_second)) > self._bytes_a_second:
            old -= old % 2
            del self._sound[:old]
            self._dropped += old
        return piece

    def back_to(self, offset: int) -> int:
        """Send again from here, or from the oldest that is kept; gives the offset."""
        self.next = max(self._dropped, offset - offset % 2)
        return self.next

    def ms(self, offset: int) -> int:
        """An offset as milliseconds."""
        return offset * 1000 // self._bytes_a_second

    def heard(self, offset: int) -> str:
        """The words that were played up to here, whole ones.

        By the marks where the voice sets them, in between and without them in proportion to time.
        """
        if offset >= self.size and self.whole:
            return "".join(self.words)
        if not self._marks:
            said = "".join(self.words)
            return _whole_words(said, round(len(said) * offset / self.size)) if self.size else ""
        text = ""
        for mark, following in zip(self._marks, [*self._marks[1:], None], strict=True):
            end = following.offset if following is not None else self.size
            if offset >= end:
                text += mark.text
            elif offset > mark.offset:
                return text + _whole_words(
                    mark.text, round(len(mark.text) * (offset - mark.offset) / (end - mark.offset))
                )
            else:
                break
        return text


def _whole_words(text: str, length: int) -> str:
    """At most the first `length` characters, up to the end of a word."""
    if length >= len(text) or text[length : length + 1].isspace():
        return text[:length]
    cut = max(text[:length].rfind(space) for space in (" ", "\n"))
    return text[: max(0, cut)]


class Player:
    """Sends the current answer in frames of 20 ms, `AHEAD` of its play at most.

    `send` is given a frame and its media time in ms; `began` is told before the first frame of an answer, `over` when an
    answer was played to its end. While nobody listens (`listened`) nothing is sent. The client may say where it is; else the
    clock does.
    """

    def __init__(
        self,
        rate: int,
        *,
        send: Callable[[bytes, int], None],
        began: Callable[[], None],
        over: Callable[[], None],
        listened: Callable[[], bool],
    ) -> None:
        self._frame = rate * 2 * FRAME_MS // 1000
        self._bytes_a_ms = rate * 2 / 1000
        self._rate = rate
        self._send = send
        self._began = began
        self._over = over
        self._listened = listened
        self._answer: Answer | None = None
        self._started = False
        self._media = 0
        """Bytes that were sent in this call."""
        self._base = 0
        """What to subtract from a place in the media for one in the answer."""
        self._dry = 0.0
        """When the client has played all that it was sent, on the loop's clock."""
        self._told: tuple[int, float] | None = None
        self._held = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._loop = asyncio.get_running_loop()

    @property
    def media_ms(self) -> int:
        """The media time of the next frame."""
        return int(self._media / self._bytes_a_ms)

    def begin(self) -> Answer:
        """Another answer takes the place of the one before."""
        self._answer = Answer(self._rate)
        self._started = False
        self._notice()
        return self._answer

    def add(self, pcm: bytes, text: str) -> bool:
        """Sound of the current answer; false where too much waits."""
        answer = self._answer
        if answer is None:
            return True
        if answer.waiting > MOST_WAITING:
            return False
        answer.add(pcm, text)
        self._notice()
        return True

    def finish(self) -> None:
        """The current answer is whole."""
        if self._answer is not None:
            self._answer.whole = True
            self._notice()

    async def room(self) -> None:
        """Wait until little waits to be played."""
        await self._room.wait()

    def played(self, at: int) -> None:
        """The client has played up to this media time, in ms."""
        self._told = min(int(at * self._bytes_a_ms), self._media), self._loop.time()

    @property
    def heard(self) -> int:
        """Bytes of the current answer that were played."""
        if self._answer is None or not self._started:
            return 0
        now = self._loop.time()
        place = self._media - int(max(0.0, self._dry - now) * 1000 * self._bytes_a_ms)
        if self._told is not None:
            told, when = self._told
            place = min(place, told + int((now - when) * 1000 * self._bytes_a_ms))
        return max(0, min(place - self._base, self._answer.next))

    def hold(self) -> None:
        """Send nothing more; what was sent and not played counts as not sent."""
        if self._held:
            return
        self._held = True
        if self._answer is not None and self._started:
            heard = self._answer.back_to(self.heard)
            self._base = self._media - heard
        self._dry = 0.0
        self._told = None

    def resume(self) -> None:
        """Go on where it was held."""
        self._held = False
        self._notice()

    def drop(self) -> None:
        """Forget the current answer."""
        self._answer = None
        self._held = False
        self._notice()

    def _notice(self) -> None:
        self._measure()
        self._wake.set()

    def _measure(self) -> None:
        answer = self._answer
        if answer is None or answer.waiting < ROOM:
            self._room.set()
        else:
            self._room.clear()

    async def run(self) -> None:
        """Play, until cancelled."""
        while True:
            self._wake.clear()
            wait = self._step()
            timer = None if wait is None else self._loop.call_later(wait, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _goes_on(self, answer: Answer) -> bool:
        """Whether whoever was told that it begins has not stopped it."""
        return self._answer is answer and not self._held

    def _step(self) -> float | None:
        """Send what is due; gives the seconds until more is, or None where that depends on others."""
        answer = self._answer
        if answer is None or self._held:
            return None
        if not self._listened():
            return ABSENCE_LOOK
        now = self._loop.time()
        while answer.size - answer.next >= self._frame or (answer.whole and answer.next < answer.size):
            ahead = self._dry - now
            if ahead > AHEAD - FRAME_MS / 1000 + INSTANT:
                self._measure()
                return ahead - (AHEAD - FRAME_MS / 1000)
            if not self._started:
                self._started = True
                self._base = self._media - answer.next
                self._began()
                if not self._goes_on(answer):
                    return None
            frame = answer.take(self._frame)
            self._send(frame, self.media_ms)
            self._media += len(frame)
            self._dry = max(self._dry, now) + len(frame) / self._bytes_a_ms / 1000
        self._measure()
        if not answer.whole:
            return None
        if (left := self._dry - now) > INSTANT and self._started:
            return left
        self._answer = None
        self._over()
        return None
