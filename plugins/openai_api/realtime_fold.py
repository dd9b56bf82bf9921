"""Folds the events of a call into those of OpenAI's realtime sessions (types: `openai.types.realtime`)."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api import (
    AssistantEnded,
    AssistantStarted,
    Audio,
    Event,
    StatusChanged,
    TextDelta,
    ToolCall,
    ToolCancelled,
    TranscriptFinal,
    TranscriptPartial,
    UserEnded,
    UserStarted,
)
from plugins.openai_api.realtime_answers import Answers
from plugins.openai_api.realtime_heard import Heard
from plugins.openai_api.realtime_log import ServerEvent, SessionLog


class RealtimeFold:
    """One session's events: what is heard, and what is answered."""

    def __init__(self) -> None:
        self.log = SessionLog()
        self.heard = Heard(self.log)
        self.answers = Answers(self.log)

    def fold(self, event: Event) -> Iterable[ServerEvent]:
        """What an event of the call is in OpenAI's words."""
        heard, answers = self.heard, self.answers
        match event:
            case UserStarted():
                return heard.started(event)
            case UserEnded():
                return heard.ended(event)
            case TranscriptPartial():
                return heard.partial(event.text)
            case TranscriptFinal():
                return heard.final(event.text)
            case StatusChanged():
                return self._status(event)
            case AssistantStarted():
                answers.media = event.at
                return answers.opened()
            case TextDelta():
                return answers.text(event.text)
            case Audio():
                return answers.sound(event.data)
            case ToolCall() if event.client:
                return answers.called(event)
            case ToolCancelled():
                answers.waiting.discard(event.call_id)
                return ()
            case AssistantEnded():
                return answers.ended(event)
            case _:
                return ()

    def _status(self, event: StatusChanged) -> Iterable[ServerEvent]:
        match event.stage:
            case "hearing_failed":
                self.heard.fail(event.detail or "the transcriber failed")
            case "speech_forgotten":
                self.heard.forget()
            case "answer_cut":
                filtered = "content_filter" in (event.detail or "")
                self.answers.cut = "content_filter" if filtered else "max_output_tokens"
            case "no_words":
                return self.heard.wordless()
            case _:
                pass
        return ()
