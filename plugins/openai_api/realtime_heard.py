"""The person's side of a realtime session: turns, and what was said in them, as OpenAI's events tell it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine.api import ErrorBody, UserEnded, UserStarted
from plugins.openai_api.realtime_log import ServerEvent, SessionLog, new_item_id, told_error

UNWRITTEN = 64
"""Turns that may wait for their words; of a model that writes none the oldest are given up."""

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(slots=True)
class _Turn:
    item: str
    number: int
    began: int
    seconds: float = 0.0
    said: str = ""
    forgotten: bool = False
    failure: str | None = None


class Heard:
    """Turns in their order. Each is written before the next one is, though that may be spoken already."""

    def __init__(self, log: SessionLog) -> None:
        self.detects = True
        """Whether the server finds the ends of turns; else the client commits them."""
        self._log = log
        self._spoken: _Turn | None = None
        self._unwritten: deque[_Turn] = deque(maxlen=UNWRITTEN)

    def started(self, event: UserStarted) -> Iterator[ServerEvent]:
        """Somebody begins to speak."""
        self._spoken = turn = _Turn(new_item_id(), event.turn, event.at or 0)
        self._unwritten.append(turn)
        if self.detects:
            yield self._log.event("input_audio_buffer.speech_started", audio_start_ms=turn.began, item_id=turn.item)

    def ended(self, event: UserEnded) -> Iterator[ServerEvent]:
        """The turn is over, and an item."""
        turn, self._spoken = self._spoken or _Turn(new_item_id(), event.turn, event.at or 0), None
        if turn.forgotten:
            return
        end = turn.began if event.at is None else event.at
        turn.seconds = max(0, end - turn.began) / 1000
        log = self._log
        if self.detects:
            yield log.event("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=turn.item)
        log.names[turn.item] = {"turn": turn.number}
        yield log.event("input_audio_buffer.committed", item_id=turn.item, previous_item_id=log.last)
        content = [{"type": "input_audio", "transcript": None}]
        yield from log.whole({"id": turn.item, "type": "message", "role": "user", "content": content})

    def silent(self, since: int, until: int) -> Iterator[ServerEvent]:
        """Nothing was said for so long that it is a turn of its own."""
        item, log = new_item_id(), self._log
        yield log.event("input_audio_buffer.timeout_triggered", item_id=item, audio_start_ms=since, audio_end_ms=until)
        yield log.event("input_audio_buffer.committed", item_id=item, previous_item_id=log.last)
        content = [{"type": "input_audio", "transcript": None}]
        yield from log.whole({"id": item, "type": "message", "role": "user", "content": content})

    def partial(self, text: str) -> Iterator[ServerEvent]:
        """More of the words. A delta cannot take back what it said: what changes is told with the end."""
        turn = self._unwritten[0] if self._unwritten else None
        if turn is not None and text.startswith(turn.said) and text != turn.said:
            delta, turn.said = text[len(turn.said) :], text
            yield self._told(turn.item, "delta", 0, delta=delta)

    def final(self, text: str) -> Iterator[ServerEvent]:
        """All the words of a turn."""
        yield from self.partial(text)
        if self._unwritten:
            turn = self._unwritten.popleft()
            turn.said = text
            yield self._completed(turn)

    def fail(self, message: str) -> None:
        """A turn could not be listened to; `wordless` follows."""
        if self._unwritten:
            self._unwritten[0].failure = message

    def forget(self) -> None:
        """What is being spoken is to be no turn; its end and `wordless` follow."""
        if self._spoken is not None:
            self._spoken.forgotten = True

    def wordless(self) -> Iterator[ServerEvent]:
        """A turn has no words: it was no speech, was forgotten, or not understood."""
        gone = next((turn for turn in self._unwritten if turn.forgotten), None)
        if gone is not None:
            self._unwritten.remove(gone)
        elif self._unwritten:
            turn = self._unwritten.popleft()
            if turn.failure is None:
                yield self._completed(turn)
            else:
                error = ErrorBody(code="transcription_failed", message=turn.failure, retryable=False)
                yield self.written(turn.item, 0, "", turn.seconds, error)

    def written(self, item: str, at: int, text: str, seconds: float, error: ErrorBody | None = None) -> ServerEvent:
        """What is said in one part of an item is known, or will not be."""
        if error is not None:
            told = told_error(error)
            fields = {"type": told.type, "code": told.code, "message": told.message, "param": told.param}
            return self._told(item, "failed", at, error=fields)
        usage = {"type": "duration", "seconds": seconds}
        return self._told(item, "completed", at, transcript=text, usage=usage)

    def _completed(self, turn: _Turn) -> ServerEvent:
        item = self._log.find(turn.item)
        if item is not None:
            item["content"][0]["transcript"] = turn.said
        return self.written(turn.item, 0, turn.said, turn.seconds)

    def _told(self, item: str, what: str, at: int, **fields: Any) -> ServerEvent:
        return self._log.event(f"{_TRANSCRIPTION}.{what}", item_id=item, content_index=at, **fields)
