"""WebSockets that plugins serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from engine.api import InvalidRequest
from engine.api.identity import KeyLimits
from engine.api.routes import HttpRequest, Route, Upgrade, WebSocket
from engine.auth.identity import Identity, KeyIdentity, LocalIdentity
from engine.auth.keys import ApiKeys
from engine.auth.limits import SocketCount
from engine.auth.rates import Rates
from engine.bus.bus import Bus
from engine.db.databases import Database
from engine.db.migrations import upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.http.guard import LocalGuard
from engine.http.openapi import openapi
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor
from engine.wire.apart import LARGE
from tests.databases import database, database_url, mysql_url

__all__ = ("database", "database_url", "mysql_url")


async def echo(socket: WebSocket) -> None:
    while (message := await socket.receive()) is not None:
        if message == "crash":
            raise RuntimeError("on fire")
        await socket.send(message)


async def open_echo(request: HttpRequest[Any, Any]) -> Upgrade:
    if "x-refuse" in request.headers:
        raise InvalidRequest("not like this")
    return Upgrade(echo, protocols=("echo",))


PAGE = "https://app.example"


@pytest.fixture
async def keys(database: Database) -> ApiKeys:
    await upgrade(database, [ENGINE_HISTORY])
    return ApiKeys(database, b"a secret for the tests")


ROUTE = Route(method="GET", path="/v1/echo", handler=open_echo, socket=True, summary="Says it back.")


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@asynccontextmanager
async def serving(
    bound: int | None = None,
    *,
    identity: Identity | None = None,
    rates: Rates | None = None,
    guard: LocalGuard | None = None,
    max_frame: int = 1 << 10,
    large: Callable[[int], None] | None = None,
) -> AsyncIterator[tuple[Http, aiohttp.ClientSession]]:
    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    http = Http(
        supervisor,
        identity or LocalIdentity(),
        bounds=Bounds(max_body=1 << 20, max_frame=max_frame, ping_interval=30.0),
        session=lambda: SessionSettings(version="test"),
        guard=guard,
        cors=Cors((PAGE,)),
        admit_socket=SocketCount(bound).admit,
        rates=rates,
        large=large,
    )
    http.routes = RouteTable([("echo", ROUTE)])
    runner, port = await listen(http.application(), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield http, client
    finally:
        await http.route_sockets.close()
        await supervisor.drain(0)
        await runner.cleanup()


async def test_a_message_reaches_the_plugin_and_its_answer_the_client() -> None:
    async with serving() as (http, client), client.ws_connect("/v1/echo", protocols=("echo", "other")) as socket:
        await socket.send_str("Hello")
        await socket.send_bytes(b"\x00\x01")
        assert (await socket.receive_str(), await socket.receive_bytes()) == ("Hello", b"\x00\x01")
        assert (socket.protocol, len(http.route_sockets)) == ("echo", 1)


@pytest.mark.parametrize(("path", "answers"), [("/v1/echo", 4), ("/ws", 1 + 4)])
async def test_large_frames_are_told_by_their_size_and_small_ones_are_not(path: str, answers: int) -> None:
    told: list[int] = []
    async with serving(max_frame=1 << 20, large=told.append) as (_, client), client.ws_connect(path) as socket:
        for size in (100, LARGE, LARGE + 1, 3 * LARGE):
            await socket.send_str("x" * size)
        for _ in range(answers):
            await socket.receive_str()
    assert told == [LARGE + 1, 3 * LARGE]


async def test_without_an_upgrade_it_is_an_http_error() -> None:
    async with serving() as (_, client), client.get("/v1/echo") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (426, "upgrade_required")
        assert answer.headers["Upgrade"] == "websocket"


async def test_what_the_handler_refuses_is_an_http_error_before_the_upgrade() -> None:
    async with serving() as (_, client):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/echo", headers={"X-Refuse": "1"})
    assert refused.value.status == 400


async def test_a_principal_holds_so_many_sockets_and_no_more() -> None:
    async with serving(bound=1) as (_, client):
        async with client.ws_connect("/v1/echo"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect("/v1/echo")
            assert refused.value.status == 429
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect("/v1/echo", headers={"X-Refuse": "1"})
        assert refused.value.status == 400


async def test_the_handshake_tells_what_it_is_known_by_and_what_is_left_of_the_rates() -> None:
    headers = {**UPGRADE, "X-Request-Id": "mine"}
    async with serving(rates=Rates(KeyLimits(requests_per_minute=1))) as (_, client):
        async with client.get("/v1/echo", headers=headers) as opened:
            told = (opened.status, opened.headers["X-Request-Id"], opened.headers["x-ratelimit-remaining-requests"])
        async with client.get("/v1/echo", headers=headers) as refused:
            problem = await refused.json()
    assert told == (101, "mine", "0")
    assert (refused.status, problem["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert int(refused.headers["Retry-After"]) > 0


async def test_a_page_is_let_in_by_its_origin_as_with_every_request() -> None:
    async with serving(guard=LocalGuard(origins=(PAGE,))) as (http, client):
        async with client.ws_connect("/v1/echo", headers={"Origin": PAGE}) as socket:
            await socket.send_str("Hello")
            assert await socket.receive_str() == "Hello"
        async with client.get("/v1/echo", headers={**UPGRADE, "Origin": "https://evil.example"}) as refused:
            problem = await refused.json()
        assert (refused.status, problem["error"]["code"], len(http.route_sockets)) == (403, "forbidden", 0)
        async with client.get("/v1/echo", headers={"Origin": PAGE}) as plain:
            assert plain.headers["Access-Control-Allow-Origin"] == PAGE


async def test_a_page_shows_its_key_as_a_subprotocol_that_is_not_agreed_on(keys: ApiKeys) -> None:
    key, _ = await keys.create("alice", "page", scopes=("chat",))
    wrong, _ = await keys.create("alice", "page", scopes=("notes",))
    async with serving(identity=KeyIdentity(keys)) as (_, client):
        async with client.ws_connect("/v1/echo", protocols=(f"openai-insecure-api-key.{key}", "echo")) as socket:
            assert socket.protocol == "echo"
        for shown, status in (("bai_wrong", 401), (wrong, 403)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect("/v1/echo", protocols=("echo", f"openai-insecure-api-key.{shown}"))
            assert refused.value.status == status


async def test_a_key_that_is_withdrawn_closes_its_socket_with_4401(keys: ApiKeys) -> None:
    key, info = await keys.create("alice", "page")
    async with (
        serving(identity=KeyIdentity(keys)) as (_, client),
        client.ws_connect("/v1/echo", headers={"Authorization": f"Bearer {key}"}) as socket,
    ):
        await socket.send_str("Hello")
        assert await socket.receive_str() == "Hello"
        await keys.revoke(info.id)
        await socket.send_str("Hello?")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
        assert "revoked" in str(message.extra)


async def test_a_crash_closes_the_socket_by_name() -> None:
    async with serving() as (_, client), client.ws_connect("/v1/echo") as socket:
        await socket.send_str("crash")
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)


async def test_a_message_that_is_much_too_long_closes_the_socket() -> None:
    async with serving() as (_, client), client.ws_connect("/v1/echo") as socket:
        await socket.send_str("x" * 5_000)
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_the_end_of_the_server_closes_it_with_1001() -> None:
    async with serving() as (http, client), client.ws_connect("/v1/echo") as socket:
        await socket.send_str("Hello")
        await socket.receive_str()
        closing = asyncio.create_task(http.route_sockets.close())
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await closing


def test_the_document_tells_of_the_upgrade() -> None:
    responses = openapi([ROUTE], version="1")["paths"]["/v1/echo"]["get"]["responses"]
    assert "101" in responses and "426" in responses and "200" not in responses
