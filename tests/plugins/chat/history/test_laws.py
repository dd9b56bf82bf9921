"""Whatever is done to a conversation, it shows one branch of a whole tree, and search finds just what it says."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from engine.api.data import Database
from engine.api.identity import Principal
from plugins.chat.history.store import History
from plugins.chat.history.tables import texts
from tests.plugins.chat.history.kit import Talk

STEPS = st.lists(
    st.tuples(st.sampled_from(["turn", "branch", "ask", "edit", "delete", "show", "fork"]), st.integers(0, 99)),
    max_size=8,
)


async def step(history: History, me: Principal, talk: Talk, conversation: str, action: str, chosen: str | None) -> None:
    """Do one thing to a conversation, at a message of it where there is one."""
    if action == "turn":
        await talk.turn("go on", "yes", conversation)
    elif action == "ask":
        await talk.ask("anybody?", conversation)
    elif chosen is None:
        return
    elif action == "branch":
        await talk.turn("or so", "no", conversation, parent=chosen)
    elif action == "edit":
        await history.messages.edit(me, conversation, chosen, "better words")
    elif action == "delete":
        await history.messages.delete(me, conversation, chosen)
    elif action == "show":
        await history.conversations.change(me, conversation, leaf=chosen)
    elif action == "fork":
        await history.messages.fork(me, conversation, chosen, None)


async def check(database: Database, history: History, me: Principal, talk: Talk, conversation: str) -> list[Any]:
    """The conversation's tree, found to be whole."""
    tree = await history.messages.tree(me, conversation)
    ids = [message.id for message in tree]
    assert all(message.parent is None or message.parent in ids[:i] for i, message in enumerate(tree))
    shown = await talk.shown(conversation)
    assert [message.parent for message in shown] == [None, *(message.id for message in shown)][: len(shown)]
    assert bool(shown) == bool(tree)
    assert (await history.conversations.get(me, conversation)).leaf == (shown[-1].id if shown else None)
    async with database.read() as connection:
        found = await connection.execute(select(texts.c.message).where(texts.c.conversation == conversation))
        assert sorted(found.scalars()) == sorted(ids)
    return tree


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_a_conversation_always_shows_one_branch_of_a_whole_tree(
    database: Database, history: History, me: Principal, talk: Talk, steps: list[tuple[str, int]]
) -> None:
    conversation = (await talk.turn("begin", "done")).conversation
    for action, number in steps:
        tree = await check(database, history, me, talk, conversation)
        chosen = tree[number % len(tree)].id if tree else None
        await step(history, me, talk, conversation, action, chosen)
    await check(database, history, me, talk, conversation)
    for each in (await history.conversations.page(me, limit=200)).conversations:
        await check(database, history, me, talk, each.id)
        await history.conversations.delete(me, each.id)
    assert (await history.search.page(me, "begin")).results == []
