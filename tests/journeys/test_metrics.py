"""What `/metrics` tells after turns over both doors, read by Prometheus' own parser."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, Usage
from tests.journeys.client import connected
from tests.server import CHAT, MODEL, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Asked:
    """A server of the test's own, and its vendor."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def told(self) -> dict[tuple[str, ...], float]:
        """Every sample by its name and the values of its labels."""
        async with self.http.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200 and answer.content_type == "text/plain"
            families = list(text_string_to_metric_families(await answer.text()))
        assert all(family.documentation for family in families)
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }


@pytest_asyncio.fixture(loop_scope="module")
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with OpenAIEmulator() as vendor, aiohttp.ClientSession() as http:
        settings = {**CHAT, "models.breaker_failures": 1}
        async with engine_inside(tmp_path, settings, behind(vendor)) as engine:
            yield Asked(engine, vendor, http)


async def test_turns_are_counted_with_their_tokens_and_times(asked: Asked) -> None:
    asked.vendor.script += [Say("Hello you", usage=Usage(12, 5, cached=4))] * 2
    async with connected(asked.url) as socket:
        heard = await socket.chat("Hi")
        await socket.end_of(heard.stream)
        async with asked.http.post(f"{asked.url}/api/v1/chat", json={"input": "Hi"}) as answer:
            assert answer.status == 200
        told = await asked.told()
    assert told["betterai_turns_total", "chat.send", MODEL, "done", "completed"] == 2
    assert told["betterai_tokens_total", "input", MODEL] == 24
    assert told["betterai_tokens_total", "cached", MODEL] == 8
    assert told["betterai_first_token_seconds_count", MODEL] == 2
    assert told["betterai_turn_seconds_count", "chat.send"] == 2
    assert told["betterai_added_seconds_count",] == 2
    assert told["betterai_added_seconds_sum",] < told["betterai_first_token_seconds_sum", MODEL] + 1
    assert told["betterai_commands_waiting",] == told["betterai_reader_lag_events",] == 0
    assert told["betterai_http_requests_total", "POST", "/api/v1/chat", "200"] == 1
    assert told["betterai_sockets_opened_total",] == told["betterai_sockets",] == 1
    assert told["betterai_resident_bytes",] > 1 << 20
    assert told["betterai_body_bytes",] == 0
    assert told["betterai_events_total",] > 4


async def test_what_runs_is_seen_while_it_runs(asked: Asked) -> None:
    hold = Hold()
    asked.vendor.script.append(Say(pieces=["first ", hold, "second"]))
    async with connected(asked.url) as socket, connected(asked.url) as other:
        heard = await socket.chat("Hi")
        await hold.reached()
        assert (await asked.told())["betterai_streams",] == 1
        await other.ask("stream.resume", stream=heard.stream)
        hold.release()
        await socket.end_of(heard.stream)
        told = await asked.told()
    assert (told["betterai_streams",], told["betterai_streams_held",]) == (0, 1)
    assert told["betterai_resumes_total", "true"] == 1


async def test_a_failing_vendor_shows_in_turns_and_in_its_breaker(asked: Asked) -> None:
    asked.vendor.script.append(Fault.because("server"))
    assert (await asked.told())["betterai_provider_open", "openai", "chat"] == 0
    async with asked.http.post(f"{asked.url}/api/v1/chat", json={"input": "Hi"}) as answer:
        assert answer.status == 502
    told = await asked.told()
    assert told["betterai_provider_open", "openai", "chat"] == 1
    assert told["betterai_provider_errors_total", "provider_unavailable", "openai"] == 1
    failed = {key: value for key, value in told.items() if key[0] == "betterai_turns_total" and "failed" in key}
    assert list(failed.values()) == [1]
    assert told["betterai_http_requests_total", "POST", "/api/v1/chat", "502"] == 1


async def test_the_gaps_between_pieces_are_counted_and_the_wait_for_a_provider_is_not_the_servers(asked: Asked) -> None:
    hold, first = Hold(), Hold()
    asked.vendor.script.append(Say(pieces=["one ", "two ", hold, "three"], start=first))
    async with connected(asked.url) as socket:
        heard = await socket.chat("Hi")
        await first.reached()
        begun = time.monotonic()
        while time.monotonic() - begun < 0.3:
            await socket.ask("ping")
        first.release()
        await hold.reached()
        hold.release()
        await socket.end_of(heard.stream)
        told = await asked.told()
    assert 1 <= told["betterai_token_gap_seconds_count",] <= 5
    # Whatever a busy machine adds, the time for which the provider was silent is no part of it.
    assert told["betterai_first_token_seconds_sum", MODEL] - told["betterai_added_seconds_sum",] >= 0.25


async def test_addresses_that_are_none_are_one_line(asked: Asked) -> None:
    for number in range(5):
        async with asked.http.request("PROPFIND", f"{asked.url}/nothing/{number}") as answer:
            assert answer.status == 404
    assert (await asked.told())["betterai_http_requests_total", "other", "none", "404"] == 5


async def test_the_loop_is_looked_at(asked: Asked) -> None:
    async with connected(asked.url) as socket:
        hold = Hold()
        asked.vendor.script.append(Say(pieces=["first ", hold]))
        heard = await socket.chat("Hi")
        while (await asked.told())["betterai_loop_lag_seconds_count",] < 1:
            await socket.ask("ping")
        hold.release()
        await socket.end_of(heard.stream)


async def test_in_keys_mode_a_key_needs_the_scope(tmp_path: Path) -> None:
    settings = {**CHAT, "auth.mode": "keys", "auth.secret": "a secret of thirty-two characters"}
    async with (
        engine_inside(tmp_path, settings, {}) as engine,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{engine.port}/metrics") as answer,
    ):
        assert answer.status == 401
