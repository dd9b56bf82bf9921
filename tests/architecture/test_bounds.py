"""What a client sends has a bound in objects, wherever it is sent, and the bound is documented."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.api import Body
from tests.architecture.bodies import bodies, bounded, fields_of
from tests.architecture.source import ROOT


class Boundless(Body):
    """What must not be."""

    names: list[str]
    options: dict[str, Any]
    either: str | list[list[int]] = Field(default="")
    few: list[int] = Field(default=[], max_length=3)


def test_every_list_object_and_text_of_every_body_has_a_bound() -> None:
    missing = sorted({f"{each.place}: {each.kind}" for each in bounded() if each.most is None})
    assert not missing, "give these a max_length (engine.wire.bounds has names for the usual ones)"


def test_every_bound_of_a_list_or_an_object_stands_in_the_docs() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = {line for line in page.splitlines() if line.startswith("| ")}
    for each in bounded():
        if each.kind != "str" and each.most is not None:
            name = f"`{each.model.__name__}.{each.field}`"
            assert any(row.startswith(f"| {each.most:,} |") and name in row for row in rows), each.place


def test_the_bodies_of_all_doors_are_looked_at() -> None:
    names = {model.__name__ for model in bodies()}
    assert {"ChatSend", "ChatCompletionsBody", "ResponsesBody", "MessagesBody", "EmbeddingsBody"} <= names
    assert {"AudioStart", "SpeakStart", "RealtimeStart", "SessionBody", "StreamResume", "ConversationsQuery"} <= names


def test_a_list_or_an_object_without_a_bound_is_found() -> None:
    assert [(each.field, each.kind, each.most) for each in fields_of(Boundless) if each.kind != "str"] == [
        ("names", "list", None),
        ("options", "dict", None),
        ("either", "list", None),
        ("either", "list", None),
        ("few", "list", 3),
    ]
