"""Bodies in chunks: small ones are taken, a body that is all framing is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from engine.api.routes import Answer, HttpRequest, Route
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.connections import Strangers
from engine.http.cors import Cors
from engine.http.guard import LocalGuard
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor
from engine.stats import Stats

HEAD = b"POST /size HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[int, Stats]]:
    async def size(request: HttpRequest[Any, Any]) -> Answer:
        return Answer({"size": len(request.raw)})

    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=Bounds(max_body=4 << 20, max_frame=1 << 10, ping_interval=30.0),
        session=lambda: SessionSettings(version="t"),
        guard=LocalGuard(),
        cors=Cors(()),
    )
    http.routes = RouteTable([("test", Route(method="POST", path="/size", handler=size, scope="chat"))])
    runner, port = await listen(http.application(), "127.0.0.1", 0, Strangers(64, 5.0, supervisor.stats))
    yield port, supervisor.stats
    await supervisor.drain(0)
    await runner.cleanup()


async def ask(port: int, body: bytes) -> tuple[int, Any] | None:
    """The status and the JSON; None where the server closed the connection while the rest of the body was on its way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            writer.write(HEAD + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            told = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
            return int(head.split()[1]), json.loads(told)
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.close()


def chunks(count: int, size: int) -> bytes:
    return (f"{size:x}\r\n".encode() + b"x" * size + b"\r\n") * count


async def test_a_body_of_tiny_chunks_is_refused_before_it_ends(server: tuple[int, Stats]) -> None:
    """What comes with the head, up to 256 KiB, is not counted."""
    port, stats = server
    answer = await ask(port, chunks(60_000, 1))
    assert answer is None or (answer[0], answer[1]["code"]) == (400, "invalid_request")
    assert stats.strangers["chunks_too_small"] == 1


@pytest.mark.parametrize(("count", "size"), [(8_000, 1), (60_000, 16), (30_000, 100), (20, 100_000)])
async def test_few_small_chunks_and_many_larger_ones_are_a_body(
    server: tuple[int, Stats], count: int, size: int
) -> None:
    port, stats = server
    assert await ask(port, chunks(count, size) + b"0\r\n\r\n") == (200, {"size": count * size})
    assert stats.strangers["chunks_too_small"] == 0
