"""A conversation of many messages: what is read of it is what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, select

from engine.api.chat import Message, TextPart
from engine.api.identity import Principal
from engine.db.databases import Database
from plugins.chat.history.errors import MessageNotFound
from plugins.chat.history.messages import ROWS_AT_ONCE
from plugins.chat.history.reading import FEW
from plugins.chat.history.store import History
from plugins.chat.history.tables import conversations, messages
from plugins.chat.history.turns import Told

COUNT = 3 * FEW


def told(at: int) -> Told:
    role = "system" if at == 0 else "user" if at % 2 else "assistant"
    return Told(Message(role=role, parts=(TextPart(f"message {at}"),)), {})  # type: ignore[arg-type]


@pytest.fixture
async def long(history: History, me: Principal) -> tuple[str, list[str]]:
    """A conversation and the ids of its messages, oldest first."""
    return await history.record(me, None, [told(at) for at in range(COUNT)])


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that is run inside."""
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_every_read_finds_the_same_as_in_a_short_one(
    history: History, me: Principal, long: tuple[str, list[str]]
) -> None:
    conversation, ids = long
    shown = await history.messages.branch(me, conversation)
    assert [(m.id, m.text) for m in shown] == [(id, f"message {at}") for at, id in enumerate(ids)]
    assert [m.id for m in await history.messages.tree(me, conversation)] == ids
    assert (await history.messages.get(me, conversation, ids[500])).text == "message 500"
    cut = await history.messages.truncate(me, conversation, ids[-2], "message")
    assert (cut.text, cut.status) == ("message", "cancelled")
    noted = await history.messages.annotate(me, conversation, ids[4], {"a": "1"}, {"q": "2"})
    assert noted.metadata == {"a": "1"}
    assert (await history.messages.get(me, conversation, ids[3])).metadata == {"q": "2"}
    fork = await history.messages.fork(me, conversation, ids[450], None)
    assert len(await history.messages.branch(me, fork.id)) == 451
    assert (await history.messages.delete(me, conversation, ids[300])).leaf == ids[299]
    assert [m.id for m in await history.messages.branch(me, conversation)] == ids[:300]
    with pytest.raises(MessageNotFound):
        await history.messages.get(me, conversation, ids[300])


async def test_a_turn_reads_the_newest_messages_and_the_instructions(
    history: History, me: Principal, long: tuple[str, list[str]]
) -> None:
    conversation, ids = long
    thread = await history.thread(me, conversation, None, newest=10)
    assert [m.text for m in thread.messages] == [f"message {at}" for at in (0, *range(COUNT - 9, COUNT))]
    assert (thread.parent, thread.left_out) == (ids[-1], COUNT - 10)
    whole = await history.thread(me, conversation, None)
    assert (len(whole.messages), whole.left_out) == (COUNT, 0)


async def test_to_record_a_message_reads_none(history: History, me: Principal, long: tuple[str, list[str]]) -> None:
    conversation, ids = long
    with statements() as seen:
        _, (new,) = await history.record(me, conversation, [told(1)])
    reads = [statement for statement in seen if statement.startswith("SELECT")]
    assert reads
    assert not [statement for statement in reads if "content" in statement]
    assert (await history.messages.get(me, conversation, new)).parent == ids[-1]


@contextmanager
def commits() -> Iterator[list[str]]:
    """The transactions that are committed inside."""
    seen: list[str] = []

    def note(*_: object) -> None:
        seen.append("commit")

    event.listen(Engine, "commit", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "commit", note)


async def test_a_long_fork_is_written_in_several_transactions(
    history: History, me: Principal, long: tuple[str, list[str]]
) -> None:
    conversation, ids = long
    with commits() as seen:
        fork = await history.messages.fork(me, conversation, None, None)
    assert len(seen) >= 2 * len(ids) / ROWS_AT_ONCE
    assert [m.text for m in await history.messages.branch(me, fork.id)] == [f"message {at}" for at in range(COUNT)]


async def test_a_fork_that_is_left_in_the_middle_leaves_no_rows(
    history: History, database: Database, me: Principal, long: tuple[str, list[str]]
) -> None:
    conversation, _ = long
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def note(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)

    event.listen(Engine, "commit", note)
    try:
        forking = asyncio.create_task(history.messages.fork(me, conversation, None, None))
        await begun.wait()
        forking.cancel()
        await asyncio.wait([forking])
    finally:
        event.remove(Engine, "commit", note)
    assert forking.cancelled()
    # Rows are written in order: these come after those that take the copy away.
    await history.record(me, None, [told(0)])
    async with database.read() as connection:
        of = select(messages.c.conversation).where(messages.c.principal == me.id).distinct()
        known = select(conversations.c.id).where(conversations.c.principal == me.id)
        assert set((await connection.execute(of)).scalars()) == set((await connection.execute(known)).scalars())
