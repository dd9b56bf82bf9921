"""A process that is killed in the middle of a turn: what it had said is kept, and nothing runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from engine.db.schema import turn_parts, turns
from tests.databases import mysql_url
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import Frame, Heard, connected, events_of
from tests.server import CHAT, RunningServer, behind, serving

__all__ = ("mysql_url",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAID = "The river begins in the hills "
QUESTION = "Tell me of a river"
KEY = "k-killed"
UNKEPT_KEY = "k-killed-unkept"
CHECKPOINTED_WITHIN = 5.0


class Kept:
    """A server with its database, which the test can look into."""

    def __init__(self, server: RunningServer, url: str) -> None:
        self.server = server
        self._url = url
        self._shared = not url.startswith("sqlite")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        engine = create_async_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as connection:
                yield connection
        finally:
            await engine.dispose()

    async def checkpointed(self, stream: str, text: str) -> None:
        """Wait until the database holds so much of the turn's text; a checkpoint is due each second."""
        of_stream = select(turn_parts.c.said).where(turn_parts.c.stream == stream).order_by(turn_parts.c.part)
        async with asyncio.timeout(CHECKPOINTED_WITHIN), self.connection() as connection:
            while True:
                parts = (await connection.execute(of_stream)).scalars().all()
                if "".join(part["text"] for part in parts) == text:
                    return
                await asyncio.sleep(0.05)

    async def lease_over(self) -> None:
        """Let the lease of the dead process run out, where several processes share a database.

        The embedded one has no other process, so there nobody waits for it.
        """
        if self._shared:
            async with self.connection() as connection:
                past = datetime.now(UTC) - timedelta(seconds=1)
                await connection.execute(update(turns).values(lease_until=past))


@dataclass(frozen=True)
class Killed:
    """A server that was killed while two turns ran, and started again: one turn was to be kept, one was not."""

    kept: Kept
    turn: Heard
    unkept: Heard

    @property
    def server(self) -> RunningServer:
        return self.kept.server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "mariadb"])
async def killed(
    request: pytest.FixtureRequest, shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Killed]:
    """The same story once on each kind of database."""
    own: dict[str, Any] = {}
    if request.param == "mariadb":
        own = {"databases.default": request.getfixturevalue("mysql_url"), "databases.auto_upgrade": True}
    with serving(tmp_path_factory.mktemp("killed"), {**CHAT, **own}, behind(shared_vendor)) as server:
        kept = Kept(server, own.get("databases.default", f"sqlite+aiosqlite:///{server.database}"))
        shared_vendor.otherwise = lambda _: Say(pieces=[SAID, Hold(), "and never ends"])
        turn, unkept = await killed_in_mid_turn(kept)
        shared_vendor.otherwise = lambda _: Say("It ends in the sea.")
        yield Killed(kept, turn, unkept)


async def killed_in_mid_turn(kept: Kept) -> tuple[Heard, Heard]:
    """Start two turns, kill the server once a checkpoint has what was said, and start it again."""
    async with connected(kept.server.url) as socket:
        unkept = await socket.chat(QUESTION, key=UNKEPT_KEY, store=False)
        await socket.text_of(unkept.stream, SAID)
        turn = await socket.chat(QUESTION, key=KEY)
        await socket.text_of(turn.stream, SAID)
        await kept.checkpointed(turn.stream, SAID)
        kept.server.kill()
        await socket.gone()
    await kept.lease_over()
    kept.server.start()
    return turn, unkept


async def get(server: RunningServer, path: str) -> Frame:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path}") as response:
        assert response.status == 200, await response.text()
        body: Frame = await response.json()
        return body


async def conversation_of(killed: Killed) -> Frame:
    """The only conversation that there is."""
    (found,) = (await get(killed.server, "/api/v1/conversations"))["conversations"]
    return await get(killed.server, f"/api/v1/conversations/{found['id']}")


