"""Gemini's interpreters, which speak along and know no turns (https://ai.google.dev/gemini-api/docs/live-api/live-translate)."""

from __future__ import annotations

from typing import ClassVar

from engine.api import EngineError, InvalidRequest, RealtimeRequest, UnsupportedParameter
from plugins.realtime.providers.google_turns import GoogleTurns

PAUSE = 2.0
"""Seconds without anything from the model after which what it interpreted counts as one answer."""

BEHIND = 3.0
"""Seconds that an interpretation may be behind the speech: so much of it is told again to a new session."""


def interprets(model: str) -> bool:
    """Whether a model is an interpreter; any other has to be told in words to be one."""
    return "live-translate" in model.rpartition("/")[2]


def check_interpreter(request: RealtimeRequest) -> None:
    """Raise what an interpreter has against a request."""
    if request.translate_to is None:
        raise InvalidRequest(
            f"{request.model} does nothing but interpret: say in translate_to into which language", field="translate_to"
        )
    for field, wanted in (
        ("instructions", request.instructions),
        ("voice", request.voice),
        ("max_output_tokens", request.max_output_tokens),
    ):
        if wanted is not None:
            raise UnsupportedParameter(f"{request.model} takes no {field}: it says what it hears", field=field)
    if request.turn_detection.type == "manual":
        raise UnsupportedParameter(f"{request.model} interprets while somebody speaks", field="turn_detection")


class Interpreting(GoogleTurns):
    """An interpretation goes on while the person speaks, and is over with a pause of both."""

    pause: ClassVar[float | None] = PAUSE

    def speech_began(self, at: int | None = None) -> None:
        """The person speaks; over their own interpretation it is no turn of theirs."""
        if not self.answering:
            super().speech_began(at)

    def end(self, error: EngineError | None = None) -> None:
        """Both have paused, or the session broke off."""
        self._finish_words()
        super().end(error)

    def _answer_begins(self) -> None:
        """The person goes on."""
