"""What is spoken finds its way back to what was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plugins.realtime.providers.written import Written

TEXT = "**Hello** there, my friend! See [the boat](https://example.com/boat) now. It is *green*, is it not? Yes it is."


def test_each_spoken_sentence_stands_for_what_was_written() -> None:
    written = Written()
    spoken = [*written.feed(TEXT), *written.finish()]
    assert spoken[0] == "Hello there, my friend!"
    found = [written.of(sentence) for sentence in spoken]
    assert found[0] == "**Hello** there, my friend!"
    assert "".join("".join(found).split()) == "".join(TEXT.split())


@given(st.lists(st.integers(1, 9), min_size=60, max_size=60))
def test_pieces_of_sentences_add_up_to_all_that_was_written(sizes: list[int]) -> None:
    written = Written()
    spoken = "\n\n".join([*written.feed(TEXT), *written.finish()])
    found, at = "", 0
    for size in sizes:
        found += written.of(spoken[at : at + size])
        at += size
        assert TEXT.startswith(found.strip()[:7])
    found += written.of(spoken[at:])
    assert "".join(found.split()) == "".join(TEXT.split())


def test_what_is_not_spoken_goes_with_the_sentence_behind_it() -> None:
    written = Written()
    text = "```\ncode = 1\n```\n\nThat was the code of it. "
    spoken = [*written.feed(text), *written.finish()]
    assert spoken == ["That was the code of it."]
    assert written.of(spoken[0]).endswith("That was the code of it.")
