"""Stretches of speech are told in the order in which they were spoken, however their transcripts come."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.api import Segment
from plugins.audio.providers.openai_items import Items
from plugins.audio.tape import Tape

RATE = 1_000


async def ten_seconds() -> AsyncIterator[bytes]:
    yield bytes(10 * RATE * 2)


@pytest.fixture
async def tape() -> Tape:
    tape = Tape(ten_seconds(), RATE)
    await tape.piece()
    return tape


def spoken(items: Items, *stretches: tuple[str, str | None, int]) -> None:
    for id, previous, end in stretches:
        items.began(id, end - 500)
        items.ended(id, end)
        items.committed(id, previous)


def told(items: Items) -> list[str]:
    return [segment.text for segment in items.tell() if segment.final]


async def test_a_stretch_stands_behind_the_one_that_it_follows(tape: Tape) -> None:
    items = Items(tape, 0.0)
    spoken(items, ("a", None, 1000), ("c", "a", 3000), ("b", "a", 2000))
    for id in ("c", "b"):
        items.done(id, id, None)
    assert told(items) == []
    items.done("a", "a", None)
    assert told(items) == ["a", "b", "c"]


async def test_a_stretch_that_follows_the_last_one_told_is_the_next(tape: Tape) -> None:
    items = Items(tape, 0.0)
    spoken(items, ("a", None, 1000))
    items.done("a", "a", None)
    assert told(items) == ["a"]
    spoken(items, ("c", "b", 3000), ("b", "a", 2000))
    for id in ("c", "b"):
        items.done(id, id, None)
    assert told(items) == ["b", "c"]


async def test_only_what_was_told_is_not_kept(tape: Tape) -> None:
    items = Items(tape, 0.0)
    spoken(items, ("a", None, 1000), ("b", "a", 2000), ("c", "b", 3000))
    items.done("a", "a", None)
    items.done("c", "c", None)
    assert told(items) == ["a"]
    assert tape.rewind() == pytest.approx(1.0)


async def test_a_partial_is_of_the_stretch_that_is_next(tape: Tape) -> None:
    items = Items(tape, 5.0)
    spoken(items, ("a", None, 1000), ("b", "a", 2000))
    items.heard("b", "later ")
    assert list(items.tell()) == []
    items.heard("a", "now ")
    (partial,) = items.tell()
    assert partial == Segment(text="now", final=False, start=5.5, end=6.0)
    assert list(items.tell()) == []
    items.done("a", "now.", "en")
    final, partial = items.tell()
    assert (final.text, final.language, partial.text, partial.final) == ("now.", "en", "later", False)


async def test_what_we_commit_ends_where_we_said(tape: Tape) -> None:
    items = Items(tape, 0.0)
    items.commit()
    assert items.due
    items.committed("a", None)
    items.done("a", "a", None)
    (final,) = items.tell()
    assert final.end == 10.0 and not items.due and items.empty


async def test_words_of_a_stretch_that_was_never_committed_are_told_at_the_end(tape: Tape) -> None:
    items = Items(tape, 0.0)
    items.heard("a", "half a word")
    items.commit()
    items.uncommit()
    assert told(items) == [] and not items.due
    items.finish()
    assert told(items) == ["half a word"]
