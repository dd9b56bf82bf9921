"""What an operator sees of a running server: over HTTP, and at a terminal with `betterai top`."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, Usage
from tests.journeys.client import connected
from tests.server import CHAT, MODEL, PROGRAM, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

DURATIONS = re.compile(r"engine;dur=([0-9.]+), provider;dur=([0-9.]+)")


class Seen:
    """A server of the test's own, its vendor, and who looks at it."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def get(self, name: str) -> dict[str, Any]:
        async with self.http.get(f"{self.url}/api/v1/admin/{name}") as answer:
            assert answer.status == 200
            body: dict[str, Any] = await answer.json()
            return body


@pytest_asyncio.fixture(loop_scope="module")
async def seen(tmp_path: Path) -> AsyncIterator[Seen]:
    async with OpenAIEmulator() as vendor, aiohttp.ClientSession() as http:
        settings = {**CHAT, "models.breaker_failures": 1}
        async with engine_inside(tmp_path, settings, behind(vendor)) as engine:
            yield Seen(engine, vendor, http)


async def test_sessions_and_streams_are_listed_while_they_are_there(seen: Seen) -> None:
    hold = Hold()
    seen.vendor.script.append(Say(pieces=["first ", hold, "second"], usage=Usage(12, 5)))
    async with connected(seen.url) as socket:
        heard = await socket.chat("Hi", model=MODEL)
        await socket.text_of(heard.stream, "first ")
        streams, sessions, status = [await seen.get(name) for name in ("streams", "sessions", "status")]
        assert streams["total"] == sessions["total"] == status["streams"] == status["sockets"] == 1
        (row,) = streams["streams"]
        assert (row["id"], row["model"], row["principal"]) == (heard.stream, MODEL, "local")
        assert (row["command"], row["readers"], row["lag"]) == ("chat.send", 1, 0)
        (session,) = sessions["sessions"]
        assert (session["principal"], session["watching"]) == ("local", 1)
        hold.release()
        await socket.end_of(heard.stream)
        status = await seen.get("status")
    assert status["done"]["turns"] == {"completed": 1}
    assert status["done"]["tokens"]["input"] == 12
    assert (await seen.get("streams"))["total"] == 0


async def test_a_provider_that_is_left_alone_is_shown_with_its_errors(seen: Seen) -> None:
    seen.vendor.script.append(Fault.because("server"))
    async with seen.http.post(f"{seen.url}/api/v1/chat", json={"input": "Hi", "model": MODEL}) as answer:
        assert answer.status == 502
    providers = (await seen.get("status"))["providers"]
    (chat,) = [each for each in providers if (each["role"], each["name"]) == ("chat", "openai")]
    assert chat["state"] == "open" and 0 < chat["retry_in"] <= 30
    assert chat["errors"] == {"provider_unavailable": 1}


async def test_an_answer_tells_how_much_of_its_time_was_the_providers(seen: Seen) -> None:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{seen.url}/v1", max_retries=0) as client:
        for stream in (False, True):
            hold = Hold()
            seen.vendor.script.append(Say(pieces=["Hello"], start=hold))
            whole = asyncio.get_running_loop().time()
            asked = asyncio.ensure_future(
                client.chat.completions.with_raw_response.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=stream
                )
            )
            await hold.reached()
            begun = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - begun < 0.2:
                await seen.get("status")
            hold.release()
            told = DURATIONS.fullmatch((await asked).headers["server-timing"])
            assert told is not None
            ours, theirs = map(float, told.groups())
            # Each moment is counted once, as the one's or the other's.
            assert theirs > 190 and ours + theirs <= (asyncio.get_running_loop().time() - whole) * 1000


async def test_the_lists_need_the_scope_of_an_admin(tmp_path: Path) -> None:
    settings = {**CHAT, "auth.mode": "keys", "auth.secret": "a secret of thirty-two characters"}
    async with engine_inside(tmp_path, settings, {}) as engine, aiohttp.ClientSession() as http:
        for name in ("status", "sessions", "streams"):
            async with http.get(f"http://127.0.0.1:{engine.port}/api/v1/admin/{name}") as answer:
                assert answer.status == 401


async def test_a_bound_that_is_none_is_told(seen: Seen) -> None:
    async with seen.http.get(f"{seen.url}/api/v1/admin/streams?limit=0") as answer:
        assert answer.status in (400, 422)
        assert (await answer.json())["field"] == "limit"


async def test_top_into_a_pipe_looks_once(seen: Seen) -> None:
    async with connected(seen.url):
        done = await asyncio.create_subprocess_exec(
            PROGRAM, "top", "--server", seen.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        told, problem = await done.communicate()
    assert done.returncode == 0, problem
    text = told.decode()
    assert "session (1)" in text and "stream (0)" in text and "openai" in text
    assert "turns/s" in text
    assert re.search(r"^openai +chat +ok$", text, re.MULTILINE) and "closed" not in text


async def test_top_draws_anew_at_a_terminal_until_it_is_interrupted(seen: Seen) -> None:
    near, far = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "top", "--server", seen.url, "--every", "0.1", stdin=far, stdout=far, stderr=far, env=environ
    )
    os.close(far)
    loop = asyncio.get_running_loop()
    shown = bytearray()
    read = asyncio.Event()

    def take() -> None:
        try:
            shown.extend(os.read(near, 65536))
        except OSError:
            loop.remove_reader(near)
        read.set()

    loop.add_reader(near, take)
    try:
        async with asyncio.timeout(20), connected(seen.url) as socket:
            hold = Hold()
            seen.vendor.script.append(Say(pieces=["first ", hold]))
            heard = await socket.chat("Hi", model=MODEL)
            while heard.stream.encode() not in shown or not re.search(rb"\d+\.\d", bytes(shown)):
                read.clear()
                await read.wait()
            hold.release()
            await socket.end_of(heard.stream)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        loop.remove_reader(near)
        os.close(near)


async def test_top_names_where_it_found_no_server() -> None:
    done = await asyncio.create_subprocess_exec(
        PROGRAM, "top", "--server", "http://127.0.0.1:9", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, problem = await done.communicate()
    assert done.returncode == 1
    assert "no server answers at http://127.0.0.1:9" in " ".join(problem.decode().split())
