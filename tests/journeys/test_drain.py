"""A server that is told to stop: it says so, lets turns finish, takes no new ones, and leaves in order."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import connected, events_of
from tests.server import RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOING_AWAY = 1001


async def status_of(server: RunningServer, path: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path}") as response:
        return response.status


async def test_turns_finish_new_ones_are_refused_and_the_program_leaves_in_order(
    start: Start, vendor: OpenAIEmulator
) -> None:
    server = start({"server.drain": 20})
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        before = await status_of(server, "/health/ready")
        server.terminate()
        draining = await socket.take("session.draining")
        refused = await socket.ask("chat.send", input="More")
        ready, live = await status_of(server, "/health/ready"), await status_of(server, "/health/live")
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{server.url}/api/v1/chat", json={"input": "More"}) as response:
                problem = await response.json()
                retry_after = response.headers.get("Retry-After")
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await http.ws_connect(f"{server.url}/ws")
        hold.release()
        end = await socket.end_of(heard.stream)
        closed = await socket.gone()
    assert (before, ready, live) == (200, 503, 200)
    assert draining["seconds"] == 20
    assert (refused["type"], refused["error"]["code"], refused["error"]["retryable"]) == (
        "rejected",
        "shutting_down",
        True,
    )
    assert (response.status, problem["code"], retry_after) == (503, "shutting_down", "1")
    assert (heard.text, end["status"], end["saved"]) == ("one two", "completed", True)
    assert (closed, await asyncio.to_thread(server.wait), server.errors) == (GOING_AWAY, 0, [])


async def test_a_turn_that_outlasts_the_drain_is_ended_and_kept(start: Start, vendor: OpenAIEmulator) -> None:
    server = start({"server.drain": 0.2})
    vendor.script.extend(Say(pieces=["one ", Hold(), "two"]) for _ in range(2))
    async with connected(server.url) as socket, aiohttp.ClientSession() as http:
        heard = await socket.chat("Count", key="k1")
        await socket.text_of(heard.stream, "one ")
        async with http.post(
            f"{server.url}/api/v1/chat", json={"input": "Count"}, headers={"Accept": "text/event-stream"}
        ) as response:
            events = events_of(response)
            over_http = [await anext(events), await anext(events)]
            server.terminate()
            over_http += [event async for event in events]
        end = await socket.end_of(heard.stream)
        await socket.gone()
    await vendor.hung_up(2)
    assert (await asyncio.to_thread(server.wait), server.errors) == (0, [])
    server.start()
    async with connected(server.url) as socket:
        again = await socket.chat("Count", key="k1")
        await socket.end_of(again.stream)
    assert (end["status"], end["reason"], end["saved"]) == ("cancelled", "shutdown", True)
    assert (over_http[-1][1]["type"], over_http[-1][1]["reason"]) == ("stream.ended", "shutdown")
    assert (again.text, again.end["reason"]) == ("one ", "shutdown")


async def test_a_second_signal_stops_turns_at_once(start: Start, vendor: OpenAIEmulator) -> None:
    server = start({"server.drain": 60})
    vendor.script.append(Say(pieces=["one ", Hold(), "two"]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        server.terminate()
        await socket.take("session.draining")
        server.terminate()
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["reason"]) == ("cancelled", "shutdown")
    assert await asyncio.to_thread(server.wait) == 0


async def test_an_idle_server_leaves_at_once_and_a_second_one_may_take_its_data(start: Start) -> None:
    server = start({"server.drain": 60})
    async with connected(server.url) as socket:
        server.terminate()
        await socket.take("session.draining")
        assert await socket.gone() == GOING_AWAY
    assert await asyncio.to_thread(server.wait) == 0
    server.start()
    assert await status_of(server, "/health/ready") == 200
