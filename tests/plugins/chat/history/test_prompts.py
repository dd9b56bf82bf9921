"""Prompts that a principal saved."""

from __future__ import annotations

import pytest

from engine.api.identity import Principal
from plugins.chat.history.errors import PromptNotFound
from plugins.chat.history.store import History


async def test_a_saved_prompt_comes_back(history: History, me: Principal) -> None:
    saved = await history.prompts.create(me, title="Haiku", text="Write a haiku about {}", tags=["poems"])
    assert await history.prompts.get(me, saved.id) == saved


async def test_a_change_brings_it_to_the_top_and_leaves_the_rest(history: History, me: Principal) -> None:
    first = await history.prompts.create(me, title="one", text="1", tags=["a"])
    await history.prompts.create(me, title="two", text="2")
    changed = await history.prompts.change(me, first.id, text="eins")
    assert (changed.title, changed.text, changed.tags) == ("one", "eins", ["a"])
    assert [prompt.title for prompt in (await history.prompts.page(me)).prompts] == ["one", "two"]
    assert [prompt.title for prompt in (await history.prompts.page(me, tag="a")).prompts] == ["one"]


async def test_pages_tell_every_prompt_once(history: History, me: Principal) -> None:
    for i in range(3):
        await history.prompts.create(me, title=str(i), text="x")
    first = await history.prompts.page(me, limit=2)
    rest = await history.prompts.page(me, limit=2, before=first.next)
    assert [prompt.title for prompt in (*first.prompts, *rest.prompts)] == ["2", "1", "0"]
    assert rest.next is None


async def test_a_deleted_prompt_is_gone(history: History, me: Principal) -> None:
    saved = await history.prompts.create(me, title="one", text="1")
    await history.prompts.delete(me, saved.id)
    with pytest.raises(PromptNotFound):
        await history.prompts.get(me, saved.id)


async def test_nobody_sees_or_changes_anothers_prompt(history: History, me: Principal, stranger: Principal) -> None:
    saved = await history.prompts.create(me, title="one", text="1")
    for attempt in (
        history.prompts.get(stranger, saved.id),
        history.prompts.change(stranger, saved.id, title="mine"),
        history.prompts.delete(stranger, saved.id),
    ):
        with pytest.raises(PromptNotFound):
            await attempt
    assert (await history.prompts.page(stranger)).prompts == []
    assert await history.prompts.get(me, saved.id) == saved
