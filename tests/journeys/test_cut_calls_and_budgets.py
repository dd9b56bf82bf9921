"""A vendor bills whatever it was asked for, also what nobody saw of it: no way to break a call off gets past a budget."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from engine.main import Engine
from engine.sessions.budget_rows import Budget, set_budget
from tests.journeys.client import connected
from tests.server import CHAT, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUDGET = 60_000
CALLS = 40
SETTINGS = {
    **CHAT,
    "auth.mode": "keys",
    "auth.secret": "s" * 40,
    "models.retries": 1,
    "models.first_event_timeout": 0.2,
    "models.idle_timeout": 0.2,
}
PLANS = ("told", "untold", "thinks", "stalls", "words", "cut", "broken", "refused", "overloaded", "late")
HOLDS = ("thinks", "stalls", "words")
DOORS = ("native", "socket", "/v1/chat/completions", "/v1/responses", "/v1/messages")


class BillingVendor:
    """OpenAI's Chat Completions that follow a plan for each request, and bill the whole bound whatever was shown."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.billed = self.open = 0
        self.plans: list[str] = []
        self.reached, self.idle = asyncio.Event(), asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.idle.clear()
        try:
            return await self._answer(request, await request.json())
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()

    async def _answer(self, request: web.Request, body: Any) -> web.StreamResponse:
        plan = self.chance.choice(PLANS)
        self.plans.append(plan)
        if plan in ("refused", "overloaded"):
            raise web.HTTPTooManyRequests if plan == "refused" else web.HTTPServiceUnavailable
        # Letters that make no words have a token for two, more than a quarter of their number.
        sent = sum(len(json.dumps(message["content"])) for message in body["messages"]) // 2
        said = body.get("max_completion_tokens") or body["max_tokens"]
        self.billed += sent + said
        if plan == "late":
            raise web.HTTPGatewayTimeout
        if plan == "broken":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if plan == "stalls":
            await self._hold()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await self._write(response, {"role": "assistant", "content": ""})
        if plan == "thinks":
            await self._hold()
        await self._write(response, {"content": "Hello you"})
        if plan == "words":
            await self._hold()
        if plan == "cut":
            assert request.transport is not None
            request.transport.close()
            return response
        await self._write(response, {}, "stop")
        if plan == "told":
            usage = {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}
            await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _hold(self) -> None:
        """Wait until the client has left."""
        self.reached.set()
        await asyncio.Event().wait()

    async def _write(self, response: web.StreamResponse, delta: Any, finish: str | None = None) -> None:
        await response.write(_event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))


def _event(chunk: dict[str, Any]) -> bytes:
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **chunk}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


@dataclass(frozen=True)
class Bounded:
    """A server whose vendor bills, and a caller with a budget."""

    engine: Engine
    vendor: BillingVendor
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.engine.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def call(self, http: aiohttp.ClientSession, door: str, text: str, stays: bool) -> None:
        """One call over a door; where its vendor holds still, the client leaves, unless it stays for the deadline."""
        self.vendor.reached.clear()
        asking = asyncio.create_task(self._socket(text, stays) if door == "socket" else self._http(http, door, text))
        holding = asyncio.create_task(self.vendor.reached.wait())
        await asyncio.wait({asking, holding}, return_when=asyncio.FIRST_COMPLETED)
        if not stays and door != "socket":
            asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        holding.cancel()
        await self.vendor.idle.wait()

    async def _http(self, http: aiohttp.ClientSession, door: str, text: str) -> None:
        chance = self.vendor.chance
        messages = [{"role": "user", "content": text}]
        body: dict[str, Any] = {"model": "openai/gpt-6-sol", "stream": chance.random() < 0.5}
        bound = chance.choice((100, 2000))
        match door:
            case "native":
                del body["stream"]
                body |= {"input": text, "max_output_tokens": bound}
            case "/v1/responses":
                body |= {"input": text, "max_output_tokens": bound}
            case "/v1/messages":
                body |= {"messages": messages, "max_tokens": bound}
            case _:
                body |= {"messages": messages}  # without a bound of its own
        path = "/api/v1/chat" if door == "native" else door
        async with http.post(path, json=body) as response:
            await response.read()

    async def _socket(self, text: str, stays: bool) -> None:
        async with connected(self.url, headers=self.headers) as socket:
            answer = await socket.ask("chat.send", input=text, model="openai/gpt-6-sol", max_output_tokens=2000)
            if answer["type"] == "rejected":
                return
            ended = asyncio.create_task(socket.end_of(answer["stream"]))
            holding = asyncio.create_task(self.vendor.reached.wait())
            await asyncio.wait({ended, holding}, return_when=asyncio.FIRST_COMPLETED)
            holding.cancel()
            if not stays and not ended.done():
                await socket.send("stream.cancel", stream=answer["stream"])
            await ended


@pytest_asyncio.fixture(loop_scope="module", params=range(3))
async def bounded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bounded]:
    vendor = BillingVendor(random.Random(request.param))
    vendor.idle.set()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    environ = {
        "OPENAI_API_KEY": "sk-test-0123456789",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
    }
    try:
        async with engine_inside(tmp_path, SETTINGS, environ) as engine:
            await set_budget(engine.databases.database(), Budget("principal:ann", "day", "tokens", Decimal(BUDGET)))
            assert engine.keys is not None
            key, *_ = await engine.keys.create("ann", "test", ("*",))
            yield Bounded(engine, vendor, key)
    finally:
        await runner.cleanup()


async def test_a_vendor_never_bills_more_than_the_budget(bounded: Bounded) -> None:
    chance, vendor = bounded.vendor.chance, bounded.vendor
    async with aiohttp.ClientSession(bounded.url, headers=bounded.headers) as http:
        for _ in range(CALLS):
            text = "".join(chance.choice("qxzjkvwp") for _ in range(chance.choice((20, 2000))))
            await bounded.call(http, chance.choice(DOORS), text, stays=chance.random() < 0.3)
        async with http.get("/api/v1/budgets") as response:
            [budget] = (await response.json())["budgets"]
    assert vendor.billed <= budget["spent"] <= BUDGET
    assert budget["reserved"] == 0
    assert vendor.billed > BUDGET / 4, "calls are made as long as something is left"
    assert set(vendor.plans) >= {*HOLDS[:2], "told"}
