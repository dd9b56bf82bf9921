"""The chat client against a server that is cut, drains, forgets and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.api.events import Event, MessageSaved, StreamEnded, StreamStarted, TextDelta
from engine.wire.control import Accepted
from plugins.chat.terminal.backoff import Backoff
from plugins.chat.terminal.client import ChatClient
from plugins.chat.terminal.errors import GaveUp, NoServer, Refused
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost, Resumed
from tests.plugins.chat.terminal.server import Peer, ScriptedServer

SOON = Backoff(first=0.001, most=0.01, patience=10.0)


def said(events: list[ClientEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def notices(events: list[ClientEvent]) -> list[ClientEvent]:
    return [event for event in events if isinstance(event, (Accepted, ConnectionLost, Resumed))]


def ends(events: list[ClientEvent]) -> list[str]:
    return [event.status for event in events if isinstance(event, StreamEnded)]


async def whole_turn(url: str, key: str | None = None, **fields: Any) -> list[ClientEvent]:
    async with ChatClient(url, key, backoff=SOON) as client:
        return [event async for event in client.send("hi", **fields)]


async def hello(peer: Peer) -> None:
    """Answer one turn."""
    command = await peer.get("chat.send")
    await peer.accept(command)
    await peer.event(1, "stream.started", model="parrot")
    await peer.text("Hel", "lo", n=2)
    await peer.event(4, "message.saved", conversation="v_1", message="m_2")
    await peer.end(5)


async def begin_and_cut(peer: Peer) -> None:
    """Say "Hel" up to number 2, then tear the connection."""
    await peer.accept(await peer.get("chat.send"))
    await peer.event(1, "stream.started")
    await peer.text("Hel", n=2)
    peer.cut()


async def test_a_turn_is_told_event_by_event_up_to_its_end() -> None:
    async with ScriptedServer(hello) as server:
        events = await whole_turn(server.url)
    assert [event for event in events if isinstance(event, Event)] == [
        StreamStarted(model="parrot"),
        TextDelta("Hel"),
        TextDelta("lo"),
        MessageSaved(conversation="v_1", message="m_2"),
        events[-1],
    ]
    assert ends(events) == ["completed"]


async def test_a_message_carries_what_was_chosen_and_leaves_out_what_was_not() -> None:
    sent: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        sent.append(command := await peer.get("chat.send"))
        await peer.accept(command)
        await peer.end(1)

    async with ScriptedServer(script) as server:
        await whole_turn(server.url, model="parrot", conversation="v_1")
    (command,) = sent
    assert command.pop("key")
    assert command == {"type": "chat.send", "id": "t1", "input": "hi", "model": "parrot", "conversation": "v_1"}


async def test_the_key_goes_with_the_handshake() -> None:
    seen: list[str | None] = []

    async def script(peer: Peer) -> None:
        seen.append(peer.headers.get("Authorization"))
        await hello(peer)

    async with ScriptedServer(script) as server:
        await whole_turn(server.url, "bai_secret")
    assert seen == ["Bearer bai_secret"]


async def test_a_turn_that_is_cut_goes_on_behind_the_last_event_seen() -> None:
    async def back(peer: Peer) -> None:
        command = await peer.get("stream.resume")
        assert (command["stream"], command["after"]) == ("s_1", 2)
        await peer.accept(command, recovered=True)
        await peer.text("lo", n=3)
        await peer.end(4)

    async with ScriptedServer(begin_and_cut, back) as server:
        events = await whole_turn(server.url)
    assert said(events) == "Hello"
    assert notices(events)[1:] == [ConnectionLost(), Resumed(stream="s_1", after=2, recovered=True)]
    assert ends(events) == ["completed"]


async def test_a_turn_that_is_cut_before_it_was_accepted_is_sent_again_under_its_key() -> None:
    sent: list[dict[str, Any]] = []

    async def cut(peer: Peer) -> None:
        sent.append(await peer.get("chat.send"))
        peer.cut()

    async def answer(peer: Peer) -> None:
        sent.append(command := await peer.get("chat.send"))
        await peer.accept(command)
        await peer.text("Hello", n=1)
        await peer.end(2)

    async with ScriptedServer(cut, cut, answer) as server:
        events = await whole_turn(server.url)
    assert len({command["key"] for command in sent}) == 1
    assert said(events) == "Hello"
    assert [type(notice) for notice in notices(events)] == [ConnectionLost, Accepted]


async def test_what_is_sent_twice_after_a_resume_is_told_once() -> None:
    async def back(peer: Peer) -> None:
        await peer.accept(await peer.get("stream.resume"), recovered=True)
        await peer.event(1, "stream.started")
        await peer.text("Hel", "lo", n=2)
        await peer.end(4)

    async with ScriptedServer(begin_and_cut, back) as server:
        assert said(await whole_turn(server.url)) == "Hello"


async def test_a_snapshot_fills_in_what_the_server_no_longer_holds() -> None:
    async def back(peer: Peer) -> None:
        await peer.accept(await peer.get("stream.resume"), recovered=False)
        await peer.say(type="stream.snapshot", stream="s_1", n=8, text="Hello the", tool_calls=[])
        await peer.text("re", n=9)
        await peer.end(10)

    async with ScriptedServer(begin_and_cut, back) as server:
        events = await whole_turn(server.url)
    assert said(events) == "Hello there"
    assert Resumed(stream="s_1", after=2, recovered=False) in events


async def test_a_detached_stream_is_resumed_on_the_same_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.say(type="stream.detached", stream="s_1", last=1)
        command = await peer.get("stream.resume")
        assert command["after"] == 1
        await peer.accept(command, recovered=True)
        await peer.text("lo", n=2)
        await peer.end(3)

    async with ScriptedServer(script) as server:
        events = await whole_turn(server.url)
    assert said(events) == "Hello"
    assert ConnectionLost() not in events


async def test_a_connection_that_leaves_out_an_event_again_and_again_is_replaced() -> None:
    async def gappy(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.text("!", n=3)
        await peer.accept(await peer.get("stream.resume"), recovered=True)
        await peer.text("!", n=3)

    async def whole(peer: Peer) -> None:
        await peer.accept(await peer.get("stream.resume"), recovered=True)
        await peer.text("lo", "!", n=2)
        await peer.end(4)

    async with ScriptedServer(gappy, whole) as server:
        assert said(await whole_turn(server.url)) == "Hello!"


async def test_a_draining_server_tells_the_running_turn_to_its_end_and_gets_no_other() -> None:
    async def drains(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.say(type="session.draining", seconds=10)
        await peer.text("lo", n=2)
        await peer.end(3)

    async with ScriptedServer(drains, hello) as server, ChatClient(server.url, backoff=SOON) as client:
        for _ in range(2):
            events = [event async for event in client.send("hi")]
            assert said(events) == "Hello"
            assert ConnectionLost() not in events


async def test_a_detached_turn_of_a_draining_server_is_resumed_where_it_runs() -> None:
    async def drains(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.say(type="session.draining", seconds=10)
        await peer.say(type="stream.detached", stream="s_1", last=1)
        await peer.accept(await peer.get("stream.resume"), recovered=True)
        await peer.text("lo", n=2)
        await peer.end(3)

    async with ScriptedServer(drains) as server:
        events = await whole_turn(server.url)
    assert said(events) == "Hello"
    assert ConnectionLost() not in events


async def test_a_turn_of_a_draining_server_that_closes_goes_on_at_the_next() -> None:
    async def drains(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.say(type="session.draining", seconds=0)
        await peer.close(1001)

    async def back(peer: Peer) -> None:
        command = await peer.get("stream.resume")
        assert command["after"] == 1
        await peer.accept(command, recovered=True)
        await peer.text("lo", n=2)
        await peer.end(3)

    async with ScriptedServer(drains, back) as server:
        assert said(await whole_turn(server.url)) == "Hello"


async def test_a_turn_that_a_draining_server_refuses_is_sent_to_the_next_under_its_key() -> None:
    keys: list[str] = []

    async def refuses(peer: Peer) -> None:
        command = await peer.get("chat.send")
        keys.append(command["key"])
        await peer.reject(command, "shutting_down", retryable=True)

    async def answers(peer: Peer) -> None:
        command = await peer.get("chat.send")
        keys.append(command["key"])
        await peer.accept(command)
        await peer.text("Hello", n=1)
        await peer.end(2)

    async with ScriptedServer(refuses, answers) as server:
        assert said(await whole_turn(server.url)) == "Hello"
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_connection_lost_between_turns_is_replaced_without_a_word() -> None:
    left = asyncio.Event()

    async def answers_and_leaves(peer: Peer) -> None:
        await hello(peer)
        await peer.close(1001)
        left.set()

    async with ScriptedServer(answers_and_leaves, hello) as server, ChatClient(server.url, backoff=SOON) as client:
        first = [event async for event in client.send("hi")]
        await left.wait()
        second = [event async for event in client.send("hi")]
    assert said(first) == said(second) == "Hello"
    assert ConnectionLost() not in second


async def test_two_turns_share_one_connection() -> None:
    async def both(peer: Peer) -> None:
        await hello(peer)
        await hello(peer)

    async with ScriptedServer(both) as server, ChatClient(server.url, backoff=SOON) as client:
        for _ in range(2):
            assert said([event async for event in client.send("hi")]) == "Hello"


async def test_a_refused_turn_leaves_the_connection_to_the_next() -> None:
    async def script(peer: Peer) -> None:
        await peer.reject(await peer.get("chat.send"), "model_not_found", field="model")
        await hello(peer)

    async with ScriptedServer(script) as server, ChatClient(server.url, backoff=SOON) as client:
        with pytest.raises(Refused) as refused:
            await anext(client.send("hi", model="nix"))
        assert refused.value.body.code == "model_not_found"
        assert said([event async for event in client.send("hi")]) == "Hello"


async def test_a_tool_call_is_answered_so_that_the_model_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.event(1, "tool.call", call_id="k1", name="weather", arguments="{}", client=True)
        answer = await peer.get("tool.result")
        assert (answer["stream"], answer["call_id"], answer["error"]) == ("s_1", "k1", True)
        await peer.text("I cannot look.", n=2)
        await peer.end(3)

    async with ScriptedServer(script) as server:
        assert said(await whole_turn(server.url)) == "I cannot look."


@pytest.fixture
async def cancellable() -> AsyncIterator[ScriptedServer]:
    async def script(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        command = await peer.get("stream.cancel")
        assert command["stream"] == "s_1"
        await peer.accept(command)
        await peer.end(2, status="cancelled", reason="client_cancel")

    async with ScriptedServer(script) as server:
        yield server


async def test_a_cancelled_turn_ends_with_the_servers_word_for_it(cancellable: ScriptedServer) -> None:
    async with ChatClient(cancellable.url, backoff=SOON) as client:
        events: list[ClientEvent] = []
        async for event in client.send("hi"):
            events.append(event)
            if isinstance(event, TextDelta):
                assert await client.cancel()
    assert ends(events) == ["cancelled"]


async def test_a_cancel_is_repeated_after_a_cut() -> None:
    async def loses_the_cancel(peer: Peer) -> None:
        await peer.accept(await peer.get("chat.send"))
        await peer.text("Hel", n=1)
        await peer.get("stream.cancel")
        peer.cut()

    async def back(peer: Peer) -> None:
        await peer.accept(await peer.get("stream.resume"), recovered=True)
        await peer.accept(await peer.get("stream.cancel"))
        await peer.end(2, status="cancelled", reason="client_cancel")

    async with ScriptedServer(loses_the_cancel, back) as server, ChatClient(server.url, backoff=SOON) as client:
        events: list[ClientEvent] = []
        async for event in client.send("hi"):
            events.append(event)
            if isinstance(event, TextDelta):
                await client.cancel()
    assert ends(events) == ["cancelled"]


async def test_a_cancel_without_a_turn_has_nobody_to_ask() -> None:
    async with ScriptedServer() as server, ChatClient(server.url) as client:
        assert not await client.cancel()


async def test_where_no_server_is_the_client_says_so_at_once() -> None:
    async with ScriptedServer() as server:
        url = server.url
    with pytest.raises(
        NoServer,
        match=r"no server at ws://127.0.0.1:\d+/ws; start one with `betterai serve`, or name another address with --server",
    ):
        await whole_turn(url)


async def test_a_server_that_does_not_come_back_is_given_up() -> None:
    soon_enough = Backoff(first=0.001, most=0.002, patience=0.02)
    async with ScriptedServer(begin_and_cut) as server, ChatClient(server.url, backoff=soon_enough) as client:
        with pytest.raises(GaveUp):
            [event async for event in client.send("hi")]


@pytest.mark.parametrize(("status", "code"), [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found")])
async def test_a_refused_handshake_is_told_and_not_tried_again(status: int, code: str) -> None:
    async with ScriptedServer(status=status) as server:
        with pytest.raises(Refused) as refused:
            await whole_turn(server.url, "bai_secret")
    assert refused.value.body.code == code
    assert "bai_secret" not in refused.value.body.message


async def test_a_server_that_opens_no_session_without_a_key_is_said_to_want_one() -> None:
    async with ScriptedServer(Peer.gone, greets=False) as server, ChatClient(server.url, ready_within=0.05) as client:
        with pytest.raises(Refused, match="--key or set BETTERAI_KEY"):
            await client.connect()


async def test_a_refusal_in_the_place_of_a_session_is_told() -> None:
    async def refuses(peer: Peer) -> None:
        error = {"code": "unauthenticated", "message": "no such key", "retryable": False}
        await peer.say(type="rejected", error=error)

    async with ScriptedServer(refuses, greets=False) as server, ChatClient(server.url, "bai_k") as client:
        with pytest.raises(Refused, match="no such key"):
            await client.connect()


@pytest.mark.parametrize(("close", "code"), [(4401, "unauthenticated"), (1009, "too_large")])
async def test_a_close_with_a_reason_is_told_and_not_tried_again(close: int, code: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.get("chat.send")
        await peer.close(close)

    async with ScriptedServer(script) as server:
        with pytest.raises(Refused) as refused:
            await whole_turn(server.url)
    assert refused.value.body.code == code


def test_pauses_grow_up_to_a_cap_and_are_never_the_same_for_everybody() -> None:
    backoff = Backoff(first=1.0, most=8.0)
    assert all(0.5 <= backoff.delay(0) <= 1.0 for _ in range(100))
    assert all(4.0 <= backoff.delay(1000) <= 8.0 for _ in range(100))
    assert len({backoff.delay(3) for _ in range(100)}) > 1
