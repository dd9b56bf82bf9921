"""How many tokens a request has, where its vendor does not count them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHARACTERS_A_TOKEN = 4
"""English prose has about four characters a token in the vendors' vocabularies."""

PICTURE = 1500
"""Tokens of a picture or a page, as most vendors count one of a common size."""

_CONTENT = ("data", "url")
_PICTURES = ("image", "audio", "file")


def estimated_tokens(sent: Mapping[str, Any]) -> int:
    """An estimate of the input of a `chat.send`: all words of its messages, instructions and tools, and its attachments."""
    characters, pictures = _size(sent)
    return -(-characters // CHARACTERS_A_TOKEN) + pictures * PICTURE


def _size(value: Any) -> tuple[int, int]:
    if isinstance(value, str):
        return len(value), 0
    if isinstance(value, Mapping):
        attached = value.get("type") in _PICTURES
        inner = [_size(each) for name, each in value.items() if not (attached and name in _CONTENT)]
        return sum(size for size, _ in inner), sum(count for _, count in inner) + attached
    if isinstance(value, Sequence):
        found = [_size(each) for each in value]
        return sum(size for size, _ in found), sum(count for _, count in found)
    return 1, 0
