"""Calls of functions in a stream of Responses: begun, written in pieces, and ended, by servers that leave out any of these."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from engine.api import ToolCall
from plugins.chat.providers.responses_events import FunctionCall
from plugins.vendors.decoding import Batch
from plugins.vendors.failures import Vendor

MOST_CALLS = 1_024
"""Calls that are written at once; a vendor that begins more has lost its way."""


class Writing:
    """A call whose arguments still come."""

    __slots__ = ("call_id", "item_id", "name", "pieces")

    def __init__(self, begun: FunctionCall) -> None:
        # A server that names no id gets one: answers to calls are matched by it.
        self.call_id = begun.call_id or begun.id or f"call_{secrets.token_hex(12)}"
        self.item_id = begun.id
        self.name = begun.name
        self.pieces: list[str] = []


class Calls:
    """The calls of one answer, found by their place in it, or by the ids of their items: proxies give each event an id anew."""

    __slots__ = ("_ids", "_out", "_vendor", "_writing", "given")

    def __init__(self, vendor: Vendor, out: Batch) -> None:
        self._vendor = vendor
        self._out = out
        self._writing: dict[int | str, Writing] = {}
        self._ids: set[str] = set()
        self.given = 0

    def begin(self, place: int | None, begun: FunctionCall) -> None:
        """A call begins."""
        if len(self._writing) >= MOST_CALLS:
            raise self._vendor.broke_protocol(f"it calls more than {MOST_CALLS} tools at once")
        writing = self._writing[begun.id if place is None else place] = Writing(begun)
        self._show(writing, _text(begun.arguments))

    def grow(self, place: int | None, item_id: str, piece: str) -> None:
        """A piece of a call's arguments; of a call that has not begun nothing is shown, it comes whole at its end."""
        writing = self._found(place, item_id)
        if writing is not None and piece:
            self._show(writing, piece)

    def written(self, place: int | None, item_id: str, arguments: Any) -> None:
        """The arguments are whole; they are taken where none came before."""
        writing = self._found(place, item_id)
        if writing is not None and not writing.pieces:
            self._show(writing, _text(arguments))

    def end(self, place: int | None, call: FunctionCall) -> None:
        """A call is whole. What its end leaves out was said at its beginning; one that was given out is no other."""
        writing = self._found(place, call.id) or self._by_call_id(call.call_id)
        if writing is not None:
            self._writing = {key: each for key, each in self._writing.items() if each is not writing}
        elif call.call_id and call.call_id in self._ids:
            return
        if call.status != "incomplete":
            self._give(writing or Writing(call), call.name, _text(call.arguments))

    def close(self) -> None:
        """The answer is whole, and so are the calls whose end was not said."""
        left, self._writing = self._writing, {}
        for writing in left.values():
            self._give(writing, "", "")

    def _found(self, place: int | None, item_id: str) -> Writing | None:
        if place is not None and (known := self._writing.get(place)) is not None:
            return known
        if item_id:
            return next((each for each in self._writing.values() if each.item_id == item_id), None)
        only = list(self._writing.values()) if place is None else []
        return only[0] if len(only) == 1 else None

    def _by_call_id(self, call_id: str) -> Writing | None:
        return next((each for each in self._writing.values() if each.call_id == call_id), None)

    def _show(self, writing: Writing, piece: str) -> None:
        if piece:
            writing.pieces.append(piece)
            if writing.name:
                self._out.arguments(writing.call_id, writing.name, piece)

    def _give(self, writing: Writing, name: str, arguments: str) -> None:
        name = writing.name or name
        if not name:
            raise self._vendor.broke_protocol("it calls a tool without a name")
        if writing.call_id in self._ids:
            writing.call_id = f"call_{secrets.token_hex(12)}"
        self._ids.add(writing.call_id)
        self.given += 1
        whole = arguments or "".join(writing.pieces) or "{}"
        self._out.add(ToolCall(call_id=writing.call_id, name=name, arguments=whole))


def _text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else msgspec.json.encode(arguments).decode()
