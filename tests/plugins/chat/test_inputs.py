"""Attachments are base64 from their beginning to their end, however long they are."""

from __future__ import annotations

import base64

import pytest

from engine.api import ImagePart, InvalidRequest
from plugins.chat.bodies import ChatSend
from plugins.chat.inputs import is_long_input, read_input

PNG = b"\x89PNG\r\n\x1a\n"
LONG = base64.b64encode(PNG + bytes(300_000)).decode()


def picture(data: str) -> ChatSend:
    return ChatSend.model_validate({"input": [{"type": "image", "data": data}]})


def test_a_long_picture_is_known_by_its_first_bytes() -> None:
    [message] = read_input(picture(LONG))

    assert message.parts == (ImagePart(data=LONG, media_type="image/png"),)


@pytest.mark.parametrize("at", [100, 256 << 10, (256 << 10) - 1, 300_000])
@pytest.mark.parametrize("wrong", ["=", "*", "\n"])
def test_what_is_no_base64_is_refused_wherever_it_stands(at: int, wrong: str) -> None:
    with pytest.raises(InvalidRequest, match=r"input\.0.data is not base64"):
        read_input(picture(LONG[:at] + wrong + LONG[at + 1 :]))


@pytest.mark.parametrize(
    ("body", "long"),
    [
        ({"input": "x" * 1_000_000}, False),
        ({"input": [{"type": "image", "data": "AAAA"}]}, False),
        ({"input": [{"type": "image", "data": LONG}]}, True),
        ({"input": [{"role": "user", "content": [{"type": "file", "data": LONG}]}]}, True),
        ({"input": [{"role": "user", "content": "Hi"}] * 2_000}, True),
    ],
)
def test_reading_much_is_known_before_it_is_read(body: dict[str, object], long: bool) -> None:
    assert is_long_input(ChatSend.model_validate(body)) is long
