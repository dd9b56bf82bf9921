"""Tool calls that come in pieces, put together."""

from __future__ import annotations

import secrets

from engine.api import ToolCall
from plugins.vendors.chat_chunks import CallPiece


class OpenCall:
    """A call whose arguments are still coming."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def take(self, piece: CallPiece) -> None:
        self.id = self.id or piece.id or ""
        if piece.function is not None:
            # Some vendors repeat the name with every piece.
            self.name = self.name or piece.function.name or ""
            self.arguments.append(piece.function.arguments or "")

    def starts_another(self, piece: CallPiece) -> bool:
        """Whether the piece is of another call: by its index or, where all carry the same, by its id."""
        if piece.index != self.index and piece.index is not None:
            return True
        return bool(piece.id and self.id and piece.id != self.id)


class ToolPieces:
    """The calls of one choice, given out whole and in order: each when the next one starts or the choice ends."""

    __slots__ = ("_choice", "_open", "given")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._open: OpenCall | None = None
        self.given = 0

    def take(self, piece: CallPiece) -> ToolCall | None:
        """Add a piece; the call before it, if the piece starts another."""
        whole = self.close() if self._open is not None and self._open.starts_another(piece) else None
        if self._open is None:
            self._open = OpenCall(piece.index)
        self._open.take(piece)
        return whole

    def close(self) -> ToolCall | None:
        """The call that was still open, if there is one."""
        call, self._open = self._open, None
        if call is None:
            return None
        self.given += 1
        return ToolCall(
            # A server that names no id gets one: answers to calls are matched by it.
            call_id=call.id or f"call_{secrets.token_hex(12)}",
            name=call.name,
            arguments="".join(call.arguments) or "{}",
            choice=self._choice,
        )
