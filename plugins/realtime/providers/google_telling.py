"""What comes in, in Google's words, and as much of it as a session that follows would have to be told again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import plugins.realtime.providers.google_setup as say
from engine.api import REALTIME_RATE, RealtimeRequest
from plugins.realtime.providers.google_turns import GoogleTurns
from plugins.vendors.codecs import Resampler

MOST_REPLAYED = 60.0
"""Seconds of sound that are kept for a new session until they are answered."""


class Unanswered:
    """What was told since the last answer began, with its seconds of sound; the oldest sound is forgotten first."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, say.Message]] = deque()

    def __bool__(self) -> bool:
        return bool(self._told)

    def __iter__(self) -> Iterator[say.Message]:
        return iter([message for _, message in self._told])

    def keep(self, message: say.Message, seconds: float = 0.0) -> say.Message:
        """One message more, which is given back."""
        self._told.append((seconds, message))
        kept = sum(each for each, _ in self._told) if seconds else 0.0
        while kept > MOST_REPLAYED and (oldest := self._oldest_sound()) is not None:
            kept -= self._told[oldest][0]
            del self._told[oldest]
        return message

    def _oldest_sound(self) -> int | None:
        return next((at for at, (seconds, _) in enumerate(self._told) if seconds), None)

    def clear(self) -> None:
        """It is answered, or to be forgotten."""
        self._told.clear()


class Telling:
    """The person's half of a conversation, over all of its sessions; each method gives the messages to send."""

    def __init__(self, request: RealtimeRequest, turns: GoogleTurns) -> None:
        self.request = request
        self.unanswered = Unanswered()
        self.asked = False
        """An answer was asked for and has not begun."""
        self._turns = turns
        self._resampler = Resampler(REALTIME_RATE, say.INPUT_RATE)
        self._texts: list[str] = []
        self._active = False
        """In the manual way: the person speaks, as the client says."""

    @property
    def _manual(self) -> bool:
        return self.request.turn_detection.type == "manual"

    def answered(self) -> None:
        """An answer has begun, or there is none."""
        self.unanswered.clear()
        self.asked = False

    def audio(self, pcm: bytes) -> Iterator[say.Message]:
        """A piece of what the person says."""
        return self._sound(self._resampler.feed(pcm))

    def _sound(self, pcm: bytes) -> Iterator[say.Message]:
        if not pcm:
            return
        if self._manual and not self._active:
            self._active = True
            self._turns.speech_began()
            yield self.unanswered.keep(say.activity("activityStart"))
        yield self.unanswered.keep(say.sound(pcm), len(pcm) / 2 / say.INPUT_RATE)

    def write(self, text: str, role: str) -> None:
        """Something said in writing waits for its answer to be asked for."""
        self._turns.wrote(text, role)
        self._texts.append(text)

    def commit(self) -> Iterator[say.Message]:
        """What was spoken since is one turn."""
        rest = self._resampler.feed(b"", last=True)
        self._resampler = Resampler(REALTIME_RATE, say.INPUT_RATE)
        yield from self._sound(rest)
        if not self._manual:
            yield self.unanswered.keep(say.SOUND_OVER)
        elif self._active:
            self._active, self.asked = False, True
            yield self.unanswered.keep(say.activity("activityEnd"))
            self._turns.speech_ended()

    def answer(self, instructions: str | None) -> Iterator[say.Message]:
        """Ask for an answer; a turn of speech that is over is answered unasked."""
        texts = [*self._texts, *([instructions] if instructions else ())]
        self._texts = []
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
