"""The chat client on the engine's own sessions, over a wire that is cut again and again."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from engine.api.commands import Body, Command, Request, Serve
from engine.api.errors import ModelNotFound
from engine.api.events import StreamEnded, TextDelta
from engine.api.streams import Writer
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandTable
from plugins.chat.terminal.backoff import Backoff
from plugins.chat.terminal.client import ChatClient
from plugins.chat.terminal.errors import Refused
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost

SOON = Backoff(first=0.001, most=0.004, patience=10.0)
WORDS = [f"word{number} " for number in range(200)]


class Ask(Body):
    """The part of chat.send that these turns use."""

    allowed: ClassVar[str] = "parrot"

    input: str
    model: str = "parrot"


class Talker:
    """Says its words one loop turn after another; counts how often it was started."""

    def __init__(self) -> None:
        self.started = 0
        self.silence = asyncio.Event()

    async def prepare(self, request: Request[Ask]) -> Serve:
        if request.body.model != Ask.allowed:
            raise ModelNotFound("there is only a parrot", field="model")
        return Serve(serve=self.hold if request.body.input == "hold" else self.talk, model="parrot")

    async def talk(self, stream: Writer) -> None:
        self.started += 1
        for word in WORDS:
            stream.text(word)
            await asyncio.sleep(0)

    async def hold(self, stream: Writer) -> None:
        stream.text("Once")
        await self.silence.wait()


@pytest.fixture
def talker() -> Talker:
    return Talker()


@pytest.fixture
async def port(talker: Talker) -> AsyncIterator[int]:
    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    supervisor.table = CommandTable([("chat", Command(name="chat.send", body=Ask, prepare=talker.prepare))])
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=Bounds(max_body=1 << 20, max_frame=1 << 20, ping_interval=30.0),
        session=lambda: SessionSettings(version="0"),
        guard=None,
        cors=Cors(),
    )
    runner, port = await listen(http.application(), "127.0.0.1", 0)
    try:
        yield port
    finally:
        await http.sockets.close()
        await runner.cleanup()


@asynccontextmanager
async def cutting_wire(port: int, chance: random.Random) -> AsyncIterator[str]:
    """Passes bytes on to a port, and tears every connection after a random number of them; gives the address."""
    pumps: set[asyncio.Task[None]] = set()
    # The first connection gets as far as its session: a server that was never met is not waited for.
    budgets = itertools.chain([chance.randrange(500, 4000)], iter(lambda: chance.randrange(150, 6000), None))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: float) -> None:
        while budget > 0 and (data := await reader.read(min(200, int(min(budget, 200)) + 1))):
            budget -= len(data)
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        both = {asyncio.create_task(pump(reader, up_writer, float("inf")))}
        both.add(asyncio.create_task(pump(up_reader, writer, next(budgets))))
        pumps.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        writer.transport.abort()
        up_writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
    finally:
        server.close()
        for task in pumps:
            task.cancel()
        await server.wait_closed()


@pytest.mark.parametrize("seed", range(20))
async def test_a_turn_over_a_wire_that_is_cut_at_random_runs_once_and_loses_nothing(
    port: int, talker: Talker, seed: int
) -> None:
    async with cutting_wire(port, random.Random(seed)) as url, ChatClient(url, backoff=SOON) as client:
        events: list[ClientEvent] = [event async for event in client.send("hi")]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "".join(WORDS)
    assert [event.status for event in events if isinstance(event, StreamEnded)] == ["completed"]
    assert ConnectionLost() in events
    assert talker.started == 1


async def test_a_cancel_reaches_the_turn(port: int) -> None:
    async with ChatClient(f"ws://127.0.0.1:{port}/ws", backoff=SOON) as client:
        events: list[ClientEvent] = []
        async for event in client.send("hold"):
            events.append(event)
            if isinstance(event, TextDelta):
                assert await client.cancel()
    assert isinstance(events[-1], StreamEnded)
    assert (events[-1].status, events[-1].reason) == ("cancelled", "client_cancel")
    assert ConnectionLost() not in events


async def test_what_the_engine_refuses_is_told_in_its_words(port: int) -> None:
    async with ChatClient(f"ws://127.0.0.1:{port}/ws", backoff=SOON) as client:
        with pytest.raises(Refused, match="only a parrot"):
            await anext(client.send("hi", model="owl"))
