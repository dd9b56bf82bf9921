"""Keys of the configuration: how a path to a value is split, spelt and guessed."""

import difflib
import json
import re
from collections.abc import Iterable

KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def split_key(key: str) -> KeyPath:
    """The path of a table or key named in code, `plugins.chat`."""
    return tuple(key.split("."))


def key_text(path: KeyPath) -> str:
    """The path as TOML spells it: `models.aliases."gpt-4.1"`; list items as `[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f"{'.' if text else ''}{step if _BARE.fullmatch(step) else json.dumps(step, ensure_ascii=False)}"
    return text


def nearest(word: str, candidates: Iterable[str], likeness: float = 0.6) -> str | None:
    """The candidate that `word` was most likely meant to be, if any is as like it (0 to 1) as asked."""
    by_spelling = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(word.lower(), by_spelling, n=1, cutoff=likeness)
    return by_spelling[matches[0]] if matches else None
