"""Halves of characters in JSON, as of a text that was cut within an emoji."""

from __future__ import annotations

import re

# Every escape of JSON, so that a backslash that is itself escaped begins none; the group is half of a character.
_SURROGATES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def whole_characters(body: bytes) -> bytes:
    """JSON with U+FFFD for each half of a character, as of a text that was cut within an emoji."""
    return _SURROGATES.sub(lambda found: b"\\ufffd" if found[1] else found[0], body)
