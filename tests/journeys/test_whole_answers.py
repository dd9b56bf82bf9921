"""A whole JSON answer is 200 only where the turn was completed, whatever it had said before it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = [{"role": "user", "content": "Hi"}]
DOORS: Mapping[str, dict[str, Any]] = {
    "/api/v1/chat": {"input": "Hi"},
    "/v1/chat/completions": {"model": "openai/gpt-test", "messages": HELLO},
    "/v1/responses": {"model": "openai/gpt-test", "input": "Hi"},
    "/v1/messages": {"model": "openai/gpt-test", "max_tokens": 50, "messages": HELLO},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    settings = {**CHAT, "models.total_timeout": 1.0}
    async with engine_inside(tmp_path_factory.mktemp("whole"), settings, behind(shared_vendor)) as engine:
        await post(engine, "/api/v1/chat")  # the first one loads what the others find loaded
        yield engine


async def post(engine: Engine, door: str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
        http.post(door, json=DOORS[door], headers=headers) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


def error_of(body: Any) -> Any:
    return body.get("error", body)


@pytest.mark.parametrize("door", DOORS)
async def test_a_vendor_that_cuts_its_answer_is_502_with_what_it_had_said(
    engine: Engine, vendor: OpenAIEmulator, door: str
) -> None:
    vendor.script.append(Fault.cut(after=3, say=Say(pieces=["one ", "two ", "three ", "four"])))
    status, body, headers = await post(engine, door)
    assert status == 502
    assert error_of(body)["partial"]["text"].startswith("one ")
    assert headers["X-Stream-Id"].startswith("s_")


@pytest.mark.parametrize("door", DOORS)
async def test_a_vendor_that_falls_silent_in_its_answer_is_504(
    engine: Engine, vendor: OpenAIEmulator, door: str
) -> None:
    vendor.script.append(Say(pieces=["one ", Hold()]))
    status, body, _ = await post(engine, door)
    assert (status, error_of(body)["partial"]) == (504, {"text": "one "})


@pytest.mark.parametrize("door", DOORS)
async def test_a_turn_that_is_cancelled_is_409(engine: Engine, vendor: OpenAIEmulator, door: str) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["one ", hold]))
    asked = asyncio.create_task(post(engine, door))
    await hold.reached()
    (stream,) = engine.bus.running()
    await engine.supervisor.cancel(stream.principal, stream.id)
    status, body, _ = await asked
    assert (status, error_of(body)["partial"]) == (409, {"text": "one "})


@pytest.mark.parametrize("door", DOORS)
async def test_a_failure_before_the_first_word_has_no_partial(
    engine: Engine, vendor: OpenAIEmulator, door: str
) -> None:
    vendor.script.append(Fault.because("rate_limit"))
    status, body, _ = await post(engine, door)
    assert (status, "partial" in error_of(body)) == (429, False)


async def test_the_same_key_gets_the_same_failure_again(engine: Engine, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Fault.cut(after=3, say=Say(pieces=["one ", "two ", "three ", "four"])))
    first = await post(engine, "/api/v1/chat", **{"Idempotency-Key": "again"})
    second = await post(engine, "/api/v1/chat", **{"Idempotency-Key": "again"})
    for body in (first[1], second[1]):
        body.pop("request")
    assert first[:2] == second[:2]
    assert len(vendor.requests) == 1


async def test_a_completed_answer_says_that_it_is_saved(engine: Engine, vendor: OpenAIEmulator) -> None:
    status, body, _ = await post(engine, "/api/v1/chat")
    assert (status, body["status"], body["saved"]) == (200, "completed", True)
