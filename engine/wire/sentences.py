"""Text that comes piece by piece, cut into sentences as early as can be said where one ends."""

from __future__ import annotations

import re

LONGEST = 400
"""Characters after which a sentence is cut where it can be: a voice that waits for a full stop may wait for long."""

SHORTEST = 12
"""Characters below which a sentence goes together with the next one: "Yes." alone sounds clipped."""

_ENGLISH = (
    "mr",
    "mrs",
    "ms",
    "dr",
    "prof",
    "st",
    "sr",
    "jr",
    "vs",
    "etc",
    "e.g",
    "i.e",
    "fig",
    "no",
    "vol",
    "al",
    "dept",
)
_GERMAN = ("bzw", "z.b", "u.a", "d.h", "ca", "nr")
_ABBREVIATIONS = frozenset({*_ENGLISH, *_GERMAN, "approx", "est", "inc", "ltd", "co", "corp"})
# A full stop, question or exclamation mark with the quotes and brackets that close behind it, and then a blank; or the marks
# of languages that write none; or a line that ends twice.
_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[」』）]*|\n\s*\n")
_SOFT = re.compile(r"[,;:–—]\s|\n")
_WORD_BEFORE = re.compile(r"([\w.]+)\.$")
_LONGEST_WORD = 16
"""Characters before a full stop in which an abbreviation stands, at most."""


class Sentences:
    """Collects pieces and gives out sentences. What is given out, joined, is what came in, but for outer blanks."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that are whole now."""
        text = self._text + piece
        found: list[str] = []
        begin = 0
        while (end := self._end(text, begin)) is not None:
            if (sentence := text[begin:end]).strip():
                found.append(sentence)
            begin = end
        self._text = text[begin:]
        return found

    def finish(self) -> list[str]:
        """What is left, as the last sentence."""
        rest, self._text = self._text, ""
        return [rest] if rest.strip() else []

    def _end(self, whole: str, begin: int) -> int | None:
        # No more is looked at than a sentence may have, and the empty line behind it: the rest of a long text would be looked
        # through again for each of its sentences.
        text = whole[begin : begin + self._longest + 2]
        for match in _END.finditer(text):
            end = match.end()
            if len(text[:end].strip()) >= SHORTEST and not _goes_on(text, match.start(), end):
                return begin + end
        if len(text) < self._longest + 2:
            return None
        soft = [match.end() for match in _SOFT.finditer(text, 0, self._longest)]
        blank = text.rfind(" ", 1, self._longest)
        return begin + (soft[-1] if soft else blank + 1 if blank > 0 else self._longest)


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether the mark at `start` ends an abbreviation, an initial or a number, and not a sentence."""
    if text[start] != "." or text[start:end] != ".":
        return False
    word = _WORD_BEFORE.search(text[max(0, start - _LONGEST_WORD) : start + 1])
    if word is None:
        return False
    before = word[1].lower()
    return before in _ABBREVIATIONS or (len(before) == 1 and before.isalpha() and word[1].isupper())
