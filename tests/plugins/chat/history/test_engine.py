"""Turns that the engine runs: committed at accept and at their end, and found again after a crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from sqlalchemy import select

from engine.api.commands import Body, Closing, Command, Lost, Request, Serve
from engine.api.data import Database, Write
from engine.api.events import MessageSaved, StreamEnded
from engine.api.identity import Principal
from engine.api.streams import Ending, Writer
from engine.bus.bus import Bus
from engine.bus.stream import Stream
from engine.sessions.ledger import Ledger
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandTable
from plugins.chat.history.store import History
from plugins.chat.history.tables import messages
from tests.plugins.chat.history.kit import Talk, said


class Ask(Body):
    """A question, to an engine that always says the same."""

    text: str
    conversation: str | None = None


@dataclass
class Echo:
    """A command with the history's rows around it; while `held`, its turns stop in the middle."""

    history: History
    held: bool = False
    speaking: asyncio.Event = field(default_factory=asyncio.Event)
    on: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self, request: Request[Ask]) -> Serve:
        body = request.body
        thread = await self.history.thread(request.principal, body.conversation, None)
        opened = self.history.opening(thread, request.principal, [said(body.text)], model="echo", stream=request.stream)

        def closing(ending: Ending) -> Closing:
            saved = MessageSaved(conversation=opened.conversation, message=opened.answer)
            rows = self.history.closing(opened, ending)
            return Closing(rows=rows, event=saved, over=partial(self.history.over, opened, ending, rows))

        return Serve(serve=self.serve, rows=opened.rows, closing=closing, model="echo", detail=opened.detail)

    async def serve(self, stream: Writer) -> None:
        stream.text("You said ")
        self.speaking.set()
        if self.held:
            await self.on.wait()
        stream.text("something.")

    def recover(self, lost: Lost) -> Closing:
        return Closing(rows=self.history.recovered(lost))

    def table(self) -> CommandTable:
        command = Command(name="chat.send", body=Ask, prepare=self.prepare, recover=self.recover)
        return CommandTable([("chat", command)])


@asynccontextmanager
async def engine(database: Database, echo: Echo, process: str) -> AsyncIterator[Supervisor]:
    """A supervisor of one process, open and reaping."""
    ledger = Ledger(database, process, embedded=True)
    supervisor = Supervisor(Bus(clock=time.monotonic), ledger=ledger)
    supervisor.table = echo.table()
    await supervisor.open()
    yield supervisor
    await supervisor.close()


async def test_the_answer_stands_in_the_history_once_it_is_said_to_be_saved(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    async with engine(database, Echo(history), "first") as supervisor:
        stream = await supervisor.start(me, "chat.send", {"text": "Hello"})
        assert isinstance(stream, Stream)
        saved = [event async for _, event in supervisor.reader(stream) if isinstance(event, MessageSaved)]
    assert await talk.words(saved[0].conversation) == ["Hello", "You said something."]


async def cut_off(supervisor: Supervisor, echo: Echo, me: Principal) -> Stream:
    """A turn that stands in the middle, checkpointed, on a process that another is about to take for dead."""
    stream = await supervisor.start(me, "chat.send", {"text": "Hello"}, key="once")
    assert isinstance(stream, Stream)
    await echo.speaking.wait()
    assert supervisor.ledger is not None
    checkpoint = supervisor.ledger.checkpoint([(stream, True)])
    assert checkpoint is not None
    await checkpoint
    return stream


async def test_after_a_crash_the_conversation_shows_what_was_checkpointed(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    echo = Echo(history, held=True)
    async with engine(database, echo, "crashed") as supervisor:
        await cut_off(supervisor, echo, me)

    async with engine(database, Echo(history), "restarted"):
        page = await history.conversations.page(me)
        question, answer = await talk.shown(page.conversations[0].id)
    assert (question.text, question.status) == ("Hello", "completed")
    assert (answer.text, answer.status) == ("You said ", "failed")
    assert answer.error is not None and answer.error.code == "owner_lost"


@pytest.mark.parametrize("gone_on", [False, True])
async def test_a_process_that_was_taken_for_dead_loses_nothing_of_what_it_says(
    database: Database, history: History, me: Principal, talk: Talk, gone_on: bool
) -> None:
    echo = Echo(history, held=True)
    async with engine(database, echo, "slow") as supervisor:
        stream = await cut_off(supervisor, echo, me)
    async with engine(database, Echo(history), "other"):
        conversation = (await history.conversations.page(me)).conversations[0].id
    if gone_on:
        await talk.turn("And?", "Ho", conversation)
    echo.on.set()
    saved, ended = [event async for _, event in supervisor.reader(stream)][-2:]
    shown = await talk.shown(conversation)
    assert isinstance(ended, StreamEnded) and (ended.status, ended.saved) == ("completed", True)
    assert isinstance(saved, MessageSaved) and saved.message == shown[1].id
    words = ["Hello", "You said something.", *(["And?", "Ho"] if gone_on else [])]
    assert [message.text for message in shown] == words
    assert (shown[1].status, shown[1].error) == ("completed", None)
    record = await supervisor.ledger.by_stream(me, stream.id) if supervisor.ledger else None
    assert record is not None and record.ended == ended and record.said.text == "You said something."


async def test_a_message_that_was_deleted_meanwhile_is_not_written_again(
    database: Database, history: History, me: Principal, talk: Talk
) -> None:
    echo = Echo(history, held=True)
    async with engine(database, echo, "slow") as supervisor:
        stream = await cut_off(supervisor, echo, me)
    async with engine(database, Echo(history), "other"):
        conversation = (await history.conversations.page(me)).conversations[0].id
    _, answer = await talk.shown(conversation)
    await database.submit([Write(messages, "delete", {}, {"id": answer.id})])
    echo.on.set()
    ended = await supervisor.reader(stream).ended()
    assert (ended.status, ended.saved) == ("completed", False)
    async with database.read() as connection:
        assert (await connection.execute(select(messages.c.id).where(messages.c.id == answer.id))).all() == []
