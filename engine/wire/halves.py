"""Halves of characters in JSON, as of a text that was cut within an emoji."""

from __future__ import annotations

import re
from collections.abc import Iterator

_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_PIECE = re.compile(rb"(?:[^\\]{1,64}+|" + _PAIR + rb"|\\u[0-9a-fA-F]{4}|\\.|\\){1,1024}+", re.DOTALL)
"""At most 64 KiB that end within no escape and no pair: each call of the regular expressions holds the interpreter's lock."""

_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_WHOLE = "\ufffd".encode()


def whole_characters(body: bytes) -> bytes:
    """JSON with U+FFFD for each half of a character, as of a text that was cut within an emoji."""
    # A zero byte makes it no JSON, whatever else stands there; below it stands for a backslash that is itself escaped.
    if (b"\\ud" not in body and b"\\uD" not in body) or b"\0" in body:
        return body
    return b"".join(_mended(body))


def _mended(body: bytes) -> Iterator[bytes]:
    for found in _PIECE.finditer(body):
        piece = found[0]
        if b"\\ud" in piece or b"\\uD" in piece:
            piece = _HALF.sub(_WHOLE, piece.replace(b"\\\\", b"\0")).replace(b"\0", b"\\\\")
        yield piece
