"""A database that two servers share is away for longer than a lease: no living turn is taken for dead behind that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from engine.api.errors import DatabaseUnavailable, StreamElsewhere
from engine.api.identity import LOCAL
from engine.bus.bus import Bus
from engine.bus.stream import Stream
from engine.db.databases import Database, Databases
from engine.db.schema import metadata
from engine.sessions.ledger import Ledger, TurnRecord
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandTable
from tests.databases import MariaDbServer, mariadb_server
from tests.engine.sessions.commands import Dictated, Script, command

__all__ = ("mariadb_server",)

LEASE = timedelta(seconds=4)
SEND = {"input": "hello"}


@dataclass
class Server:
    """One of the processes of the database, whose command says what a test dictates."""

    supervisor: Supervisor
    database: Database
    talk: Dictated

    @property
    def ledger(self) -> Ledger:
        assert self.supervisor.ledger is not None
        return self.supervisor.ledger

    async def checkpointed(self, stream: Stream) -> None:
        """Keep what was said so far."""
        checkpoint = self.ledger.checkpoint([(stream, True)], renew=True)
        assert checkpoint is not None
        await checkpoint

    async def state(self, stream: str) -> TurnRecord | str:
        """What a reader is told who comes to this server: the record of an ended turn, or the code of an error."""
        try:
            found = await self.supervisor.find(LOCAL, stream)
        except (StreamElsewhere, DatabaseUnavailable) as error:
            return error.code
        assert isinstance(found, TurnRecord)
        return found


def created(connection: Connection) -> None:
    with connection.begin():
        metadata.create_all(connection)


@asynccontextmanager
async def server(url: str, name: str) -> AsyncIterator[Server]:
    """A server under a name that tells nobody on which machine it is."""
    databases = Databases({"default": url})
    await databases.open()
    database = databases.database()
    await database.run(created)
    loop, script = asyncio.get_running_loop(), Script()
    script.work = talk = Dictated()
    supervisor = Supervisor(Bus(clock=loop.time), ledger=Ledger(database, name, embedded=False, lease=LEASE))
    supervisor.table = CommandTable([("test", command(script))])
    await supervisor.open()
    try:
        yield Server(supervisor, database, talk)
    finally:
        await supervisor.close()
        await databases.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again until something holds."""
    async with asyncio.timeout(30):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def until_patience_is_over(server: Server) -> None:
    async def over() -> bool:
        return not server.ledger.is_patient

    await until(over)


async def until_lapsed(record: TurnRecord | None) -> None:
    """Wait until the lease that was read has run out by the clock."""

    async def lapsed() -> bool:
        return record is not None and record.lease_until < datetime.now(UTC)

    await until(lapsed)


async def until_told(server: Server, stream: str) -> None:
    """Have a reader ask until the database answers, who must not be told an end."""

    async def answered() -> bool:
        state = await server.state(stream)
        assert isinstance(state, str), state
        return state == "stream_elsewhere"

    await until(answered)


async def told_until_over(server: Server, stream: str) -> tuple[set[str], TurnRecord]:
    """All that a reader is told until a record comes."""
    told: set[str] = set()
    async with asyncio.timeout(60):
        while isinstance(state := await server.state(stream), str):
            told.add(state)
            await asyncio.sleep(0.02)
    return told, state


@asynccontextmanager
async def speaking(owner: Server, other: Server) -> AsyncIterator[Stream]:
    """A turn that speaks on one server, while the other knows that the database answers everybody."""
    stream = await owner.supervisor.start(LOCAL, "chat.send", SEND, key="k")
    assert isinstance(stream, Stream)
    await owner.talk.begun.wait()
    owner.talk.say("Hel")
    await until_patience_is_over(other)
    yield stream


@pytest.mark.parametrize("first", ["reader", "owner"])
async def test_a_turn_that_runs_outlives_a_database_that_was_away(mariadb_server: MariaDbServer, first: str) -> None:
    async with (
        server(mariadb_server.url, "owner") as owner,
        server(mariadb_server.url, "other") as other,
        speaking(owner, other) as stream,
    ):
        record = await other.ledger.by_stream(LOCAL, stream.id)
        mariadb_server.freeze()
        if first == "reader":
            await owner.supervisor.close()  # it renews nothing, until it has been asked for
        await until_lapsed(record)
        mariadb_server.thaw()
        if first == "reader":
            await until_told(other, stream.id)
            await owner.supervisor.open()
        reading = asyncio.create_task(told_until_over(other, stream.id))
        await until_patience_is_over(other)
        assert await other.supervisor.is_open(LOCAL, stream.id) is True
        owner.talk.say("lo")
        owner.talk.over.set()
        ended = await owner.supervisor.reader(stream).ended()
        told, end = await reading
    assert (ended.status, ended.saved) == ("completed", True)
    assert told <= {"stream_elsewhere", "database_unavailable"}
    assert (end.status, end.said.text, end.ended) == ("completed", "Hello", ended)


async def test_a_server_that_died_is_closed_when_the_others_could_have_renewed(mariadb_server: MariaDbServer) -> None:
    async with (
        server(mariadb_server.url, "owner") as owner,
        server(mariadb_server.url, "other") as other,
        speaking(owner, other) as stream,
    ):
        await owner.checkpointed(stream)
        record = await other.ledger.by_stream(LOCAL, stream.id)
        await owner.supervisor.close()
        mariadb_server.freeze()
        await until_lapsed(record)
        mariadb_server.thaw()
        told, end = await told_until_over(other, stream.id)
        assert not other.ledger.is_patient
        assert await other.supervisor.is_open(LOCAL, stream.id) is False
    assert "stream_elsewhere" in told
    assert end.ended is not None
    assert (end.status, end.ended.reason, end.said.text) == ("failed", "owner_lost", "Hel")
