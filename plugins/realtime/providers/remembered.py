"""What was said in a call with a cascade: what waits for an answer, and, where nothing is kept, what came before."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.api import RealtimeForget

BEGIN = "Begin the conversation."
"""What the model is told where it is to speak first."""


class Line(msgspec.Struct, frozen=True):
    """One thing that was said, and by what it can be forgotten."""

    role: str
    content: str
    name: RealtimeForget = RealtimeForget()

    def told(self) -> dict[str, str]:
        """As `chat.send` takes it."""
        return {"role": self.role, "content": self.content}


_BEGINNING = Line("user", BEGIN)


class Remembered:
    """The lines of one call."""

    def __init__(self) -> None:
        self._said: list[Line] = []
        """What was said and not answered yet."""
        self._past: list[Line] = []
        """Of a call that nothing is kept of: what was said in it."""

    def say(self, role: str, text: str, name: RealtimeForget) -> None:
        """Something that waits for an answer."""
        self._said.append(Line(role, text, name))

    def take(self) -> list[Line]:
        """What is answered now."""
        said, self._said = self._said, []
        return said

    def give_back(self, said: Sequence[Line]) -> None:
        """It was not answered after all, and waits again."""
        self._said[:0] = said

    def asked(self, said: Sequence[Line]) -> list[dict[str, str]]:
        """What a model is told that answers these."""
        return [line.told() for line in (*self._past, *(said or [_BEGINNING]))]

    def answered(self, said: Sequence[Line], text: str, stream: str) -> None:
        """What an answer leaves behind."""
        self._past += said
        if text:
            self._past.append(Line("assistant", text, RealtimeForget(answer=stream)))

    def cut(self, heard: str) -> None:
        """Only this much of the last answer was heard."""
        last = self._past.pop()
        if heard.strip():
            self._past.append(Line("assistant", heard, last.name))

    def forget(self, name: RealtimeForget) -> bool:
        """Go on as if it had never been said; false where nothing has this name."""
        before = len(self._said) + len(self._past)
        self._said = [line for line in self._said if line.name != name]
        self._past = [line for line in self._past if line.name != name]
        return len(self._said) + len(self._past) < before
