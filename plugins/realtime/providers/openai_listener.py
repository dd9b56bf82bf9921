"""What OpenAI tells in a conversation: put on the stage, and remembered for a session that may have to follow."""

from __future__ import annotations

from base64 import b64decode
from collections import deque
from collections.abc import Mapping
from typing import Any

import plugins.realtime.providers.openai_events as wire
import plugins.vendors.openai_realtime as line
from engine.api import REALTIME_RATE, EngineError, RealtimeRequest, RealtimeStage, StatusChanged
from plugins.realtime.providers.openai_answer import Answers
from plugins.realtime.providers.openai_faults import ACTIVE, CROSSED, FATAL, Faults, Lost
from plugins.realtime.providers.openai_memory import Memory, Tape
from plugins.vendors.faults import clean


class Listener:
    """The vendor's half of a conversation, over all of its sessions."""

    def __init__(self, request: RealtimeRequest, stage: RealtimeStage, faults: Faults) -> None:
        self.request = request
        self.memory = Memory(request.past)
        self.tape = Tape()
        self.answers = Answers()
        self.commits: deque[int] = deque()
        """Where turns end that are over, and that the vendor has not said it took."""
        self.calls: set[str] = set()
        """Tools that are called and have not answered."""
        self._stage = stage
        self._faults = faults
        self._words: dict[str, str] = {}

    def take(self, told: line.Told) -> None:
        """One event; raises `Lost`, and what ends the call."""
        try:
            self._told(told)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._faults.malformed(f"its event {clean(told.type)}") from None

    def _told(self, told: line.Told) -> None:
        stage, answers = self._stage, self.answers
        match told.type:
            case "response.output_audio.delta":
                if (answer := answers.wanted) is not None:
                    pcm = b64decode(told.delta)
                    answer.sound(told.item_id, len(pcm))
                    stage.sound(pcm, REALTIME_RATE)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                if (answer := answers.wanted) is not None:
                    self.memory.keep(wire.message("assistant", answer.words(told.item_id, told.delta)), told.item_id)
                    stage.text(told.delta)
            case "input_audio_buffer.speech_started":
                self.tape.talking = True
                stage.speech_began(self.tape.place(told.audio_start_ms))
            case "input_audio_buffer.speech_stopped":
                self.tape.talking = False
                if told.audio_end_ms is not None:
                    self.commits.append(told.audio_end_ms)
                stage.speech_ended(self.tape.place(told.audio_end_ms))
            case "input_audio_buffer.committed":
                self._committed(told.item_id)
            case "conversation.item.input_audio_transcription.delta":
                self._words[told.item_id] = words = self._words.get(told.item_id, "") + told.delta
                stage.heard(words, final=False)
            case "conversation.item.input_audio_transcription.completed":
                self._words.pop(told.item_id, None)
                self.memory.heard(told.item_id, told.transcript)
                stage.heard(told.transcript, final=True)
            case "conversation.item.input_audio_transcription.failed":
                self._words.pop(told.item_id, None)
                stage.show(StatusChanged(stage="hearing_failed", detail=self._faults.words(told.error)))
                stage.heard("", final=True)
            case "response.created":
                answers.begin()
                stage.answering()
            case "response.output_item.done":
                if told.item.get("type") == "function_call":
                    self._called(told.item)
            case "response.done":
                answers.end()
                stage.answered(usage=wire.usage(told.response.get("usage")), error=self._broken(told.response))
            case "error":
                self._error(told.error)

    def _committed(self, item_id: str) -> None:
        until = self.commits.popleft() if self.commits else self.tape.end
        self.memory.unheard(item_id, self.tape.cut(until))
        turns = self.request.turn_detection
        self.answers.awaited = self.answers.awaited or (turns.answer and turns.type != "manual")

    def _called(self, item: Mapping[str, Any]) -> None:
        call = wire.tool_call(item)
        kept = {"type": "function_call", "call_id": call.call_id, "name": call.name}
        self.memory.keep({**kept, "arguments": call.arguments}, item.get("id"))
        self.calls.add(call.call_id)
        self._stage.tool_call(call)

    def _broken(self, response: Mapping[str, Any]) -> EngineError | None:
        details, status = wire.fields(response, "status_details"), response.get("status")
        if status == "incomplete":
            self._stage.show(StatusChanged(stage="answer_cut", detail=f"the model stopped: {details.get('reason')}"))
        return self._faults.failure(wire.fields(details, "error")) if status == "failed" else None

    def _error(self, error: Mapping[str, Any]) -> None:
        code = error.get("code")
        if code == line.EXPIRED:
            raise Lost(self._faults.expired(error), lived=True)
        if code in FATAL:
            raise self._faults.failure(error)
        if code == ACTIVE:
            self.answers.owe(line.event("response.create"))
        if code not in CROSSED:
            self.answers.awaited = False
            self._show(error)

    def _show(self, error: Mapping[str, Any]) -> None:
        self._stage.show(StatusChanged(stage="vendor_error", detail=self._faults.words(error)))
