"""Characters that a vendor cut in two: the halves of a surrogate pair in two pieces of a text are joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import structs

from engine.api import ChatDelta, Finish, ReasoningDelta, TextDelta, ToolCall, ToolDelta

_LONE = re.compile("[\ud800-\udfff]")
_FIRST_HALF = re.compile("[\ud800-\udbff]$")


class Halves:
    """Mends the deltas of an answer whose JSON has halves of characters. A half whose other half never comes is U+FFFD."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[type, int, str], str] = {}

    def mend(self, deltas: Iterable[ChatDelta]) -> list[ChatDelta]:
        """The deltas with whole characters; a first half at the end of a text waits for the next piece of it."""
        return [mended for delta in deltas for mended in self._mended(delta)]

    def _mended(self, delta: ChatDelta) -> Iterator[ChatDelta]:
        match delta:
            case TextDelta():
                if text := self._joined((TextDelta, delta.choice, ""), delta.text):
                    yield TextDelta(text, delta.choice, _whole(delta.logprobs))
            case ReasoningDelta():
                if text := self._joined((ReasoningDelta, 0, ""), delta.text):
                    yield ReasoningDelta(text)
            case ToolDelta():
                if text := self._joined((ToolDelta, delta.choice, delta.call_id), delta.arguments):
                    yield structs.replace(delta, call_id=whole(delta.call_id), name=whole(delta.name), arguments=text)
            case ToolCall():
                self._waiting.pop((ToolDelta, delta.choice, delta.call_id), None)
                yield structs.replace(delta, **{name: _whole(getattr(delta, name)) for name in delta.__struct_fields__})
            case Finish():
                if self._waiting.pop((TextDelta, delta.choice, ""), None):
                    yield TextDelta("\ufffd", delta.choice)
                yield delta
            case _:
                yield structs.replace(delta, **{name: _whole(getattr(delta, name)) for name in delta.__struct_fields__})

    def _joined(self, place: tuple[type, int, str], text: str) -> str:
        text = self._waiting.pop(place, "") + text
        if not text.isascii() and (half := _FIRST_HALF.search(text)):
            self._waiting[place] = half.group()
            text = text[: half.start()]
        return whole(text)


def whole(text: str) -> str:
    """The text with its pairs joined, and U+FFFD where half of a character stands alone."""
    if text.isascii() or not _LONE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _whole(value: Any) -> Any:
    """The value with whole characters in all of its texts."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {whole(name): _whole(each) for name, each in value.items()}
    return list(map(_whole, value)) if isinstance(value, list) else value
