"""From what a model writes to what a voice is given, and back: which words of the text a piece of sound stands for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.wire.sentences import Sentences
from engine.wire.spoken import Spoken


@dataclass(slots=True)
class _Sentence:
    written: str
    letters: int
    """Of what is spoken, without blanks."""
    told: int = 0
    """Letters whose sound has begun."""
    given: int = 0
    """Characters of `written` that were given for them."""


class Written:
    """Cuts the text of one answer into spoken sentences, and finds the way back from them."""

    def __init__(self) -> None:
        self._sentences = Sentences()
        self._spoken = Spoken()
        self._unspoken: list[str] = []
        self._waiting: deque[_Sentence] = deque()

    def feed(self, text: str) -> list[str]:
        """The sentences to speak now."""
        return self._cleaned(self._sentences.feed(text))

    def finish(self) -> list[str]:
        """The last ones."""
        return self._cleaned(self._sentences.finish())

    def _cleaned(self, sentences: list[str]) -> list[str]:
        found: list[str] = []
        for sentence in sentences:
            words = self._spoken.clean(sentence)
            self._unspoken.append(sentence)
            if words:
                self._waiting.append(_Sentence("".join(self._unspoken), _letters(words)))
                self._unspoken.clear()
                found.append(words)
        return found

    def of(self, spoken: str) -> str:
        """What was written for the next words that are spoken."""
        letters, found = _letters(spoken), ""
        while letters and self._waiting:
            sentence = self._waiting[0]
            taken = min(letters, sentence.letters - sentence.told)
            letters -= taken
            sentence.told += taken
            end = _end_of_word(sentence.written, len(sentence.written) * sentence.told // sentence.letters)
            found += sentence.written[sentence.given : end]
            sentence.given = max(sentence.given, end)
            if sentence.told == sentence.letters:
                self._waiting.popleft()
        return found


def _letters(text: str) -> int:
    return sum(not letter.isspace() for letter in text)


def _end_of_word(text: str, at: int) -> int:
    while at < len(text) and not text[at].isspace():
        at += 1
    return at
