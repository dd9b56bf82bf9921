"""What a person types into a search box, as what the databases look for. Any text is a valid query."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MOST_TERMS = 16
"""Words of a query that count; what comes after them is left out."""

_PUNCTUATION = ".,;:!?…\"'`()[]{}<>«»“”‘’„*"

# Scripts written without spaces between words: a word index knows whole runs of them only.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

# https://mariadb.com/kb/en/full-text-index-stopwords/ (InnoDB), and its innodb_ft_min_token_size and _max_token_size.
# fmt: off
_MYSQL_STOPWORDS = frozenset(
    {
        "a", "about", "an", "are", "as", "at", "be", "by", "com", "de", "en", "for", "from", "how",
        "i", "in", "is", "it", "la", "of", "on", "or", "that", "the", "this", "to", "was", "what",
        "when", "where", "who", "will", "with", "und", "www",
    }
)
# fmt: on
_MYSQL_LENGTHS = range(3, 85)


@dataclass(frozen=True, slots=True)
class Terms:
    """All of them must be found: `words` at the beginning of a word, `pieces` anywhere. Neither holds an operator."""

    words: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.words or self.pieces)


def terms(query: str, dialect: str) -> Terms:
    """The terms of a query: what the dialect's index holds is left to it, the rest is looked for in the text itself."""
    words: list[str] = []
    pieces: list[str] = []
    for given in unicodedata.normalize("NFC", query.replace("\0", " ")).split()[:MOST_TERMS]:
        term = given.strip(_PUNCTUATION) or given
        (words if _indexed(term, dialect) else pieces).append(term)
    return Terms(tuple(words), tuple(pieces))


def fts5_query(words: tuple[str, ...]) -> str:
    """Words as an FTS5 expression: https://www.sqlite.org/fts5.html, section 3."""
    return " ".join(f'"{word}"*' for word in words)


def mysql_query(words: tuple[str, ...]) -> str:
    """Words as a search in boolean mode: https://mariadb.com/kb/en/full-text-index-overview/."""
    return " ".join(f"+{word}*" for word in words)


def snippet(text: str, found: Terms, *, around: int = 80) -> str:
    """The text about the first place where a term stands, on one line."""
    places = [
        match.start()
        for term in (*found.words, *found.pieces)
        if (match := re.search(re.escape(term), text, re.IGNORECASE))
    ]
    middle = min(places, default=0)
    start, end = max(0, middle - around), middle + 2 * around
    words = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{words}{'…' if end < len(text) else ''}"


def _indexed(term: str, dialect: str) -> bool:
    if not term.isalnum() or _UNSPACED.search(term):
        return False
    return dialect != "mysql" or (len(term) in _MYSQL_LENGTHS and term.lower() not in _MYSQL_STOPWORDS)
