"""Editing, deleting and forking within the tree of a conversation."""

from __future__ import annotations

import asyncio

import pytest

from engine.api.chat import ImagePart, Message, TextPart
from engine.api.errors import InvalidRequest
from engine.api.events import ToolCall
from engine.api.identity import Principal
from engine.api.streams import Said
from plugins.chat.history.errors import MessageNotFound
from plugins.chat.history.export import markdown
from plugins.chat.history.records import StoredMessage
from plugins.chat.history.store import History
from tests.plugins.chat.history.kit import Talk, ending, said


async def test_an_edit_begins_a_branch_and_shows_it(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("hwo are you", "fine")
    assert opened.leaf is not None
    edited = await history.messages.edit(me, opened.conversation, opened.leaf, "how are you")

    assert edited.siblings == [opened.leaf, edited.id]
    assert await talk.words(opened.conversation) == ["how are you"]
    assert len(await history.messages.tree(me, opened.conversation)) == 3


async def test_an_edit_keeps_what_was_attached(history: History, me: Principal, talk: Talk) -> None:
    picture = ImagePart(url="https://example.com/cat.png")
    opened = await talk.ask([Message(role="user", parts=(TextPart("a dog?"), picture))])
    assert opened.leaf is not None
    edited = await history.messages.edit(me, opened.conversation, opened.leaf, "a cat?")
    assert edited.content == [TextPart("a cat?"), picture]


async def test_an_edited_answer_is_what_the_next_turn_goes_on_with(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    edited = await history.messages.edit(me, opened.conversation, opened.answer, "deux")
    assert (edited.role, edited.model) == ("assistant", "local/tiny")
    thread = await history.thread(me, opened.conversation, None)
    assert [message.text for message in thread.messages] == ["one", "deux"]


async def test_what_a_tool_said_cannot_be_edited(history: History, me: Principal, talk: Talk) -> None:
    call = ToolCall(call_id="call_1", name="weather", arguments="{}")
    asked = [Message(role="assistant", tool_calls=(call,)), said("4 °C", "tool", tool_call_id="call_1")]
    opened = await talk.ask(asked)
    assert opened.leaf is not None
    with pytest.raises(InvalidRequest) as raised:
        await history.messages.edit(me, opened.conversation, opened.leaf, "40 °C")
    assert raised.value.field == "message"


async def test_a_deleted_message_takes_what_followed_it(history: History, me: Principal, talk: Talk) -> None:
    first = await talk.turn("one", "two")
    second = await talk.turn("three", "four", first.conversation)
    assert second.leaf is not None
    changed = await history.messages.delete(me, first.conversation, second.leaf)
    assert changed.leaf == first.answer
    assert await talk.words(first.conversation) == ["one", "two"]
    with pytest.raises(MessageNotFound):
        await history.messages.get(me, first.conversation, second.answer)
    assert (await history.search.page(me, "four")).results == []


async def test_a_message_deleted_elsewhere_leaves_the_shown_branch(history: History, me: Principal, talk: Talk) -> None:
    first = await talk.turn("one", "two")
    old = await talk.turn("three", "four", first.conversation)
    await talk.turn("drei", "vier", first.conversation, parent=first.answer)
    assert old.leaf is not None
    await history.messages.delete(me, first.conversation, old.leaf)
    assert await talk.words(first.conversation) == ["one", "two", "drei", "vier"]


async def test_a_conversation_without_its_last_message_can_go_on(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    assert opened.leaf is not None
    assert (await history.messages.delete(me, opened.conversation, opened.leaf)).leaf is None
    await talk.turn("again", "yes", opened.conversation)
    assert await talk.words(opened.conversation) == ["again", "yes"]


async def test_messages_of_another_conversation_are_not_found(history: History, me: Principal, talk: Talk) -> None:
    mine, other = await talk.turn("one", "two"), await talk.turn("three", "four")
    for attempt in (
        history.messages.get(me, mine.conversation, other.answer),
        history.messages.edit(me, mine.conversation, other.answer, "x"),
        history.messages.delete(me, mine.conversation, other.answer),
        history.messages.fork(me, mine.conversation, other.answer, None),
    ):
        with pytest.raises(MessageNotFound):
            await attempt


async def test_a_fork_lives_apart_from_its_origin(history: History, me: Principal, talk: Talk) -> None:
    first = await talk.turn("one", "two")
    await talk.turn("three", "four", first.conversation)
    await history.conversations.change(me, first.conversation, tags=["numbers"])
    fork = await history.messages.fork(me, first.conversation, first.answer, None)

    assert (fork.title, fork.tags, fork.model) == ("one", ["numbers"], "local")
    assert await talk.words(fork.id) == ["one", "two"]
    await talk.turn("drei", "vier", fork.id)
    await history.conversations.delete(me, first.conversation)
    assert await talk.words(fork.id) == ["one", "two", "drei", "vier"]
    assert [found.conversation for found in (await history.search.page(me, "two")).results] == [fork.id]


async def test_a_fork_is_a_copy_that_cost_nothing(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    fork = await history.messages.fork(me, opened.conversation, None, "Mine")
    origin, copy = (await talk.shown(opened.conversation))[-1], (await talk.shown(fork.id))[-1]
    assert fork.title == "Mine"
    assert (copy.text, copy.model, copy.created_at) == (origin.text, origin.model, origin.created_at)
    assert (origin.usage is not None, copy.usage, copy.cost) == (True, None, None)


async def test_markdown_shows_the_branch_and_what_went_wrong(history: History, me: Principal, talk: Talk) -> None:
    call = ToolCall(call_id="call_1", name="weather", arguments='{"city":"``` Oslo"}')
    opened = await talk.ask([Message(role="user", parts=(TextPart("weather?"), ImagePart(url="https://a.example/x")))])
    outcome = ending(said=Said(text="Let me see.", tool_calls=(call,)), status="cancelled", reason="client_cancel")
    await talk.answer(opened, outcome)

    shown = await history.conversations.shown(me, opened.conversation)
    document = markdown(shown, shown.messages)
    assert document.startswith("# weather?\n")
    assert "## User\n\nweather?\n" in document
    assert "![image](https://a.example/x)" in document
    assert '````\nweather {"city":"``` Oslo"}\n````' in document
    assert "## Assistant (local/tiny)\n\nLet me see.\n" in document
    assert "_cancelled_" in document


async def test_notes_of_two_writers_at_once_are_all_kept(history: History, me: Principal, talk: Talk) -> None:
    opened = await talk.turn("one", "two")
    names = [f"note {at} “é”" for at in range(8)]
    await asyncio.gather(
        *(history.messages.annotate(me, opened.conversation, opened.answer, {name: "x"}, {name: "y"}) for name in names)
    )
    question, answer = await talk.shown(opened.conversation)
    assert answer.metadata == dict.fromkeys(names, "x")
    assert question.metadata == dict.fromkeys(names, "y")


async def test_an_answer_that_two_cut_at_once_keeps_what_both_heard(
    history: History, me: Principal, talk: Talk
) -> None:
    opened = await talk.turn("Count", "one two three four")
    cuts = await asyncio.gather(
        *(
            history.messages.truncate(me, opened.conversation, opened.answer, heard)
            for heard in ("one", "one two", "one two three")
        ),
        return_exceptions=True,
    )
    (_, answer) = await talk.shown(opened.conversation)
    assert [cut for cut in cuts if not isinstance(cut, InvalidRequest | StoredMessage)] == []
    assert answer.text == "one"
