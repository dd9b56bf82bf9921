"""What strangers can hold and send: heads that never end, junk, addresses of others, odd handshakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web

from engine.api.routes import Answer, HttpRequest, Route
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.connections import PIECE, Connection, Strangers
from engine.http.cors import Cors
from engine.http.guard import LocalGuard
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor
from engine.stats import Stats

HOST = b"Host: 127.0.0.1\r\n"
HANDSHAKE = HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
SECRET = b"bai_hunter2"


class Door:
    """A server that nobody knows yet, and what it counted."""

    def __init__(self, port: int, stats: Stats, strangers: Strangers) -> None:
        self.port = port
        self.stats = stats
        self.strangers = strangers

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer to these bytes, on a connection of their own."""
        reader, writer = await self.send(data)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(lengths[0].partition(b":")[2])) if lengths else b""
            return int(head.split()[1]), body
        finally:
            writer.close()


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    async def hello(request: HttpRequest[Any, Any]) -> Answer:
        return Answer({"hello": request.principal.id})

    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    bounds = Bounds(max_body=1 << 20, max_frame=1 << 10, ping_interval=30.0, body_timeout=0.2)
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=bounds,
        session=lambda: SessionSettings(version="t"),
        guard=LocalGuard(),
        cors=Cors(()),
    )
    route = Route(method="POST", path="/hello", handler=hello, scope="chat")
    public = Route(method="GET", path="/open", handler=hello, scope=None)
    http.routes = RouteTable([("test", route), ("test", public)])
    strangers = Strangers(3, 0.3, supervisor.stats)
    runner, port = await listen(http.application(), "127.0.0.1", 0, strangers)
    yield Door(port, supervisor.stats, strangers)
    await supervisor.drain(0)
    await runner.cleanup()


async def test_a_head_that_does_not_end_is_given_up(door: Door) -> None:
    reader, writer = await door.send(b"GET /open HTTP/1.1\r\nX: ")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert door.stats.strangers["head_too_slow"] == 1


