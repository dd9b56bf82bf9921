"""A database that cannot be written at a turn's end: the client is told, and what was said is written down later."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TypeAlias

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import Frame, connected
from tests.server import RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAVED_WITHIN = 20.0

Trouble: TypeAlias = Callable[[RunningServer], AbstractContextManager[None]]


@contextmanager
def locked(server: RunningServer) -> Iterator[None]:
    """Inside, somebody else holds the write lock of the database, as a backup program may."""
    with closing(sqlite3.connect(server.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def disk_full(server: RunningServer) -> Iterator[None]:
    """Inside, no file of the server's process can be written, whatever its size."""
    before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)


async def get(server: RunningServer, path: str) -> Frame:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path}") as response:
        assert response.status == 200, await response.text()
        body: Frame = await response.json()
        return body


async def answer_saved(server: RunningServer) -> Frame:
    """Wait until the only conversation holds its answer; gives that."""
    async with asyncio.timeout(SAVED_WITHIN):
        while True:
            (found,) = (await get(server, "/api/v1/conversations"))["conversations"]
            messages = (await get(server, f"/api/v1/conversations/{found['id']}"))["messages"]
            if len(messages) == 2:
                answer: Frame = messages[1]
                return answer
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("trouble", [locked, disk_full])
async def test_an_end_that_cannot_be_written_is_told_as_unsaved_and_written_later(
    start: Start, vendor: OpenAIEmulator, trouble: Trouble
) -> None:
    server = start()
    hold = Hold()
    vendor.script.append(Say(pieces=["Said ", hold, "all the same."]))
    async with connected(server.url) as socket:
        heard = await socket.chat("Hi", key="k1")
        await socket.text_of(heard.stream, "Said ")
        with trouble(server):
            hold.release()
            end = await socket.end_of(heard.stream)
            async with connected(server.url) as other:
                again = await other.chat("Hi", key="k1")
                await other.end_of(again.stream)
        saved = await answer_saved(server)
        async with connected(server.url) as other:
            later = await other.chat("Hi", key="k1")
            await other.end_of(later.stream)
        state = await get(server, f"/api/v1/streams/{heard.stream}")
    assert (heard.text, end["status"], end["saved"]) == ("Said all the same.", "completed", False)
    assert "message.saved" not in heard.kinds
    assert (again.stream, again.end) == (heard.stream, end)
    assert (later.stream, later.text, later.end and later.end["saved"]) == (heard.stream, heard.text, True)
    assert [event["message"] for event in later.events if event["type"] == "message.saved"] == [saved["id"]]
    assert state["ended"]["saved"] is True
    assert (saved["text"], saved["status"]) == ("Said all the same.", "completed")
    assert len(vendor.requests) == 1


async def test_a_turn_with_a_key_is_not_begun_while_its_row_cannot_be_written(
    start: Start, vendor: OpenAIEmulator
) -> None:
    server = start()
    async with connected(server.url) as socket:
        with locked(server):
            refused = await socket.ask("chat.send", input="Hi", key="k1")
        heard = await socket.chat("Hi", key="k1")
        end = await socket.end_of(heard.stream)
    assert (refused["type"], refused["error"]["code"], refused["error"]["retryable"]) == (
        "rejected",
        "database_unavailable",
        True,
    )
    assert (end["status"], end["saved"]) == ("completed", True)
    assert len(vendor.requests) == 1


async def test_a_turn_without_a_key_does_not_wait_for_the_database_to_speak(
    start: Start, vendor: OpenAIEmulator
) -> None:
    server = start()
    async with connected(server.url) as socket:
        with locked(server):
            heard = await socket.chat("Speak")
            await socket.text_of(heard.stream, "Speak")
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["saved"]) == ("completed", True)
    assert (await answer_saved(server))["text"] == "Speak"
