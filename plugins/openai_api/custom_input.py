"""The text of a custom tool's call: to models it is a function with the one argument `input`."""

from __future__ import annotations

import re

import msgspec

_OPENING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_MOST_OPENING = 200
# A text in JSON as far as it is whole: an escape that is cut off, or half of a character, waits for what follows.
_PLAIN = re.compile(
    r'(?:[^"\\]|\\["\\/bfnrt]'
    r"|\\u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|(?![dD][89abAB])[0-9a-fA-F]{4}))+"
)


def text_input(arguments: str) -> str:
    """The text that a custom tool is called with; what a model wrote instead of the one argument is that text.

    Of arguments that were cut off it is what had come of the text.
    """
    try:
        given = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        growing = GrowingInput()
        cut = growing.take(arguments)
        return cut if growing.began else arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments


class GrowingInput:
    """Decodes the text while its JSON is still being written; of JSON in another form nothing is given until its end."""

    __slots__ = ("_began", "_given", "_over", "_raw")

    def __init__(self) -> None:
        self._raw = ""
        self._began = False
        self._over = False
        self._given = 0

    def take(self, piece: str) -> str:
        """What a piece of the JSON adds to the text."""
        if self._over:
            return ""
        self._raw += piece
        if not self._began and not self._begin():
            return ""
        found = _PLAIN.match(self._raw)
        if found is None:
            self._over = self._raw.startswith('"')
            return ""
        self._raw = self._raw[found.end() :]
        self._over = self._raw.startswith('"')
        return self._decoded(found[0])

    def rest(self, whole: str) -> str:
        """What is missing of the whole text."""
        return whole[self._given :]

    @property
    def began(self) -> bool:
        """Whether the text has begun."""
        return self._began

    def _begin(self) -> bool:
        opening = _OPENING.match(self._raw)
        if opening is None:
            self._over = len(self._raw) > _MOST_OPENING
            return False
        self._began = True
        self._raw = self._raw[opening.end() :]
        return True

    def _decoded(self, text: str) -> str:
        try:
            made = msgspec.json.decode(f'"{text}"', type=str)
        except (msgspec.DecodeError, UnicodeError):
            self._over = True
            return ""
        self._given += len(made)
        return made
