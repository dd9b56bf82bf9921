"""Long texts that look at each place as if something began there, and are to take no longer than any other."""

from __future__ import annotations

from collections.abc import Mapping

LONG = 100_000
WITHIN = 2.0
"""Seconds of the processor that one of them may take on a slow machine; what looks back from each place takes minutes."""

TEXTS: Mapping[str, str] = {
    "a rule that is none": "-" * LONG + "x",
    "blanks": " " * LONG + "x",
    "tabs": "\t" * LONG + "x",
    "empty lines": "\n" * LONG + "x",
    "brackets": "[" * LONG,
    "images": "![" * (LONG // 2),
    "addresses": "[x](" * (LONG // 4),
    "addresses in pairs": "[x](()" * (LONG // 6),
    "tags": "<a" * (LONG // 2),
    "quotes": "> " * (LONG // 2),
    "marks": "!" * LONG,
    "full stops": "." * LONG,
    "initials": "A. " * (LONG // 3),
    "abbreviations": "e.g. " * (LONG // 5),
    "a word": "a" * LONG,
    "long words": ("a." * 150 + " B. " * 20) * (LONG // 380),
    "words": "word " * (LONG // 5),
}
