"""A body is measured before it is made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.errors import InvalidRequest
from engine.wire.extent import DEEPEST, LONGEST_NUMBER, MOST_CONTAINERS, MOST_MEMBERS, MOST_VALUES, Extent, check_extent

MESSAGE = {"role": "user", "content": "hi, [you] {there}"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=40,
)


def refusal(value: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_extent(json.dumps(value).encode())
    return caught.value


@pytest.mark.parametrize(
    ("value", "field", "limit"),
    [
        ({"model": "x", "input": [{"type": "text", "text": "a"}] * 600_000}, "input", MOST_CONTAINERS),
        ({"messages": [MESSAGE] * 130_000, "model": "x"}, "messages", MOST_CONTAINERS),
        ({"a": [1] * 200_000, "stop": ["."] * 300_000}, "stop", MOST_VALUES),
        ({"input": "x", "metadata": dict.fromkeys(map(str, range(20_001)), ""), "z": {}}, "metadata", MOST_MEMBERS),
        ({"a": {}, **{str(at): [{}, {"b": 1, "c": 2}] for at in range(20_000)}}, None, MOST_MEMBERS),
        ({"a": [{"b": 1}, {"c": [1, {"d": dict.fromkeys(map(str, range(50_000)), 0)}]}]}, "a", MOST_MEMBERS),
        ({"input": "x" * 200_000, "stop": ["."] * 400_001}, "stop", MOST_VALUES),
        ({"stop": ["."] * 390_000, "input": "y" * 100_000, "include": ["."] * 20_000}, "include", MOST_VALUES),
        (json.loads("[" * 65 + "]" * 65), None, DEEPEST),
        ({"tools": [{"parameters": json.loads("[" * 65 + "]" * 65)}]}, "tools", DEEPEST),
    ],
)
def test_what_would_become_too_much_is_refused_by_name_with_the_bound(
    value: Any, field: str | None, limit: int
) -> None:
    error = refusal(value)
    assert (error.code, error.field, error.limit) == ("invalid_request", field, limit)


@pytest.mark.parametrize(
    "text", ["," * 1_000_000, "[" * 1_000_000, '"' * 500_000, "\\" * 500_001, '\\"{[,' * 200_000, "é{" * 300_000]
)
def test_what_stands_in_a_text_is_not_counted(text: str) -> None:
    check_extent(json.dumps({"input": [{"type": "text", "text": text}], "n": 1}).encode())


def test_as_many_messages_as_a_request_may_have_are_let_through() -> None:
    check_extent(json.dumps({"messages": [{**MESSAGE, "name": "ann"}] * 50_000}).encode())


def test_as_many_members_as_an_object_may_have_are_let_through() -> None:
    full = dict.fromkeys(map(str, range(MOST_MEMBERS)), "a,b,c")
    check_extent(json.dumps({"a": [full, full, list(full)], "b": full}).encode())


@given(JSON)
def test_the_counts_are_those_of_the_values(value: Any) -> None:
    extent = Extent(json.dumps(value).encode(), "body")
    extent.check()
    assert (extent._containers, extent._depth) == (containers(value), 0)


def containers(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + sum(map(containers, children))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": "x", "n": %s}', "n"),
        ('{"a": {"deep": [1, -%s]}, "z": 1}', "a"),
        ("[%s]", None),
        ('{"\\"": "9", "b": [%se5]}', "b"),
        ('{"a": 1, "b": 0.%s, "c": 2}', "b"),
        ('{"a": "1", "b": [1e-%s], "c": 2}', "b"),
        ('{"a": "' + "y" * 300_000 + '", "b": %s}', "b"),
    ],
)
def test_a_number_that_is_too_long_is_refused_by_name(text: str, field: str | None) -> None:
    with pytest.raises(InvalidRequest, match="more than 40 characters") as caught:
        check_extent((text % ("7" * (LONGEST_NUMBER + 1))).encode())
    assert (caught.value.field, caught.value.limit) == (field, LONGEST_NUMBER)


@pytest.mark.parametrize("tail", [b"9" * 40, b"-1." + b"7" * 30 + b"e-300", b"0." + b"1" * 38])
def test_numbers_of_the_greatest_length_are_let_through_wherever_a_large_body_is_cut(tail: bytes) -> None:
    for before in range(65_480, 65_540):
        check_extent(b'{"a":"' + b"x" * before + b'","n":[' + tail + b',1,"' + b"7" * 5_000 + b'"]}')


@pytest.mark.parametrize("text", ["7" * 200_000, "-" * 70_000, "0.1e5" * 40_000, '\\"' + "7" * 70_000])
def test_what_looks_like_a_number_in_a_text_is_let_through(text: str) -> None:
    check_extent(json.dumps({"n": [1, text, {"m": text}]}).encode())


@pytest.mark.parametrize("before", [65_535 - LONGEST_NUMBER, 65_520, 65_530, 65_536])
def test_a_long_number_is_found_wherever_a_large_body_is_cut(before: int) -> None:
    body = (
        b'{"a":"' + b"x" * (before - 11) + b'","n":' + b"7" * (LONGEST_NUMBER + 1) + b',"b":"' + b"x" * 70_000 + b'"}'
    )

    with pytest.raises(InvalidRequest) as caught:
        check_extent(body)

    assert caught.value.field == "n"
