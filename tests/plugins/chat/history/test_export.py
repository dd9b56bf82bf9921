"""A conversation as a document."""

from __future__ import annotations

import pytest

from plugins.chat.history.export import _fenced


@pytest.mark.timeout(30)
def test_a_fence_is_longer_than_every_run_of_backticks_whatever_their_length() -> None:
    assert _fenced("a ``b` c") == "```\na ``b` c\n```"
    assert _fenced("````") == "`````\n````\n`````"
    many = "`" * 1_000_000
    assert _fenced(many).split("\n")[0] == many + "`"
