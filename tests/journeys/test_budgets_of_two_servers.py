"""Two servers of one database hold one budget together, for embeddings and calls as well, also when one of them is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.databases import mysql_url
from tests.emulators.base import RecordedRequest
from tests.emulators.openai_realtime import Answers, OpenAIRealtimeEmulator
from tests.emulators.reply import Hold
from tests.journeys.caller import Caller
from tests.journeys.client import connected
from tests.server import RunningServer, Start

__all__ = ("mysql_url",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBEDDING = "openai/text-embedding-3-small"
SPEAKING = "openai/gpt-realtime-2.1"


class Vendor(OpenAIRealtimeEmulator):
    """OpenAI, which answers for embeddings once `hold` is released."""

    def __init__(self) -> None:
        super().__init__()
        self.hold: Hold | None = None

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        if record.path == "/v1/embeddings" and self.hold is not None:
            await self.hold.wait()
        return await super().answer(record, request)


@pytest_asyncio.fixture(loop_scope="module")
async def openai() -> AsyncIterator[Vendor]:
    async with Vendor() as emulator:
        yield emulator


@pytest.fixture
def servers(start: Start, openai: Vendor, mysql_url: str) -> tuple[RunningServer, RunningServer]:
    settings = {
        "databases.default": mysql_url,
        "databases.auto_upgrade": True,
        "plugins.enabled": ["chat", "realtime", "openai_api"],
        "vendors.openai.base_url": openai.base_url,
    }
    return start(settings), start(settings)


async def budget_of(server: RunningServer) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/api/v1/budgets") as answer:
        [told] = (await answer.json())["budgets"]
        return dict(told)


async def until(server: RunningServer, field: str, least: int = 1) -> dict[str, Any]:
    """The budget once so much of it is reserved or spent."""
    async with asyncio.timeout(30):
        while True:
            if (told := await budget_of(server))[field] >= least:
                return told
            await asyncio.sleep(0.05)


async def embed(server: RunningServer, text: str) -> int:
    """The status of a request for an embedding."""
    body = {"model": EMBEDDING, "input": text}
    async with aiohttp.ClientSession() as http, http.post(f"{server.url}/v1/embeddings", json=body) as answer:
        await answer.read()
        return answer.status


async def test_embeddings_on_two_servers_at_once_never_pass_a_budget_and_a_kill_loses_none(
    servers: tuple[RunningServer, RunningServer], openai: Vendor
) -> None:
    one, two = servers
    one.run("budgets", "set", "principal:local", "--day-tokens", "100")
    text = "9" * 30
    found = await asyncio.gather(*(embed(server, text) for server in servers * 10))
    told = await budget_of(two)
    assert set(found) <= {200, 429}
    assert told["reserved"] == 0
    assert 0 < told["spent"] <= 100
    assert told["spent"] == found.count(200)
    openai.hold = Hold()
    asking = asyncio.create_task(embed(one, text))
    reserved = await until(two, "reserved")
    one.kill()
    await asyncio.gather(asking, return_exceptions=True)
    openai.hold.release()
    openai.hold = None
    after = await until(two, "spent", int(reserved["spent"]) + 1)
    assert after["spent"] == reserved["spent"] + reserved["reserved"]
    assert after["reserved"] == 0
    await asyncio.to_thread(one.start)
    assert await budget_of(one) == after


def _answered(caller: Caller, times: int) -> bool:
    return len(caller.told("turn.assistant_ended")) >= times


async def test_a_call_on_a_server_that_is_killed_counts_with_all_that_it_put_aside(
    servers: tuple[RunningServer, RunningServer], openai: Vendor
) -> None:
    one, two = servers
    one.run("budgets", "set", "principal:local", "--day-tokens", "20000")
    before = (await budget_of(two))["spent"]
    openai.answers.extend([Answers("In the harbour.")] * 3)
    async with connected(one.url) as socket:
        accepted = await socket.ask("realtime.start", model=SPEAKING, modalities=["text"], store=False)
        caller = Caller(socket, accepted)
        for times in range(1, 4):
            await caller.do("text", text="Where is the boat?")
            await caller.do("answer")
            await socket.until(partial(_answered, caller, times), "an answer")
        await until(two, "reserved", 3 * 140)
        one.kill()
    after = await until(two, "spent", int(before) + 3 * 140)
    assert 3 * 140 <= after["spent"] - before < 20_000
    assert after["reserved"] == 0
    async with connected(two.url) as socket:
        refused = await socket.ask(
            "chat.send", model="openai/gpt-6.2-sol", input="Hi", max_output_tokens=19_000, store=False
        )
        ended = refused if refused["type"] == "rejected" else await socket.end_of(refused["stream"])
    assert ended["error"]["code"] == "budget_exceeded"
