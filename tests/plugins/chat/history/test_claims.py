"""One turn at a time in a conversation, whichever process of the database it runs in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from engine.api.errors import Conflict
from engine.api.identity import Principal
from engine.db.databases import Database
from plugins.chat.history.claims import UNWRITTEN
from plugins.chat.history.errors import ConversationNotFound
from plugins.chat.history.store import History
from tests.plugins.chat.history.conftest import upgraded
from tests.plugins.chat.history.kit import Talk, TickingClock, ending


@pytest.fixture(scope="module")
def migrated_url(mysql_url: str) -> str:
    """The embedded database has one process, and no claims in it."""
    return upgraded(mysql_url)


class Turns:
    """What the engine knows of streams: open, over, or nothing."""

    def __init__(self) -> None:
        self.known: dict[str, bool] = {}

    async def is_open(self, principal: Principal, stream: str) -> bool | None:
        return self.known.get(stream)


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def server(database: Database, turns: Turns, clock: TickingClock) -> History:
    """A server that knows of its turns by the database alone."""
    return History(database, clock, is_open=turns.is_open)


async def test_of_many_claims_at_once_one_holds(server: History, me: Principal, talk: Talk) -> None:
    conversation = (await talk.turn("Hi", "Ho")).conversation
    streams = [f"s_{at}" for at in range(10)]
    taken = await asyncio.gather(
        *(server.claims.take(me, conversation, stream) for stream in streams), return_exceptions=True
    )
    (holder,) = [stream for stream, result in zip(streams, taken, strict=True) if result is None]
    refused = [result for result in taken if result is not None]
    assert all(isinstance(each, Conflict) and holder in each.message for each in refused)


async def test_a_claim_goes_with_the_end_of_its_turn(
    server: History, database: Database, me: Principal, talk: Talk, turns: Turns
) -> None:
    opened = await talk.ask("Hi")
    turns.known["s_1"] = True
    with pytest.raises(Conflict, match="s_1"):
        await server.claims.take(me, opened.conversation, "s_2")
    await database.submit(server.closing(opened, ending("Ho", stream="s_1")))
    await server.claims.take(me, opened.conversation, "s_2")


async def test_a_turn_that_is_over_holds_nothing(server: History, me: Principal, talk: Talk, turns: Turns) -> None:
    conversation = (await talk.turn("Hi", "Ho")).conversation
    await server.claims.take(me, conversation, "s_1")
    turns.known["s_1"] = False
    await server.claims.take(me, conversation, "s_2")
    with pytest.raises(Conflict, match="s_2"):
        await server.claims.check(me, conversation)


async def test_a_claim_without_a_turn_holds_as_long_as_one_takes_to_be_written(
    server: History, me: Principal, talk: Talk, clock: TickingClock
) -> None:
    conversation = (await talk.turn("Hi", "Ho")).conversation
    await server.claims.take(me, conversation, "s_1")
    clock.pass_by(UNWRITTEN - timedelta(seconds=1))
    with pytest.raises(Conflict, match="s_1"):
        await server.claims.take(me, conversation, "s_2")
    clock.pass_by(timedelta(seconds=1))
    await server.claims.take(me, conversation, "s_2")


async def test_a_conversation_in_which_a_turn_runs_elsewhere_is_not_removed(
    server: History, me: Principal, talk: Talk, turns: Turns
) -> None:
    opened = await talk.turn("Hi", "Ho")
    turns.known["s_1"] = True
    await server.claims.take(me, opened.conversation, "s_1")
    with pytest.raises(Conflict):
        await server.conversations.delete(me, opened.conversation)
    with pytest.raises(Conflict):
        await server.messages.delete(me, opened.conversation, opened.answer)
    assert await talk.words(opened.conversation) == ["Hi", "Ho"]
    turns.known["s_1"] = False
    await server.conversations.delete(me, opened.conversation)
    with pytest.raises(ConversationNotFound):
        await talk.words(opened.conversation)


async def test_nobody_takes_what_is_another_s(server: History, me: Principal, stranger: Principal, talk: Talk) -> None:
    conversation = (await talk.turn("Hi", "Ho")).conversation
    with pytest.raises(ConversationNotFound):
        await server.claims.take(stranger, conversation, "s_2")
    await server.claims.take(me, conversation, "s_1")
