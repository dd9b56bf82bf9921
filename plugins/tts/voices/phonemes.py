"""English text as the phonemes that Kokoro's family of models reads, in blocks that are soon computed.

A sentence is read as a whole, so that numbers, dates and stress are right, and only its phonemes are cut: a block in front
that is short, so that something is heard early, and none that is longer than some seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hibari import Hibari
from hibari.g2p import G2P

FIRST = 70
"""Phonemes of the first block of a sentence, at most: about four seconds."""

LONGEST = 120
"""Phonemes of a block, at most: about seven seconds."""

SHORTEST = 24
"""Phonemes below which a block is not ended at a comma: alone it would sound clipped."""

LEAD = 0.05
AFTER_COMMA = 0.15
AFTER_WORD = 0.02
"""Seconds of silence before a block, and behind one that is cut at a comma, or between two words."""

_CLAUSE = re.compile(r"[,;:—…]\s+")
_JOINT = re.compile(r"\s(?=(?:ˈ|ˌ)?(?:ænd|ɔɹ|bˌʌt|bʌt|ðæt|wˌɪʧ|wɪʧ|bəkˈʌz|bəkəz|wɪð|wˌɪð|fɔɹ|fəɹ)\s)")
"""Before a word that joins: and, or, but, that, which, because, with, for."""


@dataclass(frozen=True, slots=True)
class Block:
    """Phonemes that are spoken in one go. `tail` is the silence behind them, None as the voice makes it."""

    phonemes: str
    tail: float | None


class English:
    """Reads English, as it is spoken in America or in Britain."""

    def __init__(self, *, british: bool = False) -> None:
        self._read = G2P(british=british)

    def blocks(self, text: str) -> Iterator[Block]:
        """What a text sounds like; nothing where it has nothing that is known."""
        for sentence in Hibari.split_sentences(text):
            phonemes = self._read(sentence) or ""
            if phonemes.strip():
                yield from cut(phonemes.strip())


def cut(phonemes: str) -> Iterator[Block]:
    """One sentence in blocks, early at a comma, else before a word that joins, else between two words."""
    begin, most = 0, FIRST
    while len(phonemes) - begin > most:
        window = phonemes[begin : begin + most + 1]
        end, tail = _cut_at(window)
        yield Block(window[:end].strip(), tail)
        begin, most = begin + end, LONGEST
    yield Block(phonemes[begin:].strip(), None)


def _cut_at(window: str) -> tuple[int, float]:
    for pattern, tail in ((_CLAUSE, AFTER_COMMA), (_JOINT, AFTER_WORD)):
        ends = [found.end() for found in pattern.finditer(window) if found.end() > SHORTEST]
        if ends:
            return ends[-1], tail
    blank = window.rfind(" ", 1)
    return (blank + 1 if blank > 0 else len(window) - 1), AFTER_WORD