async def test_the_conversation_shows_what_was_said_until_the_kill_and_says_how_it_ended(killed: Killed) -> None:
    conversation = await conversation_of(killed)
    asked, answer = conversation["messages"]
    assert (asked["role"], asked["text"]) == ("user", QUESTION)
    assert (answer["role"], answer["text"], answer["status"]) == ("assistant", SAID, "failed")
    assert (answer["error"]["code"], answer["error"]["retryable"]) == ("owner_lost", True)
    assert answer["usage"]["estimated"] is True
    assert conversation["running_stream"] is None


async def test_the_key_of_a_killed_turn_does_not_run_it_again(killed: Killed, vendor: OpenAIEmulator) -> None:
    async with connected(killed.server.url) as socket:
        again = await socket.chat(QUESTION, key=KEY)
        end = await socket.end_of(again.stream)
        other = await socket.ask("chat.send", input="Tell me of the sea", key=KEY)
    assert (again.stream, again.text) == (killed.turn.stream, SAID)
    assert (end["status"], end["reason"], end["error"]["code"]) == ("failed", "owner_lost", "owner_lost")
    assert other["error"]["code"] == "idempotency_conflict"
    assert vendor.requests == []


async def test_a_watcher_of_a_killed_turn_gets_its_text_and_its_end_once(killed: Killed) -> None:
    heard = deepcopy(killed.turn)
    async with connected(killed.server.url, {heard.stream: heard}) as socket:
        answer = await socket.ask("stream.resume", stream=heard.stream, after=heard.last)
        end = await socket.end_of(heard.stream)
        await socket.ask("stream.resume", stream=heard.stream, after=heard.last)
        await socket.ask("ping")
        beyond = await socket.ask("stream.resume", stream=heard.stream, after=heard.last + 1)
    assert (answer["recovered"], heard.text, len(heard.snapshots)) == (False, SAID, 1)
    assert (end["status"], end["reason"]) == ("failed", "owner_lost")
    assert (beyond["error"]["code"], beyond["error"]["field"]) == ("invalid_request", "after")


async def test_a_browser_that_reconnects_to_a_killed_turn_is_told_its_end_once(killed: Killed) -> None:
    heard = deepcopy(killed.turn)
    address = f"{killed.server.url}/api/v1/streams/{heard.stream}/events"
    async with aiohttp.ClientSession() as http:
        async with http.get(address, headers={"Last-Event-ID": str(heard.last)}) as response:
            async for _, frame in events_of(response):
                heard.hear(frame)
        async with http.get(address, headers={"Last-Event-ID": str(heard.last)}) as response:
            assert response.status == 204
    state = await get(killed.server, f"/api/v1/streams/{heard.stream}")
    assert (heard.text, heard.end["reason"]) == (SAID, "owner_lost")
    assert (state["status"], state["text"], state["ended"]["reason"]) == ("failed", SAID, "owner_lost")


async def test_a_killed_turn_that_was_not_to_be_kept_leaves_no_content(killed: Killed, vendor: OpenAIEmulator) -> None:
    async with connected(killed.server.url) as socket:
        again = await socket.chat(QUESTION, key=UNKEPT_KEY, store=False)
        end = await socket.end_of(again.stream)
    async with killed.kept.connection() as connection:
        row = (await connection.execute(select(turns).where(turns.c.stream == again.stream))).mappings().one()
    assert (again.stream, again.text, end["reason"]) == (killed.unkept.stream, "", "owner_lost")
    assert "river" not in str(dict(row))
    assert vendor.requests == []


async def test_the_conversation_of_a_killed_turn_can_go_on(killed: Killed, vendor: OpenAIEmulator) -> None:
    conversation = await conversation_of(killed)
    async with connected(killed.server.url) as socket:
        heard = await socket.chat("Go on", conversation=conversation["id"])
        await socket.end_of(heard.stream)
    assert [m["content"] for m in vendor.requests[-1].body["messages"]] == [QUESTION, SAID, "Go on"]
    assert heard.text == "It ends in the sea."
