"""What the log has of requests, turns and calls: one line each, by the ids that clients were given, and no secret."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Say
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, behind

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def told(shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("told")
    (folder / "var").mkdir(mode=0o755)
    (folder / "var" / "betterai.db").touch(mode=0o644)
    settings = {
        **CHAT,
        "auth.mode": "keys",
        "log.access": True,
        "models.breaker_failures": 1,
        "models.breaker_reset": 0.1,
    }
    server = RunningServer(folder, settings, behind(shared_vendor))
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def key(told: RunningServer) -> str:
    made = told.run("keys", "create", "shop", "--scope", "chat")
    return next(word for word in made.split() if word.startswith("bai_"))


async def test_a_failed_request_is_found_by_the_id_that_its_client_was_given(
    told: RunningServer, vendor: OpenAIEmulator, key: str
) -> None:
    vendor.script.append(Fault.cut(after=3, say=Say(pieces=["one ", "two ", "three ", "four"])))
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "my-req-2"}
    async with (
        aiohttp.ClientSession(told.url, headers=headers) as http,
        http.post("/api/v1/chat", json={"input": "a private question"}) as answer,
    ):
        assert answer.status == 502
        stream = answer.headers["X-Stream-Id"]
        assert answer.headers["Server"] == "BetterAI"
    failed = await told.until_logged("request_failed", request_id="my-req-2")
    assert (failed["status"], failed["principal"], failed["stream"]) == (502, "shop", stream)
    assert (failed["route"], failed["code"], failed["level"]) == ("/api/v1/chat", "provider_unavailable", "warning")
    turn = await told.until_logged("turn_failed", stream=stream)
    assert (turn["principal"], turn["model"], turn["code"]) == ("shop", "openai/gpt-test", "provider_unavailable")
    call = await told.until_logged("provider_call_failed", stream=stream)
    assert (call["request_id"], call["provider"], call["principal"]) == ("my-req-2", "openai", "shop")
    assert "a private question" not in told.told


async def test_whom_the_server_refuses_is_logged(told: RunningServer, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "no-scope"}
    async with (
        aiohttp.ClientSession(told.url, headers=headers) as http,
        http.get("/api/v1/admin/status") as answer,
    ):
        assert answer.status == 403
    refused = await told.until_logged("request_failed", request_id="no-scope")
    assert (refused["principal"], refused["code"]) == ("shop", "forbidden")
    assert refused["key"] == key.split("_")[1]


async def test_the_address_of_the_socket_asks_for_an_upgrade(told: RunningServer) -> None:
    async with aiohttp.ClientSession(told.url) as http, http.get("/ws") as answer:
        assert (answer.status, (await answer.json())["code"]) == (426, "upgrade_required")
        assert answer.headers["Upgrade"] == "websocket"


async def test_a_provider_that_is_left_alone_and_back_is_a_line_each(
    told: RunningServer, vendor: OpenAIEmulator, key: str
) -> None:
    vendor.script.append(Fault.because("overloaded"))
    async with aiohttp.ClientSession(told.url, headers={"Authorization": f"Bearer {key}"}) as http:
        async with http.post("/api/v1/chat", json={"input": "Hi"}) as answer:
            assert answer.status in (502, 503)
        await told.until_logged("provider_left_alone")
        for _ in range(100):
            async with http.post("/api/v1/chat", json={"input": "Hi"}) as answer:
                if answer.status == 200:
                    break
    await told.until_logged("provider_back")


async def test_each_request_and_each_socket_has_its_line(told: RunningServer, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "seen-1"}
    async with aiohttp.ClientSession(told.url, headers=headers) as http, http.get("/api/v1/conversations") as answer:
        size = len(await answer.read())
    line = await told.until_logged("request", request_id="seen-1")
    assert (line["status"], line["route"], line["principal"], line["bytes"]) == (
        200,
        "/api/v1/conversations",
        "shop",
        size,
    )
    assert line["ms"] > 0
    async with connected(told.url, headers={**headers, "X-Request-Id": "seen-2"}) as socket:
        await socket.ask("ping")
    assert (await told.until_logged("request", request_id="seen-2"))["route"] == "/ws"


async def test_no_key_reaches_the_log_through_any_door(told: RunningServer, key: str) -> None:
    other = f"bai_{'a' * 12}_{secrets.token_urlsafe(32)}"
    passed = f"ek_{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(32)}"
    async with aiohttp.ClientSession(told.url) as http:
        for text in (key, other, passed):
            for kind in ({"Authorization": f"Bearer {text}"}, {"x-api-key": text}, {"User-Agent": text}, {text: "x"}):
                async with http.get("/api/v1/models", headers=kind):
                    pass
            for address in (f"/api/v1/models?key={text}", f"/api/v1/{text}", f"/api/v1/streams/{text}/events"):
                async with http.get(address, headers={"Authorization": f"Bearer {key}"}):
                    pass
            body = json.dumps({"input": "Hi", "model": text, text: 1})
            async with http.post("/api/v1/chat", data=body, headers={"Authorization": f"Bearer {key}"}):
                pass
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect("/v1/realtime", protocols=[f"openai-insecure-api-key.{text}x"])
            async with connected(told.url, ready=False) as socket:
                await socket.send_raw(json.dumps({"type": "session.authenticate", "key": text + "x"}))
                await socket.gone()
            host, port = told.url.removeprefix("http://").split(":")
            for head in (f"Authorization: Bearer\r\n {text}\r\n", f"{text}\r\n", f"Content-Length: {text}\r\n"):
                await raw(host, int(port), f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n{head}\r\n")
            await raw(host, int(port), f"{text} / HTTP/1.1\r\nHost: {host}\r\n\r\n")
    async with aiohttp.ClientSession(told.url) as http, http.get("/health/live", headers={"X-Request-Id": "last"}):
        pass
    await told.until_logged("request", request_id="last")
    for text in (key, other, passed):
        assert text[-30:] not in told.told
        assert text[16:40] not in told.told


async def raw(host: str, port: int, data: str) -> None:
    """Send a request as it stands, and read until the server closes or has answered."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data.encode())
    answer = await reader.read(4096)
    assert b"aiohttp" not in answer and b"Python" not in answer
    writer.close()


def modes_in(folder: Path) -> dict[str, int]:
    """The modes of the files in a folder, and its own under a dot."""
    files = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    return {**files, ".": folder.stat().st_mode & 0o777}


async def test_files_are_their_owner_s_alone(told: RunningServer) -> None:
    modes = modes_in(told.database.parent)
    assert {"betterai.db", "betterai.db-wal", "betterai.db-shm", "auth-secret"} <= set(modes)
    assert modes.pop(".") == 0o700
    assert set(modes.values()) == {0o600}
