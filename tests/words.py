"""How many words of what was heard are wrong, however they are written."""

from __future__ import annotations

import re

_DIGITS = dict(
    enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
)
_SHORT = {"mr": "mister", "mrs": "missis", "dr": "doctor", "ok": "okay"}


def bare(text: str) -> str:
    """What was said, without capitals and points."""
    return " ".join(re.sub(r"[^\w ]", " ", text).lower().split())


def words_of(text: str) -> list[str]:
    """The words of a text: no capitals, points or hyphens, small numbers and titles spelled out."""
    spelled = re.sub(r"\d+", lambda found: _DIGITS.get(int(found[0]), found[0]), text.lower())
    return [_SHORT.get(word, word) for word in re.sub(r"[^a-z0-9' ]", " ", spelled).split()]


def wrong_words(said: str, heard: str) -> int:
    """Words that must be changed, added or left out to make of what was heard what was said."""
    wanted, found = words_of(said), words_of(heard)
    row = list(range(len(found) + 1))
    for line, word in enumerate(wanted, 1):
        corner, row[0] = row[0], line
        for at, other in enumerate(found, 1):
            corner, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, corner + (word != other))
    return row[-1]
