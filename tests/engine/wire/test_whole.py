"""What counts as a whole JSON document."""

from __future__ import annotations

import pytest

from engine.wire.whole import is_whole_json


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b' {"a": [1, 2]}\r\n',
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b'{"a": NaN}',
        b' {"a": -Infinity} ',
        b'{"a": "\\ud83d"}\n',
    ],
)
def test_a_document_is_whole(text: bytes) -> None:
    assert is_whole_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b'{"a": [1, 2}',
        b'{"a": 1} {"b": 2}',
        b"[DONE]",
        b'{"a": NaN',
        b"NaN",
        b'{"a": "\\ud83d"',
        b"{'a': 1}",
    ],
)
def test_a_piece_of_one_is_not(text: bytes) -> None:
    assert not is_whole_json(text)
