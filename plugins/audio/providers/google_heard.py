"""One turn of speech as Gemini Live hears it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from engine.api import Segment
from plugins.vendors.google_live import seconds
from plugins.vendors.lenient import Reader


class Fields(msgspec.Struct, rename="camel"):
    """Root of what stands in a message, in the names of JSON."""


class Heard(Fields):
    """Words that were heard, and where, counted from the beginning of the session."""

    NEEDED: ClassVar = frozenset({"text"})

    text: str | None = None
    language_code: str | None = None
    start_offset: str | None = None
    end_offset: str | None = None


class ServerContent(Fields):
    """What happens. `interim_input_transcription` is all of what may still change, `input_transcription` a piece that stays."""

    NEEDED: ClassVar = frozenset({"input_transcription", "interim_input_transcription"})

    input_transcription: Heard | None = None
    interim_input_transcription: Heard | None = None
    turn_complete: bool | None = None


class GoAway(Fields):
    """The connection is closed soon: in "9.5s"."""

    time_left: str | None = None


class Message(Fields):
    """One message, as far as it matters here."""

    NEEDED: ClassVar = frozenset({"server_content"})

    setup_complete: dict[str, Any] | None = None
    server_content: ServerContent | None = None
    go_away: GoAway | None = None
    error: Mapping[str, Any] | None = None


decode = Reader(Message).read


class Turn:
    """The turn that is spoken, or whose words are waited for. `begin` is where the session begins, in seconds of all audio."""

    def __init__(self, begin: float, *, spaced: bool, language: str | None) -> None:
        self._session = begin
        self._spaced = spaced
        self._asked = language
        self.open = False
        self._reset(begin)

    def _reset(self, at: float) -> None:
        self._start, self._first, self._last = at, None, None
        self._words = self._interim = self._told = ""
        self._language = self._asked
        self.ended: float | None = None
        """Where it ended; None while it is spoken."""
        self.completed = False
        """Gemini said that it is done with the turn."""
        self.worded = False
        """Words came since it ended."""
        self.settled = False
        """No more of them are waited for."""

    _first: float | None
    _last: float | None

    def begin(self, at: float) -> None:
        """Somebody may speak from here on."""
        self._reset(at)
        self.open = True

    def end(self, at: float) -> None:
        """Nobody does any more."""
        self.ended = at

    def take(self, content: ServerContent) -> None:
        """What a message brought."""
        if (interim := content.interim_input_transcription) is not None and interim.text:
            self._interim = interim.text
        if (heard := content.input_transcription) is not None and heard.text:
            self._hear(heard, heard.text)
        if content.turn_complete and self.ended is not None:
            self.completed = True

    def _hear(self, heard: Heard, text: str) -> None:
        if self._spaced and self._words and not (self._words[-1].isspace() or text[0].isspace()):
            text = f" {text}"
        self._words += text
        self._interim = ""
        self._language = self._asked or heard.language_code or self._language
        if heard.start_offset and self._first is None:
            self._first = self._session + seconds(heard.start_offset)
        if heard.end_offset:
            self._last = self._session + seconds(heard.end_offset)
        self.worded = self.worded or self.ended is not None

    @property
    def complete(self) -> bool:
        """Whether all of its words are there."""
        return self.settled or (self.completed and self.worded and not self._interim)

    def partial(self) -> list[Segment]:
        """What is heard so far, if that is more than was told."""
        text = self._text
        if not self.open or text == self._told:
            return []
        self._told = text
        return [Segment(text=text, final=False, start=self._begin_of(), language=self._language)]

    def final(self) -> list[Segment]:
        """The turn is over."""
        self.open = False
        if not (text := self._text):
            return []
        end = self.ended if self._last is None else self._last
        return [
            Segment(
                text=text,
                start=self._begin_of(),
                end=None if end is None else round(end, 3),
                language=self._language,
            )
        ]

    @property
    def _text(self) -> str:
        # What may still change is told of the whole turn, or of what follows the words that stay.
        before = "" if self._interim.startswith(self._words) else self._words
        return f"{before} {self._interim}".strip() if self._interim else self._words.strip()

    def _begin_of(self) -> float:
        return round(self._start if self._first is None else self._first, 3)
