"""Wraps streamed text at the terminal's width: a word that does not fit moves to the next line and is never cut."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import cell_len

TAB = 8
JOINER = "\u200d"
NEVER_FIRST = frozenset("、。，．！？：；）」』】》〉〕｝’”…ー")
"""Wide marks that close what is before them, so that no line begins with one."""


class Wrapping:
    """One line as it is being written; `width` gives the terminal's columns at that time.

    Every piece is printed as it comes. A word that outgrows its line is taken off and printed again on the next one. The
    last column stays empty: a cursor behind it stands where it stood before, and could not be moved by what was printed.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._columns = 0
        self._start = 0
        self._word = ""

    def begin(self) -> None:
        """The cursor stands at the beginning of a line."""
        self._start, self._word = 0, ""

    def fit(self, text: str) -> str:
        """What to print for a further piece of the text."""
        self._resize(max(self._width(), 2))
        return "".join(map(self._place, text))

    @property
    def _column(self) -> int:
        return self._start + cell_len(self._word)

    @property
    def _limit(self) -> int:
        return self._columns - 1

    def _resize(self, columns: int) -> None:
        """Follow a terminal that has another width now, and has broken the line at it."""
        if columns < self._columns:
            row = self._column // columns
            if self._start // columns == row:
                self._start -= row * columns
            else:
                self._start, self._word = self._column % columns, ""
        self._columns = columns

    def _place(self, char: str) -> str:
        if char == "\n":
            self.begin()
            return char
        if char in " \t":
            return self._space(char)
        if self._may_break_before(char):
            self._start, self._word = self._column, ""
        longer = self._word + char
        if self._start + cell_len(longer) <= self._limit:
            self._word = longer
            return char
        if self._start == 0:
            # A word that is as long as a line has nowhere to go.
            self._word = char
            return f"\n{char}" if len(longer) > 1 else char
        return self._moved(longer)

    def _space(self, char: str) -> str:
        column = self._column
        after = column + 1 if char == " " else (column // TAB + 1) * TAB
        if after > self._limit:
            # Spaces at the end of a line are left out; the next word begins a line.
            self._start, self._word = self._limit, ""
            return ""
        self._start, self._word = after, ""
        return char

    def _moved(self, word: str) -> str:
        printed = cell_len(self._word)
        self._start, self._word = 0, word
        return f"\x1b[{printed}D\x1b[K\n{word}" if printed else f"\n{word}"

    def _may_break_before(self, char: str) -> bool:
        before = self._word[-1:]
        if not before or before == JOINER or char in NEVER_FIRST:
            return False
        return cell_len(char) == 2 or (cell_len(before) == 2 and char.isalnum())
