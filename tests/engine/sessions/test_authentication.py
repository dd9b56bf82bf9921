"""A session whose handshake carried no key waits for one in its first frame."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.api.errors import DatabaseUnavailable, LimitExceeded, Unauthenticated
from engine.api.identity import Principal
from engine.sessions.actor import Drain
from engine.testing.session import SessionKit
from tests.engine.sessions.commands import Script, command

ANN = Principal("ann")


async def authenticate(key: str) -> Principal:
    match key:
        case "bai_good":
            return ANN
        case "bai_away":
            raise DatabaseUnavailable("the database is away")
        case "bai_often":
            raise LimitExceeded("too many wrong keys", retry_after=30)
    raise Unauthenticated("this key is unknown or revoked")


def door(script: Script) -> SessionKit:
    return SessionKit(command(script), principal=None, authenticate=authenticate)


async def test_a_good_key_opens_the_session(script: Script) -> None:
    async with door(script) as kit:
        await kit.send({"type": "session.authenticate", "id": "a", "key": "bai_good"})
        await kit.frame(type="session.ready")
        assert [frame["type"] for frame in kit.frames] == ["accepted", "session.ready"]
        assert kit.frames[0]["re"] == "a"
        stream = await kit.start({"type": "chat.send"})
        assert kit.supervisor.bus.find(stream, ANN).principal == ANN


async def test_nothing_is_said_before_the_key(script: Script) -> None:
    async with door(script) as kit:
        await asyncio.sleep(9)
        assert not kit.frames
        await kit.send({"type": "session.authenticate", "key": "bai_good"})
        await kit.frame(type="session.ready")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ({"type": "session.authenticate", "key": "bai_wrong"}, "unknown or revoked"),
        ({"type": "session.authenticate"}, "first frame of a session is session.authenticate"),
        ({"type": "session.authenticate", "key": 7}, "key"),
        ({"type": "chat.send", "input": "hello"}, "first frame of a session is session.authenticate"),
        ("not json", "not JSON"),
        (b"\0" * 16, "first frame of a session is session.authenticate"),
    ],
)
async def test_anything_else_closes_the_socket(script: Script, first: Any, words: str) -> None:
    async with door(script) as kit:
        await kit.send(first)
        code, reason = await kit.closed()
        (refusal,) = kit.frames
        assert (code, refusal["error"]["code"]) == (4401, "unauthenticated")
        assert words in refusal["error"]["message"]
        assert len(reason.encode()) <= 123
        assert script.prepares == 0


async def test_a_refusal_echoes_the_id(script: Script) -> None:
    async with door(script) as kit:
        await kit.send({"type": "session.authenticate", "id": "a", "key": "bai_wrong"})
        await kit.closed()
        assert kit.frames[0]["re"] == "a"


async def test_no_key_in_time_closes_the_socket(script: Script) -> None:
    async with door(script) as kit:
        assert await kit.closed() == (4401, "no session.authenticate came in time")
        assert asyncio.get_running_loop().time() == pytest.approx(10)


@pytest.mark.parametrize(("key", "code"), [("bai_away", "database_unavailable"), ("bai_often", "limit_exceeded")])
async def test_what_may_pass_says_nothing_about_the_key(script: Script, key: str, code: str) -> None:
    async with door(script) as kit:
        await kit.send({"type": "session.authenticate", "key": key})
        assert (await kit.closed())[0] == 1013
        assert (kit.frames[0]["error"]["code"], kit.frames[0]["error"]["retryable"]) == (code, True)


async def test_a_connection_that_leaves_without_a_key_is_over(script: Script) -> None:
    async with door(script) as kit:
        await kit.hang_up()
        assert (kit.frames, kit.peer.closed) == ([], None)


async def test_a_drain_in_the_meantime_refuses_no_key(script: Script) -> None:
    async with door(script) as kit:
        await kit.session.post(Drain(5.0))
        await kit.send({"type": "session.authenticate", "key": "bai_good"})
        await kit.frame(type="session.ready")
        assert [frame["type"] for frame in kit.frames] == ["session.draining", "session.ready"]


async def test_where_nobody_needs_a_key_any_is_taken(script: Script) -> None:
    async with SessionKit(command(script)) as kit:
        await kit.send({"type": "session.authenticate", "id": "a", "key": "whatever"})
        assert (await kit.frame(type="accepted"))["re"] == "a"


async def test_a_session_does_not_change_hands(script: Script) -> None:
    async with door(script) as kit:
        await kit.send({"type": "session.authenticate", "key": "bai_good"})
        await kit.frame(type="session.ready")
        await kit.send({"type": "session.authenticate", "id": "b", "key": "bai_good"})
        assert "authenticated already" in (await kit.frame(type="rejected"))["error"]["message"]
