"""Old turns that no longer fit into a model's window are left out, and whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.chat import Message, TextPart
from plugins.chat.window import estimated_tokens, fit

ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
MESSAGES = st.lists(st.tuples(ROLES, st.integers(0, 40)), max_size=30)


def message(role: str, characters: int = 4) -> Message:
    return Message(role=role, parts=(TextPart("x" * characters),))  # type: ignore[arg-type]


@given(MESSAGES, st.integers(0, 400))
def test_what_is_kept_fits_or_is_only_instructions_and_the_question(
    messages: list[tuple[str, int]], tokens: int
) -> None:
    question = message("user")
    whole = [*(message(role, characters) for role, characters in messages), question]
    kept = fit(whole, tokens + estimated_tokens(question), 1)
    assert kept[-1] is question
    assert [m for m in kept if m.role == "system"] == [m for m in whole if m.role == "system"]
    total = sum(map(estimated_tokens, kept))
    assert total <= tokens + estimated_tokens(question) or {m.role for m in kept[:-1]} <= {"system"}
    # The newest turns stay: what is left out is a beginning of what is no instruction, and ends where a user speaks.
    spoken = [m for m in whole if m.role != "system"]
    rest = [m for m in kept if m.role != "system"]
    assert spoken[len(spoken) - len(rest) :] == rest
    assert len(rest) == len(spoken) or rest[0].role == "user"


@pytest.mark.timeout(30)
def test_a_very_long_conversation_is_trimmed_in_one_pass() -> None:
    """Going through all messages for each turn that leaves takes minutes here, one pass takes a fraction of a second."""
    turns = [message(role) for _ in range(50_000) for role in ("user", "assistant")]
    kept = fit([*turns, message("user")], 1_000, 1)
    assert len(kept) == 2 * ((1_000 - 9) // 18) + 1
