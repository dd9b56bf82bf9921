"""What comes in, in Google's words, and as much of it as a session that follows would have to be told again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import plugins.realtime.providers.google_setup as say
from engine.api import RealtimeRequest
from plugins.realtime.providers.google_interpreting import BEHIND, interprets
from plugins.realtime.providers.google_turns import GoogleTurns

MOST_REPLAYED = 60.0
"""Seconds of speech that are kept for a new session until they are answered."""

MOST_QUIET = 10.0
"""Seconds kept while nobody is known to speak: the vendor tells of speech a little after it began."""


_INEXACT = 1e-6
"""Seconds by which sums of pieces are not exact."""


class Unanswered:
    """What was told since the last answer began, with its seconds of sound; the oldest sound is forgotten first."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, say.Message]] = deque()
        self._seconds = 0.0
        self.lost = 0.0
        """Seconds of speech that were forgotten."""

    def __bool__(self) -> bool:
        return bool(self._told)

    def __iter__(self) -> Iterator[say.Message]:
        return iter([message for _, message in self._told])

    def keep(self, message: say.Message) -> say.Message:
        """One message more, which is given back."""
        self._told.append((0.0, message))
        return message

    def hear(self, pcm: bytes, *, speech: bool) -> say.Message:
        """A piece of sound more, as a message."""
        message, seconds = say.sound(pcm), len(pcm) / 2 / say.INPUT_RATE
        self._told.append((seconds, message))
        self._seconds += seconds
        forgotten = self.trim(MOST_REPLAYED if speech else MOST_QUIET)
        self.lost += forgotten if speech else 0.0
        return message

    def trim(self, most: float) -> float:
        """Forget the oldest sound beyond so many seconds; gives the seconds that were forgotten."""
        before = self._seconds
        while self._seconds > most + _INEXACT:
            oldest = next(at for at, (seconds, _) in enumerate(self._told) if seconds)
            self._seconds -= self._told[oldest][0]
            del self._told[oldest]
        return before - self._seconds

    def clear(self) -> None:
        """It is answered, or to be forgotten."""
        self._told.clear()
        self._seconds = self.lost = 0.0


class Telling:
    """The person's half of a conversation, over all of its sessions; each method gives the messages to send."""

    def __init__(self, request: RealtimeRequest, turns: GoogleTurns) -> None:
        self.request = request
        self.unanswered = Unanswered()
        self.asked = False
        """An answer was asked for and has not begun."""
        self._turns = turns
        self._texts: list[str] = []
        self._samples = 0
        self._active = False
        """In the manual way: the person speaks, as the client says."""

    @property
    def _manual(self) -> bool:
        return self.request.turn_detection.type == "manual"

    @property
    def _interpreted(self) -> bool:
        return interprets(self.request.model)

    @property
    def _at(self) -> int:
        return self._samples * 1000 // say.INPUT_RATE

    def answered(self) -> None:
        """An answer has begun, or there is none."""
        self.unanswered.clear()
        self.asked = False

    def interpreted(self) -> None:
        """What was said up to now was interpreted, but for the last of it."""
        self.unanswered.trim(BEHIND)

    def audio(self, pcm: bytes) -> Iterator[say.Message]:
        """A piece of what the person says."""
        if self._manual and not self._active:
            self._active = True
            self._turns.speech_began(self._at)
            yield self.unanswered.keep(say.activity("activityStart"))
        self._samples += len(pcm) // 2
        yield self.unanswered.hear(pcm, speech=self._manual or self._turns.hearing)

    def write(self, text: str, role: str) -> None:
        """Something said in writing waits for its answer to be asked for."""
        self._turns.wrote(text, role)
        self._texts.append(text)

    def commit(self) -> Iterator[say.Message]:
        """What was spoken since is one turn."""
        if not self._manual:
            yield self.unanswered.keep(say.SOUND_OVER)
        elif self._active:
            self._active, self.asked = False, True
            yield self.unanswered.keep(say.activity("activityEnd"))
            self._turns.speech_ended(self._at)

    def answer(self, instructions: str | None) -> Iterator[say.Message]:
        """Ask for an answer; a turn of speech that is over is answered unasked."""
        texts = [*self._texts, *([instructions] if instructions else ())]
        self._texts = []
        if self._interpreted:
            # It speaks along unasked, and reads nothing.
            return
        if not texts and (self.asked or self._turns.answering):
            return
        self.asked = True
        for message in say.written(self.request, texts):
            yield self.unanswered.keep(message)

    def clear(self) -> bool:
        """Forget what is no finished turn yet; False where there is nothing."""
        if not self.unanswered:
            return False
        self.answered()
        self._active = False
        return True

    def over(self) -> Iterator[say.Message]:
        """Nothing more comes."""
        if self.unanswered and not self._manual:
            yield self.unanswered.keep(say.SOUND_OVER)
