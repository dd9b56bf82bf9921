"""Takes the server's text frames apart."""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import msgspec

from engine.api.errors import InvalidFrame
from engine.api.events import EVENTS, Event
from engine.wire.control import FRAMES, Frame
from plugins.chat.terminal.errors import Refused, problem


class Numbered(msgspec.Struct, frozen=True):
    """An event of a stream. `prev` is the number before the first one that the frame covers.

    `event` is None for a type that this client does not know: its number counts all the same.
    """

    stream: str
    n: int
    prev: int
    event: Event | None


Incoming: TypeAlias = Numbered | Frame


class _Head(msgspec.Struct):
    type: str
    stream: str | None = None
    n: int | None = None
    prev: int | None = None


def _names(types: tuple[type[msgspec.Struct], ...]) -> frozenset[Any]:
    return frozenset(kind.__struct_config__.tag for kind in types)


_EVENT_NAMES, _FRAME_NAMES = _names(EVENTS), _names(FRAMES)
_head = msgspec.json.Decoder(_Head).decode
_event: Any = msgspec.json.Decoder(Union[EVENTS]).decode  # noqa: UP007 - a union of a tuple has no other spelling
_frame: Any = msgspec.json.Decoder(Union[FRAMES]).decode  # noqa: UP007


def parse(data: str) -> Incoming | None:
    """A frame, or None where it is of a kind that this client does not know.

    Raises `Refused` for what is no frame of this protocol: then the other end is some other program.
    """
    try:
        head = _head(data)
        if head.type in _FRAME_NAMES:
            return _frame(data)  # type: ignore[no-any-return]
        if head.stream is None or head.n is None:
            return None
        prev = head.n - 1 if head.prev is None else head.prev
        return Numbered(head.stream, head.n, prev, _event(data) if head.type in _EVENT_NAMES else None)
    except msgspec.DecodeError as error:
        message = f"the server does not speak this client's protocol: {error}; is the address right?"
        raise Refused(problem(InvalidFrame.code, message)) from None
