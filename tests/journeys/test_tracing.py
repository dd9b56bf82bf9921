"""One trace leads from a request or a frame through the turn to the vendor, and carries nothing of what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from engine.config import ConfigErrors, load
from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.otlp import OtlpReceiver, ReceivedSpan
from tests.emulators.reply import Fault, Say, Usage
from tests.journeys.client import connected
from tests.server import CHAT, MODEL, behind, engine_inside

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
WORDS = "a boat named Marie"


class Traced:
    """A server that sends its traces to a receiver of the test's own."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, receiver: OtlpReceiver) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.engine = engine
        self.vendor = vendor
        self.receiver = receiver

    async def spans(self, count: int) -> dict[str, ReceivedSpan]:
        """The spans by name, once so many have come; what waits is sent at once."""
        await self.engine.tracing.close()
        await self.receiver.until(lambda spans: len(spans) >= count)
        return {span.name: span for span in self.receiver.spans}


@pytest_asyncio.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    async with OpenAIEmulator() as vendor, OtlpReceiver() as receiver:
        settings = {**CHAT, "tracing.endpoint": receiver.url, "models.retries": 0}
        async with engine_inside(tmp_path, settings, behind(vendor)) as engine:
            yield Traced(engine, vendor, receiver)


async def test_a_request_its_turn_and_the_vendors_call_are_one_trace(traced: Traced) -> None:
    traced.vendor.script.append(Say("Hello you", usage=Usage(12, 5)))
    async with (
        aiohttp.ClientSession(headers={"traceparent": TRACEPARENT}) as http,
        http.post(f"{traced.url}/api/v1/chat", json={"input": WORDS, "model": MODEL}) as answer,
    ):
        stream = answer.headers["X-Stream-Id"]
        assert answer.status == 200
    spans = await traced.spans(3)
    request, turn, call = spans["POST /api/v1/chat"], spans["chat.send"], spans[f"chat {MODEL}"]
    assert {span.trace for span in spans.values()} == {TRACE}
    assert (request.parent, turn.parent, call.parent) == (PARENT, request.id, turn.id)
    assert traced.vendor.requests[0].headers["traceparent"] == f"00-{TRACE}-{call.id}-01"
    assert turn.attributes["betterai.stream"] == stream
    assert turn.attributes["gen_ai.usage.input_tokens"] == 12
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert request.attributes["http.response.status_code"] == 200
    assert traced.receiver.services == {"betterai"}
    assert not [span for span in spans.values() if span.failed]
    assert WORDS not in repr(spans) and "Hello" not in repr(spans)


async def test_a_frame_may_name_the_trace_that_it_belongs_to(traced: Traced) -> None:
    async with connected(traced.url) as socket:
        heard = await socket.chat("Hi", model=MODEL, traceparent=TRACEPARENT)
        await socket.end_of(heard.stream)
        other = await socket.chat("Hi again", model=MODEL)
        await socket.end_of(other.stream)
        strange = await socket.chat("Once more", model=MODEL, traceparent="not-a-trace")
        assert (await socket.end_of(strange.stream))["status"] == "completed"
    await traced.spans(6)
    turns = [span for span in traced.receiver.spans if span.name == "chat.send"]
    assert [(span.trace == TRACE, span.parent) for span in turns] == [(True, PARENT), (False, ""), (False, "")]
    assert len({span.trace for span in turns}) == 3


async def test_a_failure_is_told_by_its_code_alone(traced: Traced) -> None:
    traced.vendor.script.append(Fault.because("rate_limit", message=f"no more of {WORDS}"))
    async with aiohttp.ClientSession() as http, http.post(f"{traced.url}/api/v1/chat", json={"input": "Hi"}) as answer:
        assert answer.status == 429
    spans = await traced.spans(3)
    call = spans[f"chat {MODEL}"]
    assert call.failed and call.attributes["error.type"] == "provider_rate_limited"
    assert spans["chat.send"].failed
    assert not spans["POST /api/v1/chat"].failed
    assert WORDS not in repr(spans)


async def test_a_traceparent_that_is_no_text_is_refused(traced: Traced) -> None:
    async with connected(traced.url) as socket:
        id = await socket.send("chat.send", input="Hi", traceparent=7)
        assert (await socket.rejected(id))["field"] == "traceparent"


async def test_a_receiver_that_is_away_disturbs_nobody(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        settings = {**CHAT, "tracing.endpoint": "http://127.0.0.1:9"}
        async with (
            engine_inside(tmp_path, settings, behind(vendor)) as engine,
            aiohttp.ClientSession() as http,
            http.post(f"http://127.0.0.1:{engine.port}/api/v1/chat", json={"input": "Hi", "model": MODEL}) as answer,
        ):
            assert answer.status == 200


async def test_an_address_without_a_scheme_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigErrors, match=r"tracing\.endpoint"):
        Engine(load(None, {"BETTERAI__TRACING__ENDPOINT": "127.0.0.1:4318"}))
