"""No figure of a vendor makes usage or cost negative, or costs a turn."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.events import Usage
from engine.api.providers import Price
from engine.providers import cost_of
from engine.wire.counts import MOST, NONSENSE, checked, count, known, total

PRICE = Price(
    input=Decimal(3),
    output=Decimal(15),
    cached_input=Decimal("0.3"),
    reasoning=Decimal(20),
    audio_input=Decimal(30),
    audio_output=Decimal(60),
    audio_cached_input=Decimal("0.4"),
)
ODD = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=30),
    st.booleans(),
    st.none(),
    st.just(msgspec.UNSET),
    st.just([1]),
    st.just(10**400),
)


@pytest.mark.parametrize(
    ("told", "meant"),
    [(12, 12), (0, 0), (None, 0), (12.0, 12), (11.6, 12), ("12", 12), (" 12 ", 12), ("12.0", 12), (MOST, MOST)],
)
def test_a_count_in_an_odd_form_is_the_count(told: Any, meant: int) -> None:
    assert count(told) == known(told) == meant


@pytest.mark.parametrize(
    "told",
    [
        -1,
        -0.6,
        MOST + 1,
        2**63,
        10**400,
        1e300,
        float("inf"),
        float("nan"),
        "",
        "twelve",
        "nan",
        "9" * 30,
        True,
        [1],
        {},
    ],
)
def test_what_is_no_count_is_nonsense(told: Any) -> None:
    assert count(told) == NONSENSE
    assert known(told) == 0
    assert total(5, told) == NONSENSE


COUNTS = [name for name in Usage.__struct_fields__ if name != "estimated"]


@given(st.lists(ODD, min_size=len(COUNTS), max_size=len(COUNTS)))
def test_usage_can_always_be_true_and_its_cost_is_never_negative(odd: list[Any]) -> None:
    usage = checked(Usage(**dict(zip(COUNTS, odd, strict=True)))).usage
    assert 0 <= usage.cached_tokens <= usage.input_tokens <= MOST
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens <= MOST
    for part, whole in (
        (usage.audio_input_tokens, usage.input_tokens),
        (usage.audio_output_tokens, usage.output_tokens),
        (usage.audio_cached_tokens, usage.cached_tokens),
    ):
        assert part is msgspec.UNSET or 0 <= part <= whole
    assert cost_of(usage, PRICE) >= 0
    assert msgspec.json.decode(msgspec.json.encode(usage), type=Usage) == usage


def test_usage_that_is_true_stays_as_it_is() -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cached_tokens=60, reasoning_tokens=5, audio_input_tokens=30)
    assert checked(usage) == (usage, True, True)
