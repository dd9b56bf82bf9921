"""What is counted, and that names that clients make up do not fill the memory."""

from __future__ import annotations

from decimal import Decimal

from engine.api.events import Cost, StreamEnded, Usage
from engine.stats import MOST_MODELS, Histogram, Stats


def ended(model: str | None, **fields: object) -> StreamEnded:
    return StreamEnded(status="completed", reason="done", model=model, **fields)  # type: ignore[arg-type]


def count(stats: Stats, end: StreamEnded, first_word: float | None = 0.02) -> None:
    stats.turn_ended("chat.send", end, seconds=0.3, first_word=first_word, added=0.001, events=7)


def test_a_value_counts_in_its_bucket_and_in_all_above() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 20.0):
        histogram.observe(value)
    assert histogram.buckets == [("0.1", 2.0), ("1.0", 3.0), ("+Inf", 4.0)]
    assert histogram.sum == 20.65


def test_a_turn_counts_its_tokens_and_its_exact_cost() -> None:
    stats = Stats()
    end = ended("v/m", usage=Usage(input_tokens=5, output_tokens=2, cached_tokens=1), cost=Cost(amount="0.1"))
    for _ in range(3):
        count(stats, end)
    assert stats.turns == {("chat.send", "v/m", "completed", "done"): 3}
    assert (stats.tokens["v/m", "input"], stats.tokens["v/m", "output"], stats.tokens["v/m", "cached"]) == (15, 6, 3)
    assert stats.cost["v/m"] == Decimal("0.3")
    assert stats.events == 21


def test_a_turn_that_said_nothing_has_no_first_word() -> None:
    stats = Stats()
    count(stats, ended(None), first_word=None)
    assert stats.turns == {("chat.send", "none", "completed", "done"): 1}
    assert not stats.first_token


def test_models_beyond_the_bound_are_counted_together() -> None:
    stats = Stats()
    for number in range(MOST_MODELS + 5):
        count(stats, ended(f"v/m{number}"))
    count(stats, ended("v/m0"))
    assert len(stats.first_token) == MOST_MODELS + 1
    assert stats.turns["chat.send", "other", "completed", "done"] == 5
    assert stats.turns["chat.send", "v/m0", "completed", "done"] == 2
