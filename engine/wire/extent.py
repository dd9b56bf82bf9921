"""How much a JSON text would become, counted before anything is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from engine.api.errors import InvalidRequest

MOST_VALUES = 400_000
"""Values of one body: members of objects and items of lists, at all levels."""

MOST_EVENT_VALUES = 50_000
"""Values of one event of a vendor's answer, where it is long enough to be counted."""

MOST_CONTAINERS = 120_000
"""Objects and lists of one body: 50,000 messages, 10,000 parts, and what they hold."""

DEEPEST = 64
"""Levels to which a body nests."""

LONGEST_NUMBER = 40
"""Digits of a whole number; with thousands of them it takes a while to read, and again to write."""

_PIECE = 64 << 10
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = [0] * 256
for _open in b"[{":
    _STEPS[_open] = 1
for _close in b"]}":
    _STEPS[_close] = -1
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_RUN = b"0" * (LONGEST_NUMBER + 1)
_TOKEN_OR_NUMBER = re.compile(
    rb'"(?P<text>(?:[^"\\]++|\\.)*+)"|[\[\]{}:]|(?P<number>(?<![\d.])\d{%d})' % (LONGEST_NUMBER + 1), re.DOTALL
)
_TOKEN = re.compile(rb'"(?P<text>(?:[^"\\]|\\.)*)"|[\[\]{}:,]', re.DOTALL)


def check_extent(body: bytes, what: str = "body") -> None:
    """Pass, or raise `InvalidRequest` for JSON that would become more than is taken.

    It names the bound, and the member of the outermost object in which it was passed. The cost is that of copying the
    text a few times, piece by piece; what is no JSON is left to its parser.
    """
    # In pieces that overlap: one call over a large body would keep the interpreter's lock from the event loop.
    pieces = [body[at : at + _PIECE + LONGEST_NUMBER] for at in range(0, len(body), _PIECE)]
    if any(_LONG_RUN in piece.translate(_DIGITS) for piece in pieces):
        _check_numbers(body, what)
    opens = sum(piece.count(b"{") + piece.count(b"[") for piece in pieces)
    if opens <= DEEPEST and len(body) <= MOST_VALUES:
        return
    Extent(body, what).check()


def _check_numbers(body: bytes, what: str) -> None:
    """Raise `InvalidRequest` for a whole number of too many digits; a text and a fraction may have any number of them."""
    depth = 0
    name: bytes | None = None
    last = b""
    for token in _TOKEN_OR_NUMBER.finditer(body):
        if token["number"] is not None:
            field = name.decode(errors="replace")[:80] if name is not None else None
            raise InvalidRequest(
                f"{field or f'the {what}'} has a number of more than {LONGEST_NUMBER} digits; send it as a text",
                field=field,
                limit=LONGEST_NUMBER,
            )
        mark = token[0][:1]
        if mark == b":" and depth == 1:
            name = last
        last = token["text"] or b""
        depth += _STEPS[mark[0]]


class Extent:
    """Counts of one text, as far as it was read."""

    def __init__(self, body: bytes, what: str = "body", *, most_values: int = MOST_VALUES) -> None:
        self._body = body
        self._most_values = most_values
        self._what = what
        self._values = self._containers = self._depth = 0
        self._in_text = False
        self._shallow: _Place | None = None

    def check(self) -> None:
        """Read piece by piece until the end or a bound."""
        for piece in self._pieces():
            here = _Place(piece, self._in_text, self._depth, self._values, self._containers, self._most_values)
            structure = self._outside(piece).translate(None, _NOT_STRUCTURE)
            brackets = structure.translate(None, _NOT_BRACKETS)
            opened = brackets.count(b"{") + brackets.count(b"[")
            self._containers += opened
            self._values += opened + structure.count(b",")
            depths = list(accumulate(map(_STEPS.__getitem__, brackets), initial=self._depth))
            self._depth = depths[-1]
            self._judge(max(depths), here)
            if min(depths) <= 1:
                self._shallow = here

    def _pieces(self) -> Iterator[bytes]:
        """The text in pieces, none of which ends within an escape."""
        begin = 0
        while begin < len(self._body):
            piece = self._body[begin : begin + _PIECE]
            escaping = len(piece) - len(piece.rstrip(b"\\"))
            if escaping % 2:
                piece = self._body[begin : begin + _PIECE + 1]
            yield piece
            begin += len(piece)

    def _outside(self, piece: bytes) -> bytes:
        """What stands outside of texts."""
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = parts[1::2] if self._in_text else parts[::2]
        self._in_text ^= not len(parts) % 2
        return b"".join(outside)

    def _judge(self, deepest: int, here: _Place) -> None:
        for count, most, words in (
            (deepest, DEEPEST, "nests more than {most} levels deep"),
            (self._containers, MOST_CONTAINERS, "has more than {most} objects and lists"),
            (self._values, self._most_values, "has more than {most} values"),
        ):
            if count > most:
                field = here.member() or (self._shallow.member() if self._shallow else None)
                name = field or f"the {self._what}"
                raise InvalidRequest(f"{name} {words.format(most=most)}", field=field, limit=most)


class _Place(NamedTuple):
    """A piece of the text, and what was counted before it."""

    piece: bytes
    in_text: bool
    depth: int
    values: int
    containers: int
    most_values: int = MOST_VALUES

    def member(self) -> str | None:
        """The member of the outermost object that is read where a bound is passed, or at the end; None if it begins earlier."""
        text = b'"' + self.piece if self.in_text else self.piece
        depth, values, containers = self.depth, self.values, self.containers
        name = last = None
        for token in _TOKEN.finditer(text):
            mark = token[0][:1]
            if mark == b":" and depth == 1:
                name = last
            last = token["text"]
            step = _STEPS[mark[0]]
            depth += step
            containers += step == 1
            values += step == 1 or mark == b","
            if depth > DEEPEST or containers > MOST_CONTAINERS or values > self.most_values:
                break
        return name.decode(errors="replace")[:80] if name is not None else None
