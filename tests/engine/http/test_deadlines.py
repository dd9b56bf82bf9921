"""The deadline of a head ends with the head: a body, a handler and an answer take as long as they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.api.routes import Answer, FileAnswer, HttpRequest, Route
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.connections import Strangers
from engine.http.cors import Cors
from engine.http.guard import LocalGuard
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor

HEAD_TIMEOUT = 0.1
HALF_A_HEAD = b"GET /whole HTTP/1.1\r\nX: "
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--b--\r\n'


class Slow:
    """A server whose handlers take longer than the deadline of a head."""

    def __init__(self) -> None:
        self.port = 0
        self.begun = asyncio.Event()
        self.handled = 0

    async def longer_than_a_head(self) -> None:
        """Return when a half head that was sent just now has been cut."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(HALF_A_HEAD)
            assert await reader.read() == b""
        finally:
            writer.close()

    async def whole(self, request: HttpRequest[Any, Any]) -> Answer:
        self.handled += 1
        self.begun.set()
        await self.longer_than_a_head()
        return Answer(b"done", content_type="text/plain")

    async def upload(self, request: HttpRequest[Any, Any]) -> Answer:
        assert request.upload is not None
        with request.upload.file:
            return await self.whole(request)

    async def streamed(self, request: HttpRequest[Any, Any]) -> FileAnswer:
        async def pieces(start: int, stop: int) -> AsyncIterator[bytes]:
            yield b"do"
            await self.longer_than_a_head()
            yield b"ne"

        return FileAnswer(size=4, read=pieces, etag='"1"')

    async def ask(self, *requests: bytes) -> list[bytes]:
        """The first four bytes of each answer's body, on one connection, each asked for after the answer before."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return [await self._answer(reader, writer, request) for request in requests]
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
        writer.write(request)
        await reader.readuntil(b"\r\n\r\n")
        return await reader.readexactly(4)


@pytest_asyncio.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Slow]:
    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=Bounds(max_body=8 << 20, max_frame=1 << 10, ping_interval=30.0),
        session=lambda: SessionSettings(version="t"),
        guard=LocalGuard(),
        cors=Cors(()),
    )
    slow = Slow()
    routes = [
        Route(method="POST", path="/whole", handler=slow.whole, scope="chat"),
        Route(method="POST", path="/streamed", handler=slow.streamed, scope="chat"),
        Route(method="POST", path="/upload", handler=slow.upload, scope="chat", upload="file"),
    ]
    http.routes = RouteTable([("test", route) for route in routes])
    runner, slow.port = await listen(http.application(), "127.0.0.1", 0, Strangers(64, HEAD_TIMEOUT, supervisor.stats))
    yield slow
    await supervisor.drain(0)
    await runner.cleanup()


def post(path: str, body: bytes) -> bytes:
    """A request, as a form where its path is that of an upload."""
    kind = "application/octet-stream"
    if path == "/upload":
        kind, body = "multipart/form-data; boundary=b", FORM % body
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("path", ["/whole", "/streamed", "/upload"])
@pytest.mark.parametrize("size", [300 << 10, 4 << 20])
async def test_a_large_body_is_answered_by_a_handler_that_takes_longer_than_a_head_may(
    slow: Slow, path: str, size: int
) -> None:
    """Five connections: which piece of a body is read at which moment is up to the loop. Each asks twice."""
    request = post(path, b"x" * size)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*[slow.ask(request, request) for _ in range(5)])
    assert answers == [[b"done", b"done"]] * 5


async def test_pipelined_requests_with_bodies_are_all_answered(slow: Slow) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    writer.write(post("/whole", b"x" * (300 << 10)) * 3)
    async with asyncio.timeout(30):
        for _ in range(3):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(4) == b"done"
    writer.close()


async def test_what_a_client_pipelined_is_not_handled_once_it_has_left(slow: Slow) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    writer.write(post("/whole", b"") * 20)
    async with asyncio.timeout(30):
        await slow.begun.wait()
        writer.close()
        await slow.longer_than_a_head()
        await slow.longer_than_a_head()
    assert slow.handled == 1


async def test_the_rest_of_a_body_whose_answer_is_over_starts_no_deadline(slow: Slow) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    first, second = post("/nowhere", b"xx"), post("/whole", b"")
    async with asyncio.timeout(30):
        writer.write(first[:-1])
        length = (await reader.readuntil(b"\r\n\r\n")).lower().partition(b"content-length: ")[2].split()[0]
        await reader.readexactly(int(length))
        writer.write(first[-1:])
        await slow.longer_than_a_head()
        writer.write(second)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_half_a_head_after_an_answer_is_cut(slow: Slow) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    async with asyncio.timeout(30):
        writer.write(post("/whole", b"x" * (300 << 10)))
        await reader.readuntil(b"done")
        writer.write(HALF_A_HEAD)
        assert await reader.read() == b""
    writer.close()
