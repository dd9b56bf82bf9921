"""What the sender of a bad body is told."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.api.errors import InvalidRequest
from engine.wire.places import locate
from engine.wire.validation import dotted, explain, nearest


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Text(Strict):
    type: Literal["text"]
    text: str


class Image(Strict):
    type: Literal["image"]
    url: str | None = None


class Turn(Strict):
    role: Literal["user", "tool"]
    content: str | list[Annotated[Text | Image, Field(discriminator="type")]]


def no_time(value: str) -> str:
    raise ValueError("is no time")


class Tree(Strict):
    name: str = "leaf"
    children: list[Tree] = []


class Ask(Strict):
    input: str | list[Annotated[Text | Image, Field(discriminator="type")]] | list[Turn] = "hi"
    model: str | None = None
    effort: Literal["low", "high"] | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    n: int = Field(1, ge=1)
    store: bool = True
    stop: list[str] = Field([], max_length=2)
    limits: dict[str, int] = {}
    secret: SecretStr | None = Field(None, max_length=8)
    tree: Tree | None = None
    key: str | None = Field(None, min_length=2, max_length=4, pattern="^[a-z]+$")
    other: str | None = Field(None, alias="anOther")
    day: str = "mon"
    when: Literal["now"] | Annotated[str, AfterValidator(no_time)] = "now"
    site: HttpUrl | None = None
    id: UUID | None = None

    @field_validator("day")
    @classmethod
    def known_day(cls, value: str) -> str:
        if value != "mon":
            raise ValueError("only mon is a day")
        return value

    @model_validator(mode="after")
    def whole(self) -> Ask:
        if self.n == 13:
            raise ValueError("give n or luck, not both")
        return self


def told(body: str | bytes, model: type[BaseModel] = Ask, **options: Any) -> InvalidRequest:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(body)
    return explain(caught.value, model, **options)


@pytest.mark.parametrize(
    ("body", "limit"), [('{"stop":["a","b","c"]}', 2), ('{"key":"abcde"}', 4), ('{"modle":"x"}', None)]
)
def test_a_bound_that_was_passed_is_told_as_a_number(body: str, limit: int | None) -> None:
    assert told(body).limit == limit


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"n":"x"}', "n", 'n must be a whole number, not "x"'),
        ('{"n":1.5}', "n", "n must be a whole number, not 1.5"),
        ('{"n":[]}', "n", "n must be a whole number, not a list"),
        ('{"n":null}', "n", "n must be a whole number, not null"),
        ('{"n":0}', "n", "n must be 1 or more, not 0"),
        ('{"temperature":3}', "temperature", "temperature must be 2 or less, not 3"),
        ('{"store":"maybe"}', "store", 'store must be true or false, not "maybe"'),
        ('{"model":5}', "model", "model must be a string, not a number"),
        ('{"effort":"hihg"}', "effort", "effort must be 'low' or 'high', not \"hihg\""),
        ('{"effort":{"a":1}}', "effort", "effort must be 'low' or 'high', not an object"),
        ('{"stop":"x"}', "stop", "stop must be a list, not a string"),
        ('{"stop":["a","b","c"]}', "stop", "stop must have at most 2 items, not 3"),
        ('{"stop":["a",true]}', "stop.1", "stop.1 must be a string, not true"),
        ('{"limits":{"a":"b"}}', "limits.a", 'limits.a must be a whole number, not "b"'),
        ('{"key":"a"}', "key", "key must have at least 2 characters, not 1"),
        ('{"key":"abcde"}', "key", "key must have at most 4 characters, not 5"),
        ('{"key":"AB"}', "key", "key must match pattern '^[a-z]+$'"),
        ('{"anOther":5}', "anOther", "anOther must be a string, not a number"),
        ('{"day":"tue"}', "day", "day: only mon is a day"),
        ('{"when":"noon"}', "when", "when must be 'now', not \"noon\""),
        ('{"site":"ftp://x"}', "site", "site: URL scheme should be 'http' or 'https'"),
        ('{"id":5}', "id", "id: UUID input should be a string, bytes or UUID object"),
        ('{"n":13}', None, "give n or luck, not both"),
        ("[]", None, "the body must be an object, not a list"),
        ("{", None, "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
        ('{"modle":"x"}', "modle", "unknown field modle; did you mean model?"),
        ('{"tree":{"nmae":"x"}}', "tree.nmae", "unknown field tree.nmae; did you mean tree.name?"),
        ('{"tree":{"zzz":"x"}}', "tree.zzz", "unknown field tree.zzz; valid here: children, name"),
        (
            '{"tree":{"children":[{},{"children":[{"name":1}]}]}}',
            "tree.children.1.children.0.name",
            "tree.children.1.children.0.name must be a string, not a number",
        ),
    ],
)
def test_a_mistake_names_its_field_and_what_would_be_right(body: str, field: str | None, message: str) -> None:
    error = told(body)

    assert (error.field, error.message) == (field, message)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"input":5}', "input", "input must be a string or a list, not a number"),
        (
            '{"input":[{"role":"user","content":5}]}',
            "input.0.content",
            "input.0.content must be a string or a list, not a number",
        ),
        (
            '{"input":[{"role":"user","content":[{"type":"image","url":5}]}]}',
            "input.0.content.0.url",
            "input.0.content.0.url must be a string, not a number",
        ),
        ('{"input":[{}]}', "input.0.type", "input.0.type is required"),
        (
            '{"input":[{"type":"text","text":"x","extra":1}]}',
            "input.0.extra",
            "unknown field input.0.extra; did you mean input.0.text?",
        ),
        ('{"input":[{"type":"text"}]}', "input.0.text", "input.0.text is required"),
        (
            '{"input":[{"type":"txt"}]}',
            "input.0.type",
            "input.0.type must be one of 'text', 'image', not \"txt\"",
        ),
    ],
)
def test_the_branches_of_a_union_do_not_show_in_paths(body: str, field: str, message: str) -> None:
    error = told(body)

    assert (error.field, error.message) == (field, message)


def test_further_mistakes_follow_the_first() -> None:
    error = told('{"n":0,"store":"maybe","modle":1}')

    assert error.field == "n"
    assert error.message == (
        'n must be 1 or more, not 0; store must be true or false, not "maybe"; unknown field modle; did you mean model?'
    )


def test_many_mistakes_are_counted_and_not_listed() -> None:
    error = told(
        '{"stop":["a",1,2,3,4,5,6]}', type("Free", (Ask,), {"__annotations__": {"stop": list[str]}, "stop": []})
    )

    assert error.message.count("must be") == 4
    assert error.message.endswith("; and 2 more")


def test_a_flood_of_mistakes_is_not_looked_at_one_by_one() -> None:
    error = told("{" + ",".join(f'"k{n}":1' for n in range(2000)) + "}")

    assert error.message == "the body has 2000 mistakes, too many to name them"


def test_a_secret_is_never_repeated() -> None:
    error = told('{"secret":"correct horse battery"}')

    assert error.field == "secret"
    assert "horse" not in error.message


def test_what_is_overlong_is_cut() -> None:
    error = told(json.dumps({"effort": "x" * 5000, "y" * 5000: 1}))

    assert len(error.message) < 500
    assert len(dotted(("y" * 5000,))) < 100


def test_the_noun_for_the_whole_is_the_callers() -> None:
    assert told("[]", what="frame").message == "the frame must be an object, not a list"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=3)
    | st.sampled_from(["text", "image", "user", "tool"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "url", "role", "content", "name", "children", "x"]), inner)
    ),
    max_leaves=8,
)
BODY = st.dictionaries(st.sampled_from([*Ask.model_fields, "anOther", "x"]), JSON, max_size=4)


@given(BODY)
def test_any_body_is_taken_or_explained_by_a_place_in_it(body: dict[str, Any]) -> None:
    try:
        Ask.model_validate_json(json.dumps(body))
    except ValidationError as error:
        refused = explain(error, Ask)
        *way, last = (refused.field or "").split(".")
        value: Any = body
        for step in way:
            value = value[int(step) if isinstance(value, list) else step]
        # The last step may be a field that is missing.
        assert refused.field is None or isinstance(value, dict) or int(last) < len(value)
        assert refused.message


def test_a_missing_field_is_named() -> None:
    error = told("{}", Text)

    assert (error.field, error.message) == ("type", "type is required; text is required")


def test_a_path_that_the_model_does_not_explain_is_taken_as_written() -> None:
    assert locate(Ask, ("nowhere", 3, "x")).path == ("nowhere", 3, "x")


def test_a_place_knows_the_fields_around_it() -> None:
    assert locate(Ask, ("tree", "children", 0, "x")).fields == {"name", "children"}


def test_the_nearest_word_is_found_or_none() -> None:
    assert nearest("temprature", ["temperature", "top_p"]) == "temperature"
    assert nearest("zzz", ["temperature"]) is None
    assert nearest("temperature" * 1000, ["temperature"]) is None
