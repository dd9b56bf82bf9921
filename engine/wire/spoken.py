"""Text as it is written, in Markdown and with pictures, as text that can be spoken."""

from __future__ import annotations

import re

_LETTER = re.compile(r"[^\W_]")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
# A label holds no bracket, and an address no parentheses but in pairs: else what only begins like one is looked through to
# its end from each of its brackets, which holds up the event loop for minutes.
_TARGET = r"\([^()]*(?:\([^()]*\)[^()]*)*\)"
_IMAGE = re.compile(rf"!\[([^\[\]]*)\]{_TARGET}")
_LINK = re.compile(rf"\[([^\[\]]+)\]{_TARGET}")
_ADDRESS = re.compile(r"<?https?://\S+>?")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_QUOTE = re.compile(r"^\s*(?:>\s?)+")
_EMPHASIS = re.compile(r"(\*{1,3}|_{2,3}|~~|`+)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BLANKS = re.compile(r"[ \t]+")
# Pictures, their joiners and variants: the blocks of Unicode's emoji.
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]+"
)


class Spoken:
    """Takes text sentence by sentence. Blocks of code are left out, also where they span several."""

    def __init__(self) -> None:
        self._in_code = False

    def clean(self, text: str) -> str:
        """What of it is to be spoken; empty where there is nothing."""
        lines = [spoken for line in text.split("\n") if (spoken := self._line(line))]
        return "\n".join(lines)

    def speaks(self, text: str) -> bool:
        """Whether anything of it is to be spoken; no more is read than up to the first line that is."""
        return any(map(self._line, text.split("\n")))

    def _line(self, line: str) -> str:
        if _FENCE.match(line):
            self._in_code = not self._in_code
            return ""
        if self._in_code or not _LETTER.search(line):
            return ""
        for pattern in (_HEADING, _QUOTE, _BULLET):
            line = pattern.sub("", line)
        line = _LINK.sub(r"\1", _IMAGE.sub(r"\1", line))
        line = _EMPHASIS.sub("", _TAG.sub("", _ADDRESS.sub("", line)))
        line = _EMOJI.sub("", line.replace("|", " "))
        line = _BLANKS.sub(" ", line).strip()
        return line if _LETTER.search(line) else ""
