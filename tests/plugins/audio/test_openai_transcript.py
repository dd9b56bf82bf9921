"""Transcripts of OpenAI's addresses and their imitators: what nobody needs fails nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.api import ProviderError
from plugins.audio.providers.openai_transcript import read_transcript
from plugins.vendors.failures import Vendor

LAB = Vendor("Lab")


def read(told: Any, language: str | None = None) -> Any:
    return read_transcript(told if isinstance(told, bytes) else json.dumps(told).encode(), language, LAB)


def test_a_text_alone_is_one_stretch() -> None:
    [segment] = read({"text": " Hello there. ", "usage": {"type": "duration", "seconds": "3"}}, "en-US")
    assert (segment.text, segment.start, segment.language) == ("Hello there.", None, "en-US")


def test_words_stand_in_their_stretch() -> None:
    told = {
        "text": "a b",
        "language": "english",
        "segments": [{"text": " a", "start": 0, "end": 1.0}, {"text": "b ", "start": 1.0, "end": 2}],
        "words": [{"word": "a", "start": 0.1, "end": 0.9}, {"word": "b", "start": 1.1, "end": 2.2}],
    }
    first, second = read(told)
    assert [word.text for word in first.words] == ["a"] and [word.text for word in second.words] == ["b"]
    assert first.language == "english"


@pytest.mark.parametrize(
    "odd",
    [
        {"segments": None, "words": None},
        {"segments": [], "words": [{"word": None, "start": None, "end": "1"}]},
        {"segments": [{"text": None}, {"text": "", "start": 1}]},
        {"language": 7, "duration": "long"},
    ],
)
def test_what_is_odd_in_the_rest_leaves_the_text(odd: dict[str, Any]) -> None:
    assert [each.text for each in read({"text": "Hello.", **odd})] == ["Hello."]


@pytest.mark.parametrize("told", [b"", b"[]", b"{}", b'{"text": 1}', b'{"text": "a', b"\xff", b"[" * 100_000])
def test_what_has_no_text_is_the_vendors_failure(told: bytes) -> None:
    with pytest.raises(ProviderError, match="Lab broke its protocol"):
        read(told)


def test_an_error_with_the_status_of_success_is_said_in_the_vendors_words() -> None:
    with pytest.raises(ProviderError, match="CUDA out of memory"):
        read({"error": {"message": "CUDA out of memory", "type": "server_error"}})
