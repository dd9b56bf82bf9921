"""Listing, renaming, tagging, choosing branches and deleting."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from engine.api.data import Database
from engine.api.errors import InvalidRequest
from engine.api.identity import Principal
from engine.db.databases import Databases
from plugins.chat.history.errors import ConversationNotFound, MessageNotFound
from plugins.chat.history.pages import older_than
from plugins.chat.history.store import History
from plugins.chat.history.tables import conversations, messages, texts
from tests.plugins.chat.history.kit import Talk, TickingClock, ending, said


async def titles(history: History, me: Principal, **filters: object) -> list[str]:
    page = await history.conversations.page(me, **filters)  # type: ignore[arg-type]
    return [conversation.title for conversation in page.conversations]


async def test_the_conversation_that_was_spoken_in_last_comes_first(
    history: History, me: Principal, talk: Talk
) -> None:
    first = await talk.turn("apples", "yes")
    await talk.turn("pears", "yes")
    assert await titles(history, me) == ["pears", "apples"]
    await talk.turn("more apples", "yes", first.conversation)
    assert await titles(history, me) == ["apples", "pears"]


async def test_pages_tell_every_conversation_once(history: History, me: Principal) -> None:
    made = [(await history.conversations.create(me, title=f"number {i}")).title for i in range(7)]
    told: list[str] = []
    before = None
    while True:
        page = await history.conversations.page(me, limit=3, before=before)
        told += [conversation.title for conversation in page.conversations]
        before = page.next
        if before is None:
            break
    assert told == list(reversed(made))


async def test_a_page_stands_still_while_an_older_conversation_moves_up(history: History, me: Principal) -> None:
    made = [await history.conversations.create(me, title=f"number {i}") for i in range(4)]
    page = await history.conversations.page(me, limit=2)
    await history.conversations.delete(me, made[2].id)
    rest = await history.conversations.page(me, limit=2, before=page.next)
    assert [conversation.title for conversation in rest.conversations] == ["number 1", "number 0"]


@pytest.mark.parametrize(
    "mark", ["", "x", "12", "12.", "-1.c_1", "9" * 19 + ".c_1", "٣.c_1", ".c_1", "999999999999999999.c"]
)
async def test_a_mark_that_no_page_told_is_refused_or_finds_nothing_wrong(mark: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        older_than(conversations, mark)
    assert raised.value.field == "before"


@given(st.text(max_size=40))
def test_any_text_is_a_mark_or_an_error_that_names_the_field(mark: str) -> None:
    try:
        older_than(conversations, mark)
    except InvalidRequest as error:
        assert error.field == "before"


async def test_filters_by_tag_favourite_and_model(history: History, me: Principal, talk: Talk) -> None:
    tea = await talk.turn("tea", "green")
    await talk.turn("coffee", "black")
    other = await talk.ask("water", model="groq/llama")
    await history.conversations.change(me, tea.conversation, tags=["drinks", "Ä"], favourite=True)
    await history.conversations.change(me, other.conversation, tags=["drinks and more"])

    assert await titles(history, me, tag="drinks") == ["tea"]
    assert await titles(history, me, tag="Ä") == ["tea"]
    assert await titles(history, me, tag="Drinks") == []
    assert await titles(history, me, tag="%") == []
    assert await titles(history, me, favourite=True) == ["tea"]
    assert await titles(history, me, favourite=False) == ["water", "coffee"]
    assert await titles(history, me, model="groq/llama") == ["water"]
    assert await titles(history, me, model="local", tag="drinks") == ["tea"]


async def test_a_change_leaves_what_it_does_not_name(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("tea", "green")
    before = await history.conversations.get(me, opened.conversation)
    changed = await history.conversations.change(me, opened.conversation, tags=["a"])
    assert (changed.title, changed.favourite, changed.leaf) == ("tea", False, opened.answer)
    assert changed.updated_at == before.updated_at
    assert (await history.conversations.change(me, opened.conversation, title="Tee")).tags == ["a"]


async def test_another_branch_is_shown_down_to_its_youngest_message(
    history: History, me: Principal, talk: Talk
) -> None:
    first = await talk.turn("one", "two")
    old = await talk.turn("three", "four", first.conversation)
    await talk.turn("drei", "vier", first.conversation, parent=first.answer)
    assert old.leaf is not None
    changed = await history.conversations.change(me, first.conversation, leaf=old.leaf)
    assert changed.leaf == old.answer
    assert await talk.words(first.conversation) == ["one", "two", "three", "four"]


async def test_a_branch_of_another_conversation_cannot_be_shown(history: History, me: Principal, talk: Talk) -> None:
    mine, other = await talk.turn("one", "two"), await talk.turn("three", "four")
    with pytest.raises(MessageNotFound):
        await history.conversations.change(me, mine.conversation, leaf=other.answer)


async def test_a_deleted_conversation_leaves_no_row(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    opened, kept = await talk.turn("one", "two"), await talk.turn("three", "four")
    await history.conversations.delete(me, opened.conversation)

    async with database.read() as connection:
        for table in (messages, texts):
            left = select(func.count()).select_from(table).where(table.c.conversation == opened.conversation)
            assert (await connection.execute(left)).scalar() == 0
    with pytest.raises(ConversationNotFound):
        await history.conversations.get(me, opened.conversation)
    assert await talk.words(kept.conversation) == ["three", "four"]


async def orphans(database: Database, me: Principal) -> list[str]:
    """Messages and words of somebody whose conversation is not there, and messages whose parent is not."""
    there = select(conversations.c.id).where(conversations.c.principal == me.id)
    own = select(messages.c.id).where(messages.c.principal == me.id)
    lost = [
        select(messages.c.id).where(messages.c.principal == me.id, messages.c.conversation.not_in(there)),
        select(texts.c.message).where(texts.c.principal == me.id, texts.c.message.not_in(own)),
        select(messages.c.id).where(
            messages.c.principal == me.id, messages.c.parent.is_not(None), messages.c.parent.not_in(own)
        ),
    ]
    async with database.read() as connection:
        return [id for each in lost for id in (await connection.execute(each)).scalars().all()]


async def test_nothing_is_written_of_a_turn_whose_conversation_went_while_it_ran(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.ask("one")
    await history.conversations.delete(me, opened.conversation)
    with pytest.raises(ConversationNotFound):
        await talk.answer(opened, ending("two"))
    assert await orphans(database, me) == []


async def test_a_question_is_refused_whose_conversation_went_after_it_was_read(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    first = await talk.turn("one", "two")
    thread = await history.thread(me, first.conversation, None)
    opened = history.opening(thread, me, [said("three")], model="m", stream="s_2")
    await history.conversations.delete(me, first.conversation)
    with pytest.raises(ConversationNotFound):
        await database.submit(opened.rows)
    assert await orphans(database, me) == []


async def test_nothing_begins_in_a_conversation_that_is_being_removed(
    history: History, me: Principal, talk: Talk
) -> None:
    first = await talk.turn("one", "two")
    removal = asyncio.ensure_future(history.conversations.delete(me, first.conversation))
    await asyncio.sleep(0)
    with pytest.raises(ConversationNotFound):
        await history.thread(me, first.conversation, None)
    await removal


async def test_a_question_is_refused_whose_parent_went_after_it_was_read(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    first = await talk.turn("one", "two")
    thread = await history.thread(me, first.conversation, None)
    opened = history.opening(thread, me, [said("three")], model="m", stream="s_2")
    await history.messages.delete(me, first.conversation, first.answer)
    with pytest.raises(MessageNotFound):
        await database.submit(opened.rows)
    assert await orphans(database, me) == []


async def test_nothing_is_left_behind_however_turns_edits_and_removals_meet(
    database: Database, migrated_url: str, me: Principal
) -> None:
    """Two servers of one database, where it is one of many."""
    others = Databases({"default": migrated_url}, exclusive=False)
    await others.open()
    try:
        sides = [History(each, TickingClock()) for each in (database, others.database())]
        for _ in range(6):
            talks = [Talk(each, side, me) for each, side in zip((database, others.database()), sides, strict=True)]
            first = await talks[0].turn("one", "two")
            id = first.conversation
            await asyncio.gather(
                *(talks[at % 2].turn(f"more {at}", "so", id) for at in range(4)),
                sides[1].messages.edit(me, id, first.answer, "other"),
                sides[0].messages.delete(me, id, first.answer),
                sides[0].messages.fork(me, id, None, None),
                sides[1].conversations.delete(me, id),
                return_exceptions=True,
            )
            assert await orphans(database, me) == []
    finally:
        await others.close()


async def test_nobody_sees_or_changes_what_is_anothers(
    history: History, me: Principal, stranger: Principal, talk: Talk
) -> None:
    opened = await talk.turn("one", "two")
    id, message = opened.conversation, opened.answer
    for attempt in (
        history.conversations.get(stranger, id),
        history.conversations.shown(stranger, id),
        history.conversations.whole(stranger, id),
        history.conversations.change(stranger, id, title="mine"),
        history.conversations.change(stranger, id, leaf=message),
        history.messages.branch(stranger, id),
        history.messages.get(stranger, id, message),
        history.messages.edit(stranger, id, message, "mine"),
        history.messages.delete(stranger, id, message),
        history.messages.fork(stranger, id, None, None),
    ):
        with pytest.raises(ConversationNotFound):
            await attempt
    await history.conversations.delete(stranger, id)
    assert await titles(history, stranger) == []
    assert (await history.conversations.get(me, id)).title == "one"
    assert await talk.words(id) == ["one", "two"]