async def test_strangers_do_not_keep_others_out(door: Door) -> None:
    held = [await door.send(b"GET /open HTTP/1.1\r\nX: ") for _ in range(10)]
    status, _ = await door.ask(b"GET /open HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 200
    assert door.stats.strangers["stranger_dropped"] >= 7
    for _, writer in held:
        writer.close()


MALFORMED = [
    (b" GARBAGE " + SECRET + b"\r\n\r\n", 400),
    (b" HTTP/1.1\r\n" + HOST + b"Authorization: Bearer\r\n " + SECRET + b"\r\n\r\n", 400),
    (b" HTTP/1.1\r\n" + HOST + b"X: " + SECRET + b"x" * 9000 + b"\r\n\r\n", 431),
    (b" HTTP/1.1\r\n" + HOST + SECRET * 1000 + b": x\r\n\r\n", 431),
    (b"/" + SECRET + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b" HTTP/1.1\r\n" + HOST + b"Content-Length: " + SECRET + b"\r\n\r\n", 400),
    (b" HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: " + SECRET + b"\r\n\r\n", 400),
    (b" HTTP/1.1\r\n" + HOST + b"Expect: " + SECRET + b"\r\n\r\n", 417),
]
CODES = {400: "invalid_request", 414: "too_large", 417: "invalid_request", 431: "too_large"}


@pytest.mark.parametrize(("rest", "status"), MALFORMED)
async def test_what_is_no_http_is_answered_in_our_form_and_not_repeated(
    door: Door, rest: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given, body = await door.ask(b"GET /open" + rest)
    told = json.loads(body)
    assert (given, told["code"], told["status"]) == (status, CODES[status], status)
    assert SECRET not in body
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert SECRET.decode() not in printed.out + printed.err
    assert door.stats.strangers["malformed_request"] == (status != 417)


@pytest.mark.parametrize(("rest", "status"), MALFORMED)
@pytest.mark.parametrize("address", [b"/v1/chat/completions", b"http://127.0.0.1/v1/responses", b"/v1/nowhere?x=1"])
async def test_what_is_no_http_has_the_form_of_the_address_that_it_asks(
    door: Door, address: bytes, rest: bytes, status: int
) -> None:
    given, body = await door.ask(b"POST " + address + rest)
    told = json.loads(body)["error"]
    assert (given, told["code"], told["type"]) == (status, CODES[status], "invalid_request_error")
    assert SECRET not in body


@pytest.mark.parametrize(("rest", "status"), MALFORMED)
async def test_it_is_anthropics_at_an_address_of_anthropic(door: Door, rest: bytes, status: int) -> None:
    given, body = await door.ask(b"POST /v1/messages" + rest)
    told = json.loads(body)
    assert (given, told["type"], told["error"]["code"]) == (status, "error", CODES[status])
    assert SECRET not in body


async def test_a_head_that_comes_in_pieces_or_after_another_request_has_its_own_address(door: Door) -> None:
    reader, writer = await door.send(b"GET /open HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readuntil(b"}")
    for piece in (b"PO", b"ST /v1/em", b"beddings HTTP/1.1\r\nX: "):
        writer.write(piece)
        await writer.drain()
        # The server has read it when it has answered somebody else.
        await door.ask(b"GET /open HTTP/1.1\r\n" + HOST + b"\r\n")
    writer.write(b"x" * 9000 + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head.split()[1], json.loads(body)["error"]["code"]) == (b"431", "too_large")


@pytest.mark.parametrize("request_bytes", [b"GARBAGE " + SECRET + b"\r\n\r\n", b"\x16\x03\x01" + SECRET + b"\r\n\r\n"])
async def test_what_asks_no_address_is_answered_in_our_own_form(door: Door, request_bytes: bytes) -> None:
    status, body = await door.ask(request_bytes)
    told = json.loads(body)
    assert (status, told["code"], told["status"]) == (400, "invalid_request", 400)
    assert SECRET not in body
    assert door.stats.strangers["malformed_request"] == 1


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (b"GET /ws", HANDSHAKE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bad\r\n", 400),
        (b"GET /ws", HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n", 400),
        (b"GET /ws", HANDSHAKE + b"Sec-WebSocket-Version: 99\r\n" + KEY, 426),
        (b"POST /ws", HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n" + KEY, 405),
        (b"GET http://evil.com/open", HOST, 403),
        (b"GET http://user@evil.com:80/open?x=1", HOST, 403),
        (b"GET http://127.0.0.1/open", HOST, 200),
        (b"POST /hello", HOST + b"Content-Encoding: br\r\nContent-Length: 1\r\n", 415),
        (b"POST /hello", HOST + b"Content-Length: 5\r\n", 408),
    ],
)
async def test_odd_requests_have_their_own_status(door: Door, line: bytes, headers: bytes, status: int) -> None:
    answer, body = await door.ask(line + b" HTTP/1.1\r\n" + headers + b"\r\n")
    assert answer == status
    if status != 200:
        assert json.loads(body)["status"] == status


class Frames:
    """Takes what is to be parsed as frames."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.pieces.append(data)
        return False, b""

    def feed_eof(self) -> None:
        return


class Line(asyncio.Transport):
    """A transport that notes whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = True

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True

    def close(self) -> None:
        return

    def is_closing(self) -> bool:
        return False


async def test_a_large_read_of_a_socket_is_parsed_over_many_turns_and_no_more_is_read_meanwhile() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    loop, frames, line = asyncio.get_running_loop(), Frames(), Line()
    connection = Connection(web.Server(answer), strangers=Strangers(8, 1.0, Stats()), loop=loop)
    connection.connection_made(line)
    connection._upgraded = True  # as after a handshake
    connection.set_parser(cast("Any", frames))
    read = bytes(range(256)) * (3 * PIECE // 256) + b"end"
    connection.data_received(read)
    assert (len(frames.pieces), line.read) == (1, False)
    await asyncio.sleep(0)
    connection.pause_reading()
    assert (len(frames.pieces), line.read) == (2, False)
    await asyncio.sleep(0)
    assert len(frames.pieces) == 2
    connection.resume_reading()
    assert not line.read
    connection.data_received(b"more")
    for _ in range(3):
        await asyncio.sleep(0)
    assert b"".join(frames.pieces) == read + b"more"
    assert max(map(len, frames.pieces)) == PIECE
    assert line.read
    connection.data_received(b"small")
    assert frames.pieces[-1] == b"small"
    connection.connection_lost(None)


async def test_a_message_in_frames_of_one_byte_comes_whole(door: Door) -> None:
    reader, writer = await door.send(
        b"GET /ws HTTP/1.1\r\n" + HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n" + KEY + b"\r\n"
    )
    await reader.readuntil(b"session.ready")
    text = b'{"type": "ping", "id": "one"}'
    mask = b"\x81\0\0\0\0"
    nothing = b"\x00\x80\0\0\0\0" * 1_000
    middle = b"".join(b"\x00" + mask + text[at : at + 1] + nothing for at in range(1, len(text) - 1))
    assert len(middle) > 8 * PIECE
    writer.write(b"\x01" + mask + text[:1] + middle + b"\x80" + mask + text[-1:])
    answered = await asyncio.wait_for(reader.readuntil(b"one"), 20)
    assert b'"re"' in answered
    writer.close()
