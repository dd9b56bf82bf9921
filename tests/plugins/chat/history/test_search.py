"""Finding again what was said."""

from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api.identity import Principal
from plugins.chat.history.store import History
from plugins.chat.history.words import fts5_query, mysql_query, snippet, terms
from tests.plugins.chat.history.kit import Talk


async def found(history: History, me: Principal, query: str) -> list[str]:
    return [each.snippet for each in (await history.search.page(me, query)).results]


SAID = (
    "The Norwegian coast is beautiful",
    "Café crème costs 3.50 €",
    "I write C++ and snake_case names",
    "東京の天気は晴れです",
    "100% sure about to be or not to be",
    "don't panic, it's only a test",
)


@pytest.mark.parametrize(
    ("query", "places"),
    [
        ("norwegian", [0]),
        ("NORWEG coast", [0]),
        ("coast norwegian!", [0]),
        ("norwegian pear", []),
        ("cafe", [1]),
        ("3.50", [1]),
        ("c++", [2]),
        ("snake_case", [2]),
        ("天気", [3]),
        ("東京 晴れ", [3]),
        ("to be or", [4]),
        ("100%", [4]),
        ("%", [4]),
        ("don't", [5]),
        ('"panic"', [5]),
        ("test)", [5]),
        ("zzz", []),
        ("   ", []),
        ("", []),
    ],
)
async def test_every_word_of_a_query_must_be_there(
    history: History, me: Principal, talk: Talk, query: str, places: list[int]
) -> None:
    for text in SAID:
        await talk.ask(text)
    assert await found(history, me, query) == [SAID[i] for i in places]


async def test_answers_are_found_too_and_the_newest_comes_first(history: History, me: Principal, talk: Talk) -> None:
    first = await talk.turn("tell me of otters", "Otters swim")
    second = await talk.turn("and the sea otter?", "It floats", first.conversation)
    results = (await history.search.page(me, "otter")).results
    assert [result.message for result in results] == [second.leaf, first.answer, first.leaf]
    assert {result.conversation for result in results} == {first.conversation}
    assert [result.role for result in results] == ["user", "assistant", "user"]
    assert results[0].title == "tell me of otters"


async def test_pages_go_on_behind_the_last_message_told(history: History, me: Principal, talk: Talk) -> None:
    for i in range(5):
        await talk.ask(f"otter number {i}")
    told: list[str] = []
    before = None
    while True:
        page = await history.search.page(me, "otter", limit=2, before=before)
        told += [result.snippet for result in page.results]
        before = page.next
        if before is None:
            break
    assert told == [f"otter number {i}" for i in (4, 3, 2, 1, 0)]


async def test_what_is_said_and_taken_back_is_found_as_long_as_it_stands(
    history: History, me: Principal, talk: Talk
) -> None:
    kept = await talk.turn("a kept otter", "first words")
    gone = [await talk.turn(f"otter {i} to go", "more words") for i in range(40)]
    assert len((await history.search.page(me, "otter", limit=100)).results) == 41
    for opened in gone:
        await history.conversations.delete(me, opened.conversation)
    assert await found(history, me, "otter") == ["a kept otter"]
    # What comes now may get the row numbers of what has gone.
    await talk.turn("a new otter", "last words")
    assert await found(history, me, "otter") == ["a new otter", "a kept otter"]
    assert await found(history, me, "first") == ["first words"]
    unsearched = await talk.turn("an otter that nobody looked for", "no")
    await history.conversations.delete(me, unsearched.conversation)
    await history.conversations.delete(me, kept.conversation)
    assert await found(history, me, "otter") == ["a new otter"]
    assert await found(history, me, "words") == ["last words"]


async def test_nobody_finds_what_others_said(history: History, me: Principal, stranger: Principal, talk: Talk) -> None:
    await talk.turn("my secret otter", "hush 水")
    assert await found(history, stranger, "otter") == []
    assert await found(history, stranger, "水") == []
    assert await found(history, me, "otter") == ["my secret otter"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.one_of(st.text(max_size=60), st.text(string.punctuation + " aB", max_size=30)))
async def test_any_text_is_a_query(history: History, me: Principal, query: str) -> None:
    assert (await history.search.page(me, query)).results == []


@given(word=st.text(string.ascii_letters + "äé", min_size=3, max_size=20), around=st.lists(st.text("xyz ", max_size=9)))
def test_no_operator_of_a_database_stands_in_a_query(word: str, around: list[str]) -> None:
    for dialect in ("sqlite", "mysql"):
        wanted = terms(" ".join((f'+"{word}* -(', *around)), dialect)
        assert all(term.isalnum() for term in wanted.words)
    assert fts5_query((word,)) == f'"{word}"*'
    assert mysql_query((word,)) == f"+{word}*"


def test_a_word_that_mysql_does_not_index_is_looked_for_in_the_text() -> None:
    assert terms("the tea is hot", "mysql").words == ("tea", "hot")
    assert terms("the tea is hot", "mysql").pieces == ("the", "is")
    assert terms("the tea is hot", "sqlite").pieces == ()


def test_a_snippet_shows_the_text_about_the_word() -> None:
    text = "start " * 50 + "an Otter\nswims" + " end" * 100
    shown = snippet(text, terms("otter", "sqlite"))
    assert shown.startswith("…") and shown.endswith("…")
    assert "an Otter swims" in shown
    assert len(shown) < 250


@given(st.text(max_size=300), st.text(min_size=1, max_size=10))
def test_a_snippet_of_any_text_is_short_and_one_line(text: str, query: str) -> None:
    shown = snippet(text, terms(query, "sqlite"))
    assert len(shown) <= 242
    assert shown == " ".join(shown.split())
