"""On which line of a TOML document each key stands; the standard parser does not say."""

import re
import tomllib
from bisect import bisect_left
from collections import Counter

from engine.config.keys import KeyPath

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Long forms first: they open with the same quote. Their closing quotes may touch up to two quotes of the text.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def locate(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every key, table and list item of a valid TOML document.

    A table stands where it is first mentioned. The document must be one that `tomllib` accepts.
    """
    scan = _Scan(text)
    scan.document()
    return scan.lines


class _Scan:
    """One pass over a document; `_at` is the offset of the next character to read."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._arrays: Counter[KeyPath] = Counter()

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> KeyPath:
        line = self._line()
        repeated = self._peek("[[")
        self._at += 2 if repeated else 1
        keys = self._dotted_key()
        self._at += 2 if repeated else 1
        path = self._resolve(keys[:-1], line)
        path = (*path, keys[-1])
        self._note(path, line)
        if repeated:
            self._arrays[path] += 1
        return self._note(self._newest(path), line)

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        keys = self._dotted_key()
        self._at += 1  # the equals sign
        path = table
        for key in keys:
            path = self._note((*path, key), line)
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        count = 0
        while not self._closed_by("]"):
            self._value(self._note((*path, count), self._line()))
            count += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while not self._closed_by("}"):
            self._pair(path)

    def _closed_by(self, bracket: str) -> bool:
        """Step over blanks and a comma, then over the closing bracket if it is next."""
        self._skip(_BLANK)
        if self._peek(","):
            self._at += 1
            self._skip(_BLANK)
        if not self._peek(bracket):
            return False
        self._at += 1
        return True

    def _dotted_key(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            token = self._skip(_BARE_KEY) or self._skip(_STRING)
            keys.append(tomllib.loads(f"key = {token}")["key"] if token[0] in "\"'" else token)
            self._skip(_BLANK)
            if not self._peek("."):
                return keys
            self._at += 1

    def _resolve(self, keys: list[str], line: int) -> KeyPath:
        """The path that leads through the newest item of each [[array]] on the way."""
        path: KeyPath = ()
        for key in keys:
            path = self._newest(self._note((*path, key), line))
        return path

    def _newest(self, path: KeyPath) -> KeyPath:
        return (*path, self._arrays[path] - 1) if path in self._arrays else path

    def _note(self, path: KeyPath, line: int) -> KeyPath:
        self.lines.setdefault(path, line)
        return path

    def _line(self) -> int:
        return bisect_left(self._ends, self._at) + 1

    def _peek(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()
