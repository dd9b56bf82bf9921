"""How many objects a request may hold: its bytes alone do not say what it costs to read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

MOST_MESSAGES = 50_000
"""Messages, or items, of one request."""

MOST_PARTS = 10_000
"""Parts (texts, images, blocks) of all messages of one request together."""

MOST_TOOLS = 1_024
"""Tools that one request offers, and calls that one message holds."""

MOST_NAMES = 1_024
"""Names in a list, such as those of the server's tools."""

MOST_STOPS = 64
"""Texts that end an answer."""

MOST_ENTRIES = 1_000
"""Members of an object that goes to the vendor as it is."""

MOST_NOTES = 64
"""Members of `metadata`."""

LONGEST_TEXT = 32 << 20
"""Characters of a text that has no bound of its own: as many as a body of the default `server.max_body` has bytes."""

SCHEMA_VALUES = 20_000
"""Values in one JSON Schema."""

SCHEMA_DEPTH = 32
"""Levels to which a JSON Schema nests."""


def _fits_schema(schema: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [schema]
    seen = 0
    for _ in range(SCHEMA_DEPTH):
        level = [child for value in level for child in _children(value)]
        seen += len(level)
        if seen > SCHEMA_VALUES:
            raise PydanticCustomError("too_many_values", "has more than {most} values", {"most": SCHEMA_VALUES})
        if not level:
            return schema
    raise PydanticCustomError("too_deep", "nests more than {most} levels deep", {"most": SCHEMA_DEPTH})


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that stands there for the second time, None where each stands once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


Options = Annotated[dict[str, Any], Field(max_length=MOST_ENTRIES)]
"""Fields that go to the vendor as they are."""

Schema = Annotated[dict[str, Any], Field(max_length=MOST_ENTRIES), AfterValidator(_fits_schema)]
"""A JSON Schema."""

Notes = Annotated[
    dict[Annotated[str, Field(max_length=256)], Annotated[str, Field(max_length=10_000)]], Field(max_length=MOST_NOTES)
]
"""A client's own notes."""

Name = Annotated[str, Field(max_length=200)]
"""A name or an id."""
