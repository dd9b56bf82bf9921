"""A text that comes piece by piece is cut into sentences, and nothing of it is lost."""

from __future__ import annotations

from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.wire.sentences import LONGEST, Sentences
from tests.engine.wire.hostile_texts import TEXTS, WITHIN


def cut(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [sentence for piece in pieces for sentence in sentences.feed(piece)]
    return [sentence.strip() for sentence in (*found, *sentences.finish())]


@given(st.lists(st.text(alphabet='aB1 .!?,\n"。)…é😀', max_size=30)), st.integers(20, 60))
def test_what_comes_out_is_what_went_in(pieces: list[str], longest: int) -> None:
    sentences = Sentences(longest)
    found = [sentence for piece in pieces for sentence in sentences.feed(piece)] + sentences.finish()
    assert "".join("".join(found).split()) == "".join("".join(pieces).split())
    assert all(sentence.strip() for sentence in found)


@given(st.text(alphabet="ab. !?\n", max_size=300), st.data())
def test_it_does_not_matter_how_the_text_comes(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join(cut(*pieces)) == "".join(cut(text))


@given(st.text(max_size=3_000))
def test_no_sentence_is_longer_than_the_longest(text: str) -> None:
    sentences = Sentences()
    assert all(
        len(sentence) <= LONGEST + 1 for sentence in sentences.feed(text) if not set(sentence) & set(".!?…。！？")
    )


def test_a_sentence_is_given_out_as_soon_as_the_next_word_may_begin() -> None:
    sentences = Sentences()
    assert sentences.feed("The weather is fine.") == []
    assert sentences.feed(" ") == ["The weather is fine."]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Dr. Smith lives at St. Mary's. He is old.", ["Dr. Smith lives at St. Mary's.", "He is old."]),
        ("It costs 3.50 dollars today. Buy it now!", ["It costs 3.50 dollars today.", "Buy it now!"]),
        ("J. R. R. Tolkien wrote it. He did.", ["J. R. R. Tolkien wrote it.", "He did."]),
        ('"Are you there?" she asked. "Yes!"', ['"Are you there?"', 'she asked. "Yes!"']),
        ("Yes. No. Perhaps it is so.", ["Yes. No. Perhaps it is so."]),
        ("今日は晴れです。明日は雨でしょうか？はい。", ["今日は晴れです。明日は雨でしょうか？", "はい。"]),
        ("A heading of words\n\nThen a paragraph.", ["A heading of words", "Then a paragraph."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_sentences_are_those_that_a_reader_would_see(text: str, parts: list[str]) -> None:
    assert cut(text) == parts
    assert cut(*text) == parts


def test_a_sentence_of_the_greatest_length_stays_whole() -> None:
    sentence = "word " * (LONGEST // 5 - 1) + "end."
    assert len(sentence) < LONGEST
    sentence = sentence.rjust(LONGEST, "a")
    assert cut(f"{sentence}\n\n") == [sentence]
    assert cut(*f"{sentence}\n\nAnd another.") == [sentence, "And another."]


def test_a_text_without_an_end_is_cut_where_it_can_be() -> None:
    parts = cut("word " * 400)
    assert len(parts) > 4
    assert max(map(len, parts)) <= LONGEST
    assert cut("x" * 1_000) == ["x" * 400, "x" * 400, "x" * 200]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_long_text_takes_no_longer_for_what_it_looks_like(text: str) -> None:
    begun = thread_time()
    parts = cut(text)
    assert thread_time() - begun < WITHIN
    assert "".join("".join(parts).split()) == "".join(text.split())


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_is_cut_alike_however_it_comes(text: str) -> None:
    some = text[:3_000]
    assert cut(some) == cut(*(some[at : at + 7] for at in range(0, len(some), 7)))
