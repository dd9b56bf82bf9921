"""What is deleted from the history cannot be read from its turns either: not from memory, not from their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from engine.api.data import Database
from engine.api.errors import ProviderRateLimited, StreamNotFound
from engine.api.events import MessageSaved
from engine.api.identity import Principal
from engine.api.streams import Said, Writer
from engine.bus.stream import Stream
from engine.db.schema import turn_parts, turns
from engine.sessions.ledger import TurnRecord
from engine.sessions.supervisor import InProcessCommands, Supervisor
from plugins.chat.history.store import History
from tests.plugins.chat.history.kit import TickingClock
from tests.plugins.chat.history.test_engine import Echo, engine


class Failing(Echo):
    """Its turns fail, with an error that quotes what was asked."""

    async def serve(self, stream: Writer) -> None:
        stream.extra({"quoted": "a secret"})
        raise ProviderRateLimited("no answer to: a secret")


@dataclass
class Kept:
    """One turn of a conversation, as it was saved."""

    stream: str
    conversation: str
    message: str


class Chat:
    """A history whose deletions reach the engine that runs its turns."""

    def __init__(self, database: Database, supervisor: Supervisor, history: History, me: Principal) -> None:
        self.database = database
        self.supervisor = supervisor
        self.history = history
        self.me = me

    async def turn(self, conversation: str | None = None, text: str = "Hello") -> Kept:
        body = {"text": text, **({"conversation": conversation} if conversation else {})}
        stream = await self.supervisor.start(self.me, "chat.send", body, key=f"{conversation}{text}")
        assert isinstance(stream, Stream)
        events = [event async for _, event in self.supervisor.reader(stream)]
        saved = next(event for event in events if isinstance(event, MessageSaved))
        return Kept(stream.id, saved.conversation, saved.message)

    async def record(self, stream: str) -> TurnRecord:
        """What a client that asks for the stream gets; it must not come from memory."""
        with pytest.raises(StreamNotFound):
            self.supervisor.bus.find(stream, self.me)
        found = await self.supervisor.find(self.me, stream)
        assert isinstance(found, TurnRecord)
        return found

    async def row(self, stream: str) -> str:
        """The turn's row and its checkpoints, as text."""
        async with self.database.read() as connection:
            row = (await connection.execute(select(turns).where(turns.c.stream == stream))).one()
            parts = (await connection.execute(select(turn_parts).where(turn_parts.c.stream == stream))).all()
        return f"{row} {parts}"


@pytest.fixture
async def echo(history: History) -> Echo:
    return Echo(history)


@pytest.fixture
async def chat(database: Database, echo: Echo, me: Principal) -> AsyncIterator[Chat]:
    async with engine(database, echo, "one") as supervisor:
        echo.history = History(database, TickingClock(), InProcessCommands(supervisor).forget)
        yield Chat(database, supervisor, echo.history, me)


async def test_a_deleted_conversation_leaves_nothing_of_its_turns_to_read(chat: Chat) -> None:
    first = await chat.turn()
    second = await chat.turn(first.conversation, "Again")
    other = await chat.turn(None, "Elsewhere")
    await chat.history.conversations.delete(chat.me, first.conversation)
    for stream in (first.stream, second.stream):
        record = await chat.record(stream)
        assert record.said == Said()
        assert record.ended is not None and record.ended.status == "completed"
        snapshot = record.since(0).snapshot
        assert snapshot is not None and snapshot.text == ""
        assert "something" not in await chat.row(stream)
    assert chat.supervisor.bus.find(other.stream, chat.me).said.text == "You said something."
    assert "something" in await chat.row(other.stream)


async def test_a_retry_under_the_key_of_a_deleted_turn_finds_it_and_asks_no_model_again(chat: Chat) -> None:
    kept = await chat.turn(None, "Once")
    await chat.history.conversations.delete(chat.me, kept.conversation)
    found = await chat.supervisor.start(chat.me, "chat.send", {"text": "Once"}, key="NoneOnce")
    assert isinstance(found, TurnRecord)
    assert (found.stream, found.said) == (kept.stream, Said())


async def test_a_deleted_message_takes_the_content_of_its_turn_and_of_those_after_it(chat: Chat) -> None:
    first = await chat.turn()
    second = await chat.turn(first.conversation, "Again")
    third = await chat.turn(first.conversation, "And again")
    await chat.history.messages.delete(chat.me, first.conversation, second.message)
    assert chat.supervisor.bus.find(first.stream, chat.me).said.text == "You said something."
    for stream in (second.stream, third.stream):
        assert (await chat.record(stream)).said == Said()


async def test_a_cut_answer_leaves_of_its_turn_what_was_heard(chat: Chat) -> None:
    kept = await chat.turn()
    await chat.history.messages.truncate(chat.me, kept.conversation, kept.message, "You said")
    said = (await chat.record(kept.stream)).said
    assert said == Said(text="You said", saved=MessageSaved(conversation=kept.conversation, message=kept.message))
    assert "something" not in await chat.row(kept.stream)


async def test_checkpoints_of_a_deleted_turn_go_with_it(chat: Chat, echo: Echo) -> None:
    echo.held = True
    stream = await chat.supervisor.start(chat.me, "chat.send", {"text": "Hello"}, key="held")
    assert isinstance(stream, Stream) and chat.supervisor.ledger is not None
    await echo.speaking.wait()
    checkpoint = chat.supervisor.ledger.checkpoint([(stream, True)])
    assert checkpoint is not None
    await checkpoint
    await chat.supervisor.cancel(chat.me, stream.id)
    await chat.supervisor.reader(stream).ended()
    conversation = (await chat.history.conversations.page(chat.me)).conversations[0].id
    await chat.history.conversations.delete(chat.me, conversation)
    assert "You said" not in await chat.row(stream.id)


async def test_an_error_that_quotes_what_was_asked_is_emptied_and_keeps_its_code(
    database: Database, history: History, me: Principal
) -> None:
    echo = Failing(history)
    async with engine(database, echo, "one") as supervisor:
        echo.history = History(database, TickingClock(), InProcessCommands(supervisor).forget)
        chat = Chat(database, supervisor, echo.history, me)
        kept = await chat.turn(None, "Tell me")
        assert "a secret" in await chat.row(kept.stream)
        await chat.history.conversations.delete(me, kept.conversation)
        assert "a secret" not in await chat.row(kept.stream)
        ended = (await chat.record(kept.stream)).ended
    assert ended is not None and ended.error is not None
    assert (ended.status, ended.error.code) == ("failed", ProviderRateLimited.code)


async def test_nobody_can_empty_the_turns_of_others(chat: Chat, stranger: Principal) -> None:
    kept = await chat.turn()
    rows = await InProcessCommands(chat.supervisor).forget(stranger, {kept.stream: Said()})
    await chat.database.submit(rows)
    assert chat.supervisor.bus.find(kept.stream, chat.me).said.text == "You said something."
    assert "something" in await chat.row(kept.stream)
