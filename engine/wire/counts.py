"""Vendors' token counts, whatever they are in JSON, as numbers that can be true: never negative, fractional or endless."""

from typing import Any, NamedTuple, TypeAlias

from msgspec import UNSET, UnsetType

from engine.api.events import Usage

Count: TypeAlias = Any
"""A count in a vendor's JSON: read by `count`, since some write it as a text or with a fraction."""

MOST = 100_000_000
"""Tokens of one call beyond any model's window: more than these is nonsense, not usage."""

MOST_SEARCHES = 10_000
"""Searches of one call beyond what any vendor runs."""

NONSENSE = -1
"""What stands for a count that is none; the engine's meter puts an estimate in its place."""

_LONGEST_TEXT = 20


class Checked(NamedTuple):
    """Usage whose every figure can be true, and which of input and output a vendor did not say."""

    usage: Usage
    input_known: bool
    output_known: bool

    @property
    def known(self) -> bool:
        """Whether both are the vendor's."""
        return self.input_known and self.output_known


def count(value: Any) -> int:
    """A count as a number; 0 where there is none, `NONSENSE` where it cannot be one."""
    if value is None or value is UNSET:
        return 0
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONSENSE
    # Neither infinity nor what is no number is between the two.
    return round(value) if 0 <= value <= MOST else NONSENSE


def total(*values: Any) -> int:
    """The sum of several counts; `NONSENSE` where one of them is."""
    counts = [count(value) for value in values]
    return NONSENSE if NONSENSE in counts else min(sum(counts), MOST)


def known(value: Any) -> int:
    """A count, 0 where it cannot be one."""
    return max(0, count(value))


def checked(usage: Usage) -> Checked:
    """What of a provider's usage can be true: parts are never more than their whole."""
    sent, said = count(usage.input_tokens), count(usage.output_tokens)
    whole = max(0, sent), max(0, said)
    cached = min(known(usage.cached_tokens), whole[0])
    written = _part(usage.written_tokens, whole[0] - cached)
    seen = Usage(
        input_tokens=whole[0],
        output_tokens=whole[1],
        cached_tokens=cached,
        reasoning_tokens=min(known(usage.reasoning_tokens), whole[1]),
        estimated=usage.estimated is True or NONSENSE in (sent, said),
        characters=_part(usage.characters, MOST),
        seconds=_seconds(usage.seconds),
        audio_input_tokens=_part(usage.audio_input_tokens, whole[0]),
        audio_output_tokens=_part(usage.audio_output_tokens, whole[1]),
        audio_cached_tokens=_part(usage.audio_cached_tokens, cached),
        searches=_part(usage.searches, MOST_SEARCHES),
        written_tokens=written,
        written_hour_tokens=_part(usage.written_hour_tokens, 0 if written is UNSET else written),
    )
    return Checked(seen, sent != NONSENSE, said != NONSENSE)


def _part(value: Any, whole: int) -> int | UnsetType:
    return UNSET if value is UNSET else min(known(value), whole)


def _seconds(value: Any) -> float | UnsetType:
    if isinstance(value, UnsetType):
        return UNSET
    real = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
    return float(value) if real else 0.0


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
