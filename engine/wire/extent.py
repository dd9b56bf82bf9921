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

MOST_MEMBERS = 20_000
"""Members of one object. Where their names are unknown, each is a mistake of its own: a microsecond and a kilobyte."""

LONGEST_NUMBER = 40
"""Characters of a number: sign, digits, point and exponent. One call reads a number, however long it is."""

_PIECE = 64 << 10
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = [0] * 256
for _open in b"[{":
    _STEPS[_open] = 1
for _close in b"]}":
    _STEPS[_close] = -1
_OF_NUMBER = b"0123456789.eE+-"
_NUMBERS = bytes.maketrans(_OF_NUMBER, b"0" * len(_OF_NUMBER))
_TOO_LONG = b"0" * (LONGEST_NUMBER + 1)
_REST_OF_NUMBER = re.compile(rb"[0-9.eE+-]{0,%d}" % (LONGEST_NUMBER + 1))
_SMALL = re.compile(rb"\{,{0,50}\}|\[,*\]")
_MEMBERS = re.compile(rb"(,*)([\[\]{}]|$)")
_TOKEN = re.compile(
    rb'"(?P<text>(?:[^"\\]|\\.)*)"|[\[\]{}:,]|(?P<number>[0-9.eE+-]{%d})' % (LONGEST_NUMBER + 1), re.DOTALL
)


def check_extent(body: bytes, what: str = "body") -> None:
    """Pass, or raise `InvalidRequest` for JSON that would become more than is taken.

    It names the bound, and the member of the outermost object in which it was passed. The cost is that of copying the
    text a few times, piece by piece; what is no JSON is left to its parser.
    """
    # In pieces that overlap: one call over a large body would keep the interpreter's lock from the event loop.
    pieces = [body[at : at + _PIECE + LONGEST_NUMBER] for at in range(0, len(body), _PIECE)]
    opens = sum(piece.count(b"{") + piece.count(b"[") for piece in pieces)
    # A run may stand in a text, and a comma too: these only tell whether a closer look is worth its time.
    if (
        opens <= DEEPEST
        and sum(piece.count(b",") for piece in pieces) < MOST_MEMBERS
        and not any(_TOO_LONG in piece.translate(_NUMBERS) for piece in pieces)
    ):
        return
    Extent(body, what).check()


class Extent:
    """Counts of one text, as far as it was read."""

    def __init__(self, body: bytes, what: str = "body", *, most_values: int = MOST_VALUES) -> None:
        self._body = body
        self._most_values = most_values
        self._what = what
        self._values = self._containers = self._depth = 0
        self._in_text = False
        self._open: list[int] = []
        """Of each open object how many commas it has had, and -1 for each open list."""
        self._shallow: _Place | None = None
        self._latest: _Place | None = None

    def check(self) -> None:
        """Read piece by piece until the end or a bound."""
        for piece in self._pieces():
            here = _Place(
                piece, self._in_text, self._depth, self._values, self._containers, tuple(self._open), self._most_values
            )
            outside = self._outside(piece)
            structure = outside.translate(None, _NOT_STRUCTURE)
            brackets = structure.translate(None, _NOT_BRACKETS)
            opened = brackets.count(b"{") + brackets.count(b"[")
            self._containers += opened
            self._values += opened + structure.count(b",")
            depths = list(accumulate(map(_STEPS.__getitem__, brackets), initial=self._depth))
            self._depth = depths[-1]
            long_number = _TOO_LONG in outside.translate(_NUMBERS)
            self._judge(max(depths), self._most_members(structure), long_number, here)
            if min(depths) <= 1:
                self._shallow = here
            self._latest = here

    def _pieces(self) -> Iterator[bytes]:
        """The text in pieces, none of which ends within an escape, or within a number that is taken."""
        begin = 0
        while begin < len(self._body):
            rest = _REST_OF_NUMBER.match(self._body, begin + _PIECE)
            end = begin + _PIECE if rest is None else rest.end()
            piece = self._body[begin:end]
            escaping = len(piece) - len(piece.rstrip(b"\\"))
            if escaping % 2:
                piece = self._body[begin : end + 1]
            yield piece
            begin += len(piece)

    def _outside(self, piece: bytes) -> bytes:
        """What stands outside of texts."""
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = parts[1::2] if self._in_text else parts[::2]
        self._in_text ^= not len(parts) % 2
        return b'"'.join(outside)

    def _most_members(self, structure: bytes) -> int:
        """Members that one object has by now, at most, among those that are open or end within this piece."""
        most = 0
        # What opens and ends at once is small, and most of a large body is of that kind.
        for commas, mark in _MEMBERS.findall(_SMALL.sub(b"", _SMALL.sub(b"", structure))):
            if commas and self._open and self._open[-1] >= 0:
                self._open[-1] += len(commas)
                most = max(most, self._open[-1] + 1)
            if mark in (b"{", b"["):
                self._open.append(0 if mark == b"{" else -1)
            elif mark and self._open:
                self._open.pop()
        return most

    def _judge(self, deepest: int, members: int, long_number: bool, here: _Place) -> None:
        for passed, most, words in (
            (long_number, LONGEST_NUMBER, "has a number of more than {most} characters; send it as a text"),
            (deepest > DEEPEST, DEEPEST, "nests more than {most} levels deep"),
            (self._containers > MOST_CONTAINERS, MOST_CONTAINERS, "has more than {most} objects and lists"),
            (self._values > self._most_values, self._most_values, "has more than {most} values"),
            (members > MOST_MEMBERS, MOST_MEMBERS, "has an object of more than {most} members"),
        ):
            if passed:
                field = self._member(here)
                raise InvalidRequest(
                    f"{field or f'the {self._what}'} {words.format(most=most)}", field=field, limit=most
                )

    def _member(self, here: _Place) -> str | None:
        """The member of the outermost object in which a bound is passed; None where that object has too many itself."""
        if self._latest is None or self._latest is not self._shallow:
            name = here.member()
            if name is None and self._shallow is not None:
                name = self._shallow.member()
        else:  # a name may stand across the cut
            name = self._latest._replace(piece=self._latest.piece + here.piece).member()
        return name or None


class _Place(NamedTuple):
    """A piece of the text, and what was counted before it."""

    piece: bytes
    in_text: bool
    depth: int
    values: int
    containers: int
    open: tuple[int, ...]
    most_values: int = MOST_VALUES

    def member(self) -> str | None:
        """The member of the outermost object that is read where a bound is passed, or at the end.

        None if it begins earlier, and nothing where it is the outermost object that has too many.
        """
        text = b'"' + self.piece if self.in_text else self.piece
        depth, values, containers = self.depth, self.values, self.containers
        open_ = list(self.open)
        name = last = None
        for token in _TOKEN.finditer(text):
            if token["number"] is not None:
                break
            mark = token[0][:1]
            if mark == b":" and depth == 1:
                name = last
            last = token["text"]
            step = _STEPS[mark[0]]
            depth += step
            containers += step == 1
            values += step == 1 or mark == b","
            if step == 1:
                open_.append(0 if mark == b"{" else -1)
            elif step == -1 and open_:
                open_.pop()
            elif mark == b"," and open_ and open_[-1] >= 0:
                open_[-1] += 1
                if open_[-1] >= MOST_MEMBERS:
                    return "" if depth == 1 else _told(name)
            if depth > DEEPEST or containers > MOST_CONTAINERS or values > self.most_values:
                break
        return _told(name)


def _told(name: bytes | None) -> str | None:
    return name.decode(errors="replace")[:80] if name is not None else None
