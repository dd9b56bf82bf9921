"""Which writing a text is in, and which languages are written in it.

A voice that meets letters that it does not know leaves them out or spells them by their names: both are worse than an error.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

FOREIGN = 1 / 3
"""Share of a text's letters from which on it is one of another writing."""

WRITTEN: dict[str, tuple[str, ...]] = {
    "CJK": ("cmn", "zh", "yue", "hak", "ja"),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "be", "mk", "kk", "ky", "tt", "ba", "cv", "nog"),
    "GREEK": ("el", "grc"),
    "ARABIC": ("ar", "fa", "ur", "sd", "ug"),
    "HEBREW": ("he",),
    "DEVANAGARI": ("hi", "mr", "ne", "kok"),
    "BENGALI": ("bn", "as", "bpy"),
    "TAMIL": ("ta",),
    "TELUGU": ("te",),
    "KANNADA": ("kn",),
    "MALAYALAM": ("ml",),
    "GUJARATI": ("gu",),
    "GURMUKHI": ("pa",),
    "ORIYA": ("or",),
    "SINHALA": ("si",),
    "THAI": ("th",),
    "MYANMAR": ("my", "shn"),
    "GEORGIAN": ("ka",),
    "ARMENIAN": ("hy", "hyw"),
    "ETHIOPIC": ("am", "ti"),
    "CHEROKEE": ("chr",),
}
"""Languages by the writing, which is the first word of the names that Unicode gives its letters; all others are Latin."""

TITLES = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}

SAME = {"zh": "cmn", "no": "nb", "iw": "he", "in": "id", "english": "en"}
"""Codes of a language that the voices here know by another."""


def writing_of(text: str) -> str | None:
    """The writing, other than Latin, in which much of a text is; None where there is none."""
    found: Counter[str] = Counter()
    letters = 0
    for letter in filter(str.isalpha, text):
        letters += 1
        if not letter.isascii() and (name := unicodedata.name(letter, "").split(" ")[0].split("-")[0]) in WRITTEN:
            found[name] += 1
    if not found or sum(found.values()) < letters * FOREIGN:
        return None
    # A Japanese text is known by the few letters that Chinese does not have.
    kana = next((each for each in ("HIRAGANA", "KATAKANA") if each in found), None)
    return kana if kana is not None and "CJK" in found else found.most_common(1)[0][0]


def title_of(writing: str) -> str:
    """As people call it."""
    return TITLES.get(writing, writing.title())


def reads(languages: Sequence[str], writing: str) -> bool:
    """Whether a voice that speaks these languages reads a writing."""
    return any(language_of(each) in WRITTEN[writing] and "-latn" not in each.lower() for each in languages)


def by_size(languages: Sequence[str], writing: str) -> int:
    """Where a voice stands among those that read a writing: the languages of most people are first."""
    known = WRITTEN[writing]
    return min((known.index(code) for each in languages if (code := language_of(each)) in known), default=len(known))


def language_of(tag: str) -> str:
    """The language of a BCP 47 tag, by the code that the voices have."""
    code = tag.split("-")[0].split("_")[0].lower()
    return SAME.get(code, code)


def speaks(languages: Sequence[str], tag: str) -> bool:
    """Whether a voice that speaks these languages speaks that of a tag."""
    return language_of(tag) in map(language_of, languages)
