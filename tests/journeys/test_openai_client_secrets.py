"""Keys for pages: OpenAI's own client makes one, and calls with it; on a server that needs keys, and on one that does not."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.realtime.client_secret_create_response import ClientSecretCreateResponse
from pydantic import TypeAdapter

from tests.journeys.openai_talk import Talk
from tests.server import CHAT, RunningServer, local_server

__all__ = ("local_server",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION: Any = {
    "type": "realtime",
    "model": "local",
    "instructions": "Be brief.",
    "output_modalities": ["text"],
    "audio": {"input": {"turn_detection": None}},
}
HEARS: Any = {"type": "transcription", "audio": {"input": {"transcription": {"model": "local", "language": "en"}}}}
SHAPE: TypeAdapter[Any] = TypeAdapter(ClientSecretCreateResponse)


@dataclass(frozen=True)
class Guarded:
    """A server in keys mode, and a caller's key."""

    server: RunningServer
    id: str
    key: str

    def client(self, key: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.server.url}/v1", api_key=key or self.key, max_retries=0)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    plugins = ["local", "chat", "tts", "audio", "realtime", "openai_api"]
    settings = {**CHAT, "plugins.enabled": plugins, "auth.mode": "keys"}
    server = RunningServer(tmp_path_factory.mktemp("guarded"), settings).start()
    key = next(word for word in server.run("keys", "create", "ada").split() if word.startswith("bai_"))
    yield Guarded(server, key.split("_")[1], key)
    server.kill()


async def test_a_page_calls_with_a_key_of_its_own(guarded: Guarded) -> None:
    async with guarded.client() as backend:
        made = await backend.realtime.client_secrets.create(session=SESSION, expires_after={"seconds": 60})
    SHAPE.validate_python(made.model_dump(exclude_unset=True))
    assert made.value.startswith("ek_")
    assert 0 < made.expires_at - time.time() <= 61
    async with guarded.client(made.value) as page, page.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        session = (await talk.until("session.created"))["session"]
        await talk.write("Hello!")
        await connection.response.create()
        done = await talk.until("response.done")
    assert session["id"] != made.session.id
    assert (session["instructions"], session["output_modalities"]) == ("Be brief.", ["text"])
    assert session["audio"]["input"]["turn_detection"] is None
    assert done["response"]["output"][0]["content"][0]["type"] == "output_text"


async def test_a_browser_shows_it_as_a_subprotocol_and_names_no_model(guarded: Guarded) -> None:
    async with guarded.client() as backend:
        made = await backend.realtime.client_secrets.create(session=HEARS)
    assert 0 < made.expires_at - time.time() <= 601
    offered = ("realtime", f"openai-insecure-api-key.{made.value}")
    async with (
        aiohttp.ClientSession(guarded.server.url) as http,
        http.ws_connect("/v1/realtime", protocols=offered) as socket,
    ):
        session = (await socket.receive_json())["session"]
        assert socket.protocol == "realtime"
    assert session["type"] == "transcription"
    assert session["audio"]["input"]["transcription"] == {"model": "local", "language": "en"}


async def test_a_session_of_many_words_fits_into_the_headers_of_a_browser(guarded: Guarded) -> None:
    chance = random.Random(7)
    known = ["".join(chance.choices(string.ascii_lowercase, k=6)) for _ in range(500)]
    long: Any = {**SESSION, "instructions": " ".join(chance.choices(known, k=1_600))}
    async with guarded.client() as backend:
        made = await backend.realtime.client_secrets.create(session=long)
    assert len(made.value) > 5_000
    offered = ("realtime", f"openai-insecure-api-key.{made.value}")
    async with (
        aiohttp.ClientSession(guarded.server.url) as http,
        http.ws_connect("/v1/realtime", protocols=offered) as socket,
    ):
        assert (await socket.receive_json())["session"]["instructions"] == long["instructions"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("?model=cascade", 400, "model 'local' only"),
        ("?model=local&intent=transcription", 400, "type 'realtime' only"),
    ],
)
async def test_it_opens_the_session_that_it_was_made_for(guarded: Guarded, query: str, status: int, words: str) -> None:
    async with guarded.client() as backend:
        made = await backend.realtime.client_secrets.create(session=SESSION)
    headers = {"Authorization": f"Bearer {made.value}"}
    async with aiohttp.ClientSession(guarded.server.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"/v1/realtime{query}", headers=headers)
        assert refused.value.status == status
        handshake = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        upgrade = {**headers, **handshake, "Upgrade": "websocket", "Connection": "Upgrade"}
        async with http.get(f"/v1/realtime{query}", headers=upgrade) as answer:
            assert words in (await answer.json())["error"]["message"]


async def test_it_opens_nothing_but_sessions(guarded: Guarded) -> None:
    async with guarded.client() as backend:
        made = await backend.realtime.client_secrets.create(session=SESSION)
    async with guarded.client(made.value) as page:
        for refused in (
            page.models.list(),
            page.chat.completions.create(model="local", messages=[{"role": "user", "content": "Hello"}]),
            page.realtime.client_secrets.create(session=SESSION),
        ):
            with pytest.raises(openai.AuthenticationError, match="opens only what it was made for"):
                await refused
    async with aiohttp.ClientSession(guarded.server.url) as http, http.ws_connect("/ws") as socket:
        await socket.send_json({"type": "session.authenticate", "key": made.value})
        assert (await socket.receive_json())["error"]["code"] == "unauthenticated"


async def test_it_is_void_with_the_key_that_made_it(guarded: Guarded) -> None:
    server = guarded.server
    listed = server.run("keys", "create", "bob")
    key = next(word for word in listed.split() if word.startswith("bai_"))
    async with guarded.client(key) as backend:
        made = await backend.realtime.client_secrets.create(session=SESSION)
    server.run("keys", "revoke", key.split("_")[1])
    # Another process has revoked it, which this one learns within seconds; a start learns it at once.
    server.stop()
    server.start()
    async with aiohttp.ClientSession(server.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/v1/realtime", headers={"Authorization": f"Bearer {made.value}"})
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"session": {"type": "translation"}}, "session.type"),
        ({"session": {"prompt": {"id": "pmpt_1"}}}, "session.prompt"),
        ({"session": {"model": "nobody"}}, "session.model"),
        ({"session": {"instructions": "".join(random.Random(7).choices(string.printable, k=20_000))}}, "session"),
    ],
)
async def test_what_no_key_can_be_bound_to_is_named(
    local_server: RunningServer, body: dict[str, Any], param: str
) -> None:
    async with (
        aiohttp.ClientSession(local_server.url) as http,
        http.post("/v1/realtime/client_secrets", json=body) as answer,
    ):
        told = (await answer.json())["error"]
    assert answer.status in (400, 404)
    assert told["param"] == param


async def test_without_keys_it_binds_a_session_and_any_credential_is_taken(local_server: RunningServer) -> None:
    async with aiohttp.ClientSession(local_server.url) as http:
        async with http.post("/v1/realtime/client_secrets", json={"session": SESSION}) as answer:
            made = await answer.json()
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        SHAPE.validate_python(made)
        told = []
        for key in (made["value"], "ek_of_nobody"):
            offered = ("realtime", f"openai-insecure-api-key.{key}")
            async with http.ws_connect("/v1/realtime", protocols=offered) as socket:
                told.append((await socket.receive_json())["session"]["instructions"])
    assert told == ["Be brief.", ""]
