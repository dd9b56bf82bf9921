"""What becomes of fields that a translated request cannot carry."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from engine.api import UnsupportedParameter
from plugins.openai_api.hints import HEADER, Hints, Open, Rules, without_blanks

RULES = Rules(demands={"container": "leave it out", "items[].run": "run it yourself"}, neutral={"tier": ("auto",)})


class Item(Open):
    text: str = ""


class Whole(Open):
    passed_whole: ClassVar[bool] = True


class Ask(Open):
    items: list[Item] = []
    whole: Whole | None = None


def judged(given: dict[str, Any], *, strict: bool = False) -> Hints:
    hints = Hints(strict=strict)
    hints.judge(Ask.model_validate(given), RULES)
    return hints


def test_an_unknown_field_is_dropped_and_named_wherever_it_stands() -> None:
    hints = judged({"mood": "mild", "items": [{"text": "a", "mark": 1}, {"text": "b", "mark": 2, "id": "i"}]})
    assert hints.dropped == ["mood", "items[].mark", "items[].id"]
    assert hints.headers() == {HEADER: "mood, items[].mark, items[].id"}


def test_nothing_dropped_is_no_header() -> None:
    assert judged({"items": [{"text": "a"}]}).headers() == {}


@pytest.mark.parametrize("value", [None, "", [], {}, False])
def test_a_field_that_asks_for_nothing_is_no_hint_and_no_demand(value: Any) -> None:
    assert judged({"container": value, "mood": value, "tier": "auto"}, strict=True).dropped == []


@pytest.mark.parametrize(
    ("given", "field"), [({"container": "c"}, "container"), ({"items": [{}, {"run": True}]}, "items.1.run")]
)
def test_a_demand_is_refused_by_name_with_what_would_be_right(given: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedParameter, match=r"leave it out|run it yourself") as caught:
        judged(given)
    assert caught.value.field == field
    assert caught.value.message.startswith(field)


def test_a_strict_server_refuses_hints_too() -> None:
    with pytest.raises(UnsupportedParameter, match="strict") as caught:
        judged({"items": [{"mark": 1}]}, strict=True)
    assert caught.value.field == "items.0.mark"


def test_a_body_that_is_passed_whole_is_not_judged() -> None:
    assert judged({"whole": {"anything": 1}}).dropped == []


def test_the_header_is_bounded_and_holds_no_character_of_a_clients_that_a_header_cannot() -> None:
    hints = judged({f"field\r\n{n} ä" + "x" * 200: 1 for n in range(500)})
    told = hints.headers()[HEADER]
    assert len(told) < 2500 and told.isascii() and told.isprintable()
    assert told.endswith(", ...")


def test_an_empty_text_is_an_absent_field() -> None:
    assert without_blanks({"a": "", "b": None, "c": "x"}) == {"b": None, "c": "x"}
