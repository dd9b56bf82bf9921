"""Tool calls that come in pieces, put together."""

from __future__ import annotations

import secrets

import msgspec

from engine.api import ToolCall
from plugins.vendors.chat_chunks import CallPiece
from plugins.vendors.decoding import Batch
from plugins.vendors.failures import Vendor

MOST_CALLS = 1_024
"""Calls of one choice; a vendor that sends more has lost its way."""


class OpenCall:
    """A call whose arguments are still coming."""

    __slots__ = ("_arguments", "_json", "_scanned", "id", "name", "vendor_id")

    def __init__(self) -> None:
        self.id = ""
        """The id by which clients answer the call: the vendor's, or one of ours where its first piece had none."""
        self.vendor_id = ""
        self.name = ""
        self._arguments: list[str] = []
        self._json = JsonEnd()
        self._scanned = 0

    @property
    def arguments(self) -> str:
        return "".join(self._arguments)

    @property
    def empty(self) -> bool:
        """True while no arguments have come."""
        return not self._arguments

    def whole(self) -> bool:
        """Whether the arguments so far are a whole object. Reads each piece once, however often it is asked."""
        for piece in self._arguments[self._scanned :]:
            self._json.feed(piece)
        self._scanned = len(self._arguments)
        return self._json.reached

    def named(self, name: str) -> None:
        """Take the name of a piece: the whole name again, or what the name goes on with."""
        if not self.name:
            self.name = name
        elif name != self.name and self.empty:
            self.name += name

    def add(self, arguments: str) -> None:
        self._arguments.append(arguments)


class JsonEnd:
    """Finds the end of a JSON object in a text that comes in pieces, character by character."""

    __slots__ = ("_depth", "_escaped", "_quoted", "reached")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self.reached = False
        """True once an object has been closed and nothing but blanks has followed."""

    def feed(self, text: str) -> None:
        for character in text:
            if self._quoted:
                self._in_text(character)
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
                self.reached = False
            elif character in "}]":
                self._depth -= 1
                self.reached = self._depth == 0

    def _in_text(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._quoted = False


class ToolPieces:
    """The calls of one choice. A piece belongs to the open call of its index; without an index, of its id, or to the last call.

    A piece begins another call where it has a name and the call that it would belong to cannot go on: the arguments of that
    one are whole, or it has none yet and another id. An id alone begins none: some servers make one for each piece.
    """

    __slots__ = ("_calls", "_choice", "_current", "_vendor", "given")

    def __init__(self, vendor: Vendor, choice: int) -> None:
        self._vendor = vendor
        self._choice = choice
        self._calls: list[OpenCall] = []
        self._current: dict[int | None, OpenCall] = {}
        self.given = 0

    def take(self, piece: CallPiece, out: Batch) -> None:
        """Add a piece; what it has of arguments goes out at once."""
        name, arguments = _function(piece)
        index = piece.number
        call = self._call(index, piece.id, name)
        if call is None or _begins_another(call, piece, name, arguments):
            call = self._begin()
        self._current[index] = self._current[None] = call
        if piece.id:
            call.vendor_id = piece.id
        if name:
            call.named(name)
        if arguments:
            call.add(arguments)
        self._show(call, arguments, out)

    def close(self, out: Batch) -> None:
        """Give out every call, whole and in the order of their beginnings. Raises where one has no name."""
        calls, self._calls = self._calls, []
        self._current.clear()
        for call in calls:
            if not call.name:
                raise self._vendor.broke_protocol("it calls a tool without a name")
            self.given += 1
            out.add(
                ToolCall(
                    call_id=self._identity(call),
                    name=call.name,
                    arguments=call.arguments or "{}",
                    choice=self._choice,
                )
            )

    def _call(self, index: int | None, id: str | None, name: str) -> OpenCall | None:
        if index is None and id:
            known = next((call for call in reversed(self._calls[-_NEAR:]) if call.vendor_id == id), None)
            if known is not None:
                return known
        call = self._current.get(index)
        # Arguments alone under an index of their own go on with what came last.
        return self._current.get(None) if call is None and not (id or name) else call

    def _begin(self) -> OpenCall:
        if len(self._calls) >= MOST_CALLS:
            raise self._vendor.broke_protocol(f"it calls more than {MOST_CALLS} tools at once")
        call = OpenCall()
        self._calls.append(call)
        return call

    def _show(self, call: OpenCall, arguments: str, out: Batch) -> None:
        if not call.name:
            return
        if not call.id:
            self._identity(call)
            arguments = call.arguments  # with those that came before the name
        if arguments:
            out.arguments(call.id, call.name, arguments, self._choice)

    def _identity(self, call: OpenCall) -> str:
        call.id = call.id or call.vendor_id or f"call_{secrets.token_hex(12)}"
        return call.id


_NEAR = 32
"""How many calls back the id of a piece without an index is looked for."""


def _function(piece: CallPiece) -> tuple[str, str]:
    """Name and arguments of a piece, which some servers send as an object."""
    function = piece.function
    if function is None:
        return "", ""
    arguments = function.arguments
    if isinstance(arguments, str):
        return function.name or "", arguments
    return function.name or "", "" if arguments is None else msgspec.json.encode(arguments).decode()


def _begins_another(call: OpenCall, piece: CallPiece, name: str, arguments: str) -> bool:
    if not name or not call.name:
        return False
    other = bool(piece.id and call.vendor_id and piece.id != call.vendor_id)
    if piece.number is None and (other or not piece.id):
        return other or (name != call.name if call.empty else bool(arguments) and call.whole())
    if call.empty:
        return other
    return (other or bool(arguments)) and call.whole()
