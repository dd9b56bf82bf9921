"""Whose turn it is in a conversation with Gemini Live, told on the stage."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from engine.api import EngineError, RealtimePast, RealtimeStage, ToolCall, Usage
from plugins.realtime.providers.google_messages import FunctionCall, Part, ServerContent

MOST_KEPT = 200
"""Turns that a session without a handle is told."""

OUTPUT_RATE = 24_000
_RATE = re.compile(r"rate=(\d+)")


class GoogleTurns:
    """The person's words and the model's, over all sessions of one conversation."""

    pause: ClassVar[float | None] = None
    """Seconds without a word after which an answer is over, where the model itself does not say so."""

    def __init__(self, stage: RealtimeStage, past: Sequence[RealtimePast], *, audible: bool) -> None:
        self._stage = stage
        self._audible = audible
        self.past: deque[RealtimePast] = deque(past, maxlen=MOST_KEPT)
        self.answering = False
        self.usage: Usage | None = None
        self._said = ""
        self._words = ""
        self._muted = False
        self._speaking = False
        self._calls: dict[str, str] = {}

    @property
    def hearing(self) -> bool:
        """The person speaks, or has spoken and is not answered yet."""
        return self._speaking or bool(self._said)

    @property
    def calling(self) -> bool:
        """Tools were called that have not answered; a model may go on, and end its turn, without them."""
        return bool(self._calls)

    @property
    def waiting(self) -> bool:
        """An answer is on its way, or due to words that were heard."""
        return self.answering or bool(self._said)

    def speech_began(self, at: int | None = None) -> None:
        """The person speaks."""
        if not self._speaking:
            self._speaking = True
            self._stage.speech_began(at)

    def speech_ended(self, at: int | None = None) -> None:
        """The person is silent."""
        if self._speaking:
            self._speaking = False
            self._stage.speech_ended(at)

    def wrote(self, text: str, role: str) -> None:
        """Something was said in writing."""
        self.past.append(RealtimePast(role="system" if role == "system" else "user", text=text))

    def unhear(self) -> None:
        """Forget the words of a turn that was not answered."""
        self._said = ""

    def take(self, content: ServerContent) -> bool:
        """Tell what a message brought; True where an answer began with it."""
        if content.interrupted:
            # The person's voice did it, or their writing; what is still on its way of the answer is not to be heard.
            self._muted = True
            self.speech_began()
        if content.input_transcription is not None and content.input_transcription.text:
            self.speech_began()
            self._said += content.input_transcription.text
            self._stage.heard(self._said.strip(), final=False)
        began = False
        parts = (content.model_turn.parts if content.model_turn is not None else None) or []
        words = content.output_transcription.text if content.output_transcription is not None else None
        if (parts or words) and not (self._muted and self.answering):
            began = self._begin()
            self._speak(parts, words or "")
        if content.turn_complete:
            self.end()
        return began

    def call(self, calls: Sequence[FunctionCall]) -> bool:
        """The model calls tools; True where its answer began with that."""
        began = self._begin()
        for call in calls:
            self._calls[call.id] = call.name
            arguments = msgspec.json.encode(call.args or {}).decode()
            self._stage.tool_call(ToolCall(call_id=call.id, name=call.name, arguments=arguments))
        return began

    def called(self, call_id: str) -> str | None:
        """The name of a tool whose answer is due; None where it is wanted no more."""
        return self._calls.pop(call_id, None)

    def uncall(self, ids: Sequence[str]) -> None:
        """Answers to these calls are wanted no more."""
        for identity in ids:
            if self._calls.pop(identity, None) is not None:
                self._stage.tool_cancelled(identity)

    def mute(self, heard: str) -> None:
        """No more of this answer is to be told; the person heard so much of it."""
        if self.answering:
            self._muted, self._words = True, heard

    def lose(self, error: EngineError) -> None:
        """The session is gone: an answer in progress broke off, and what its tools answer reaches nobody."""
        self.uncall(list(self._calls))
        if self.answering:
            self.end(error)

    def end(self, error: EngineError | None = None) -> None:
        """The answer is whole, or broke off."""
        if not self.answering:
            # A turn without an answer: what was heard was for nobody.
            self._finish_words()
            return
        if self._words.strip():
            self.past.append(RealtimePast(role="assistant", text=self._words.strip()))
        usage, self.usage = self.usage, None
        self.answering, self._muted, self._words = False, False, ""
        self._stage.answered(usage=usage, error=error)

    def _begin(self) -> bool:
        if self.answering:
            return False
        self._answer_begins()
        self.answering, self._muted = True, False
        self._stage.answering()
        return True

    def _answer_begins(self) -> None:
        self._finish_words()

    def _finish_words(self) -> None:
        self.speech_ended()
        if said := self._said.strip():
            self._said = ""
            self.past.append(RealtimePast(role="user", text=said))
            self._stage.heard(said, final=True)

    def _speak(self, parts: Sequence[Part], words: str) -> None:
        if words:
            self._words += words
            self._stage.text(words)
        for part in parts:
            if part.inline_data is not None and self._audible:
                found = _RATE.search(part.inline_data.mime_type)
                self._stage.sound(part.inline_data.data, int(found[1]) if found else OUTPUT_RATE)
