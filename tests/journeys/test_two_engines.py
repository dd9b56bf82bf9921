"""Two servers inside one process: each has its plugins and its turns, with data of its own or with one database for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.databases import mysql_url
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import Heard, Socket, connected
from tests.server import CHAT, behind, engine_inside, serving

__all__ = ("mysql_url",)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def url_of(engine: Engine) -> str:
    return f"http://127.0.0.1:{engine.port}"


@pytest_asyncio.fixture(loop_scope="module")
async def two(tmp_path: Path, shared_vendor: OpenAIEmulator) -> AsyncIterator[tuple[Engine, Engine]]:
    async with AsyncExitStack() as stack:
        engines = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            engines.append(await stack.enter_async_context(engine_inside(folder, CHAT, behind(shared_vendor))))
        yield engines[0], engines[1]


async def test_what_is_said_to_one_stays_there(two: tuple[Engine, Engine], vendor: OpenAIEmulator) -> None:
    one, other = two
    async with connected(url_of(one)) as socket, connected(url_of(other)) as elsewhere, aiohttp.ClientSession() as http:
        heard = await socket.chat("Hi", key="k")
        await socket.end_of(heard.stream)
        refused = await elsewhere.ask("stream.resume", stream=heard.stream)
        again = await elsewhere.chat("Ho", key="k")
        await elsewhere.end_of(again.stream)
        async with http.get(f"{url_of(other)}/api/v1/conversations") as response:
            titles = [conversation["title"] for conversation in (await response.json())["conversations"]]
    assert (refused["error"]["code"], again.text, titles) == ("stream_not_found", "Ho", ["Ho"])


async def test_one_stops_and_the_other_goes_on(two: tuple[Engine, Engine], vendor: OpenAIEmulator) -> None:
    one, other = two
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold, "two"]))
    async with connected(url_of(other)) as socket:
        heard = await socket.chat("Count")
        await socket.text_of(heard.stream, "one ")
        await one.stop(0)
        with pytest.raises(aiohttp.ClientConnectorError):
            async with connected(url_of(one)):
                pass
        hold.release()
        end = await socket.end_of(heard.stream)
    assert (heard.text, end["status"], end["saved"]) == ("one two", "completed", True)


@pytest_asyncio.fixture(loop_scope="module")
async def sharing(
    tmp_path: Path, shared_vendor: OpenAIEmulator, mysql_url: str
) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two servers of one database."""
    shared = {**CHAT, "databases.default": mysql_url, "databases.auto_upgrade": True}
    async with AsyncExitStack() as stack:
        engines = []
        for name in ("one", "other"):
            folder = tmp_path / name
            folder.mkdir()
            engines.append(await stack.enter_async_context(engine_inside(folder, shared, behind(shared_vendor))))
        yield engines[0], engines[1]


async def started(socket: Socket) -> str:
    """A conversation with one turn that is over."""
    first = await socket.chat("Hi")
    await socket.end_of(first.stream)
    return next(str(event["conversation"]) for event in first.events if event["type"] == "message.saved")


async def begun(socket: Socket, vendor: OpenAIEmulator, *pieces: str | Hold) -> tuple[str, Heard]:
    """A conversation with one turn that is over and one that waits at its hold."""
    conversation = await started(socket)
    vendor.script.append(Say(pieces=list(pieces)))
    # With a key, the turn's row is written before it begins.
    running = await socket.chat("Count", conversation=conversation, key=f"count {conversation}")
    await socket.text_of(running.stream, str(pieces[0]))
    return conversation, running


async def test_a_conversation_has_one_turn_at_a_time_on_all_servers(
    sharing: tuple[Engine, Engine], vendor: OpenAIEmulator
) -> None:
    one, other = sharing
    hold = Hold()
    async with connected(url_of(one)) as socket, connected(url_of(other)) as elsewhere, aiohttp.ClientSession() as http:
        conversation, running = await begun(socket, vendor, "one ", hold, "two")
        address = f"{url_of(other)}/api/v1/conversations/{conversation}"
        refused = await elsewhere.ask("chat.send", input="And?", conversation=conversation)
        recorded = await elsewhere.ask(
            "chat.record", conversation=conversation, messages=[{"role": "user", "text": "Hm"}]
        )
        async with http.get(address) as answer:
            shown = await answer.json()
        async with http.delete(address) as answer:
            deleted = answer.status, (await answer.json())["code"]
        hold.release()
        await socket.end_of(running.stream)
        after = await elsewhere.chat("And?", conversation=conversation)
        await elsewhere.end_of(after.stream)
        async with http.get(address) as answer:
            left = await answer.json()
        async with http.delete(address) as answer:
            gone = answer.status
    assert (refused["error"]["code"], recorded["error"]["code"]) == ("conflict", "conflict")
    assert running.stream in refused["error"]["message"]
    assert (shown["running_stream"], left["running_stream"]) == (running.stream, None)
    assert deleted == (409, "conflict")
    assert [message["text"] for message in left["messages"]][2:5] == ["Count", "one two", "And?"]
    assert gone == 204


async def test_of_many_turns_at_once_on_two_servers_one_runs(
    sharing: tuple[Engine, Engine], vendor: OpenAIEmulator
) -> None:
    one, other = sharing
    hold = Hold()
    async with connected(url_of(one)) as socket, connected(url_of(other)) as elsewhere:
        conversation = await started(socket)
        vendor.script.append(Say(pieces=["one ", hold, "two"]))
        answers = await asyncio.gather(
            *(
                each.ask("chat.send", input="Count", conversation=conversation)
                for _ in range(5)
                for each in (socket, elsewhere)
            )
        )
        hold.release()
        (accepted,) = [answer for answer in answers if answer["type"] == "accepted"]
        refused = {answer["error"]["code"] for answer in answers if answer["type"] == "rejected"}
        running = next(each for each in (socket, elsewhere) if accepted["stream"] in each.heard)
        await running.end_of(accepted["stream"])
        messages = await socket.ask("chat.past", conversation=conversation)
    assert refused == {"conflict"}
    assert [message["text"] for message in messages["messages"]][2:] == ["Count", "one two"]


async def test_the_turn_of_a_killed_server_lets_its_conversation_go(
    tmp_path: Path, shared_vendor: OpenAIEmulator, vendor: OpenAIEmulator, mysql_url: str
) -> None:
    shared = {**CHAT, "databases.default": mysql_url, "databases.auto_upgrade": True}
    other = behind(shared_vendor)
    with serving(tmp_path / "killed", shared, other) as killed, serving(tmp_path / "other", shared, other) as server:
        async with connected(server.url) as elsewhere, connected(killed.url) as socket:
            conversation, _ = await begun(socket, vendor, "one ", Hold())
            killed.kill()
            after = await elsewhere.chat("And?", conversation=conversation)
            end = await elsewhere.end_of(after.stream)
            past = await elsewhere.ask("chat.past", conversation=conversation)
    assert (end["status"], end["saved"]) == ("completed", True)
    # What the killed server had said stands before what was asked next, if it was checkpointed.
    said = [message["text"] for message in past["messages"] if message["text"] != "one "]
    assert said == ["Hi", "Hi", "Count", "And?", "And?"]
