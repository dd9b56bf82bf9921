"""From the parts of a request to the typed request of its route."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from engine.api.errors import InvalidRequest, UnsupportedMedia
from engine.api.identity import LOCAL
from engine.api.routes import Answer, HttpRequest, Route
from engine.http.typed import lower_headers, read_json, read_query, typed_request


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: str


class Page(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    tag: list[str] = []
    also: tuple[int, ...] | None = None
    live: bool = False
    order: Literal["new", "old"] = "new"
    text: str | None = Field(None, alias="q")


async def nothing(request: HttpRequest[Any, Any]) -> Answer:
    return Answer()


def read(sent: bytes, content_type: str | None = "application/json", /, **options: Any) -> HttpRequest[Any, Any]:
    return typed_request(
        Route(method="POST", path="/x/{id}", handler=nothing, **options),
        principal=LOCAL,
        request_id="r1",
        path={"id": "7"},
        query=[("limit", "5")],
        headers={} if content_type is None else {"content-type": content_type},
        body=sent,
    )


def test_body_and_query_become_models() -> None:
    request = read(b'{"input":"hi"}', body=Ask, query=Page)

    assert (request.body, request.query) == (Ask(input="hi"), Page(limit=5, q=None))
    assert (request.path, request.id, request.principal, request.raw) == ({"id": "7"}, "r1", LOCAL, b'{"input":"hi"}')


def test_a_route_without_models_takes_anything() -> None:
    request = read(b"\xff", "image/png")

    assert (request.body, request.query, request.raw) == (None, None, b"\xff")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/merge-patch+json",
    ],
)
def test_json_is_taken_under_each_of_its_names(content_type: str) -> None:
    assert read(b'{"input":"hi"}', content_type, body=Ask).body == Ask(input="hi")


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        (None, "the body is of no type; send JSON with Content-Type: application/json"),
        ("text/plain", "the body is of type text/plain; send JSON with Content-Type: application/json"),
        ("image/svg+json+xml", "the body is of type image/svg+json+xml; send JSON with Content-Type: application/json"),
        ("application/json; charset=latin-1", "the body is in latin-1; send JSON in UTF-8"),
    ],
)
def test_a_body_of_another_type_is_refused(content_type: str | None, message: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        read(b'{"input":"hi"}', content_type, body=Ask)

    assert caught.value.message == message


def test_an_empty_body_is_refused_where_one_is_due() -> None:
    with pytest.raises(InvalidRequest, match="the body is empty; send a JSON object"):
        read(b"", None, body=Ask)


def test_an_optional_body_may_be_empty_but_not_wrong() -> None:
    assert read(b"", None, body=Ask, body_optional=True).body is None
    with pytest.raises(InvalidRequest):
        read(b"{}", body=Ask, body_optional=True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"input":"\xff"}', "the body is not valid UTF-8 at byte 10; send JSON in UTF-8"),
        (b'{"input":"' + b"a" * 65_525 + b'\xc3"}', "the body is not valid UTF-8 at byte 65535; send JSON in UTF-8"),
        (b'{"input":"' + b"a" * 65_530 + b'\xff"}', "the body is not valid UTF-8 at byte 65540; send JSON in UTF-8"),
        (b"nope", "the body is not valid JSON: expected ident at line 1 column 2"),
        (b"[1]", "the body must be an object, not a list"),
        (b'{"input":"a","inptu":1}', "unknown field inptu; did you mean input?"),
        (b"[" * 10_000, "the body nests more than 64 levels deep"),
    ],
)
def test_a_bad_body_says_what_is_wrong(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_json(Ask, body, "application/json")

    assert caught.value.message == message


def test_the_last_of_two_members_of_one_name_counts() -> None:
    assert read_json(Ask, b'{"input":"a","input":"b"}', "application/json") == Ask(input="b")


def test_query_values_take_the_types_of_their_fields() -> None:
    pairs = [("limit", "7"), ("tag", "a"), ("tag", "b"), ("also", "3"), ("live", "true"), ("q", "hi")]

    assert read_query(Page, pairs) == Page(limit=7, tag=["a", "b"], also=(3,), live=True, q="hi")


@pytest.mark.parametrize(
    ("pairs", "field", "message"),
    [
        ([("limit", "x")], "limit", 'limit must be a whole number, not "x"'),
        ([("limit", "0")], "limit", 'limit must be 1 or more, not "0"'),
        ([("limit", "1"), ("limit", "2")], "limit", "limit stands in the query more than once; give it one value"),
        ([("limits", "1")], "limits", "unknown field limits; did you mean limit?"),
        ([("also", "1"), ("also", "b")], "also.1", 'also.1 must be a whole number, not "b"'),
        ([("order", "newest")], "order", "order must be 'new' or 'old', not \"newest\""),
    ],
)
def test_a_bad_query_names_the_parameter(pairs: list[tuple[str, str]], field: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_query(Page, pairs)

    assert (caught.value.field, caught.value.message) == (field, message)


def test_headers_are_lower_case_and_repeated_ones_joined() -> None:
    sent = [("Accept", "a"), ("X-One", "1"), ("ACCEPT", "b")]

    assert lower_headers(sent) == {"accept": "a, b", "x-one": "1"}


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (rb'{"input":"cut \ud83d"}', "cut �"),
        (rb'{"input":"cut \uDE00 here"}', "cut � here"),
        (rb'{"input":"\ud83d\ud83d\ude00"}', "�\U0001f600"),
        (rb'{"input":"\\ud83d and \ude00"}', "\\ud83d and �"),
    ],
)
def test_half_a_character_is_replaced_and_the_rest_is_read(sent: bytes, text: str) -> None:
    request = read(sent, body=Ask)
    assert request.body.input == text
    assert request.raw.count("\ufffd".encode()) == 1
