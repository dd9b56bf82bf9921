"""ElevenLabs speaks, emulated: text goes in while sound comes out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.emulators.elevenlabs import RATE, ElevenLabsEmulator
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import Sing, spoken
from tests.journeys.client import connected
from tests.server import engine_inside, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "el-test-0123456789"
DOMI = "AZnzlk1XvdvUeBnXmlld"


class Server:
    """A server and ElevenLabs behind it."""

    def __init__(self, engine: Engine, vendor: ElevenLabsEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def post(self, **body: object) -> tuple[int, bytes]:
        told = {"model": "elevenlabs", "format": "pcm", **body}
        async with self.http.post(f"{self.url}/api/v1/tts", json=told) as answer:
            return answer.status, await answer.read()

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        async with self.http.get(f"{self.url}/api/v1/tts/{path}", params=query) as answer:
            return answer.status, await answer.json(content_type=None)

    async def quota(self, **query: str) -> tuple[int, Any]:
        return await self.get("quota", **query)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with ElevenLabsEmulator(key=KEY) as vendor, aiohttp.ClientSession() as http:
        settings = {
            "plugins.enabled": ["tts"],
            "models.retries": 0,
            "models.first_event_timeout": 2,
            "models.idle_timeout": 2,
            "models.breaker_failures": 1000,
            "vendors.elevenlabs.base_url": vendor.base_url,
            "vendors.elevenlabs.api_key": KEY,
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
            yield Server(engine, vendor, http)


@pytest.fixture
def server(shared: Server) -> Server:
    vendor = shared.vendor
    vendor.subscription.clear()
    for each in (vendor.script, vendor.sounds, vendor.closes, vendor.said, vendor.requests, vendor.closed_by_client):
        each.clear()
    return shared


async def test_a_sentence_is_heard_before_the_next_one_is_known(server: Server) -> None:
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs/eleven_flash_v2_5", voice=DOMI))["stream"]
        await socket.ask("tts.text", stream=stream, text="The first one is here. ")
        first = spoken("The first one is here.", RATE)
        await socket.until(lambda: socket.of(stream).sound == first, "the first sentence")
        await socket.ask("tts.text", stream=stream, text="And here is the second.")
        await socket.ask("tts.finish", stream=stream)
        end = await socket.end_of(stream)
    assert server.vendor.said == [["The first one is here.", "And here is the second."]]
    assert socket.of(stream).sound == first + spoken("And here is the second.", RATE)
    assert (end["status"], end["model"]) == ("completed", "elevenlabs/eleven_flash_v2_5")
    assert float(end["cost"]["amount"]) == pytest.approx(end["usage"]["characters"] * 50 / 1e6)
    assert DOMI in server.vendor.requests[0].path


async def test_a_text_is_spoken_into_a_file(server: Server) -> None:
    assert await server.post(text="One two three.") == (200, spoken("One two three.", RATE))


async def test_the_accounts_voices_are_listed(server: Server) -> None:
    async with server.http.get(f"{server.url}/api/v1/tts/voices?model=elevenlabs") as answer:
        assert {each["name"] for each in (await answer.json())["voices"]} == {"Rachel", "Domi"}


async def test_the_quota_of_the_account_is_told(server: Server) -> None:
    assert await server.quota(model="elevenlabs") == (
        200,
        {
            "model": "elevenlabs",
            "used": 31_000,
            "limit": 100_000,
            "left": 69_000,
            "resets_at": "2027-01-01T00:00:00Z",
            "plan": "creator",
        },
    )
    assert server.vendor.requests[0].headers["xi-api-key"] == KEY


async def test_of_a_quota_that_was_overdrawn_nothing_is_left(server: Server) -> None:
    server.vendor.subscription |= {"character_count": 100_500, "next_character_count_reset_unix": None}
    status, told = await server.quota(model="elevenlabs/eleven_flash_v2_5")
    assert (status, told["used"], told["left"], "resets_at" in told) == (200, 100_500, 0, False)


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        ({"model": "local"}, 400, "unsupported_parameter", "local tells no quota"),
        ({"model": "nobody"}, 404, "model_not_found", "there is no model"),
        ({"model": "openai"}, 503, "model_unavailable", "OPENAI_API_KEY"),
        ({"modle": "local"}, 400, "invalid_request", "did you mean"),
    ],
)
async def test_where_no_quota_can_be_told_it_is_said_why(
    server: Server, fields: dict[str, str], status: int, code: str, says: str
) -> None:
    told, problem = await server.quota(**fields)
    assert (told, problem["code"]) == (status, code)
    assert says in problem["detail"]
    assert not server.vendor.requests


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.because("invalid_key"), 502, "provider_refused"),
        (Fault.because("permission"), 502, "provider_refused"),
        (Fault.because("rate_limit"), 429, "provider_rate_limited"),
        (Fault.silence(), 504, "provider_timeout"),
    ],
    ids=["a wrong key", "a key without the right", "a rate limit", "silence"],
)
@pytest.mark.parametrize("path", ["quota", "voices"])
async def test_a_vendor_that_does_not_tell_of_itself_is_named(
    server: Server, path: str, fault: Fault, status: int, code: str
) -> None:
    server.vendor.script.append(fault)
    told, problem = await server.get(path, model="elevenlabs")
    assert (told, problem["code"]) == (status, code)
    assert KEY not in str(problem)


async def test_a_subscription_of_another_form_is_the_vendors_fault(server: Server) -> None:
    server.vendor.subscription["character_limit"] = "many"
    status, problem = await server.quota(model="elevenlabs")
    assert (status, problem["code"]) == (502, "provider_error")


async def test_the_quota_is_told_to_whoever_administers_the_server(server: Server, tmp_path: Path) -> None:
    settings = {"plugins.enabled": ["tts"], "auth.mode": "keys", "vendors.elevenlabs.base_url": server.vendor.base_url}
    with serving(tmp_path, settings, {"ELEVENLABS_API_KEY": KEY}) as guarded:
        told = {}
        for scope in ("chat", "admin"):
            made = guarded.run("keys", "create", scope, "--scope", scope).split()
            headers = {"Authorization": f"Bearer {next(word for word in made if word.startswith('bai_'))}"}
            url = f"{guarded.url}/api/v1/tts/quota?model=elevenlabs"
            async with server.http.get(url, headers=headers) as answer:
                told[scope] = answer.status, (await answer.json()).get("code")
    assert told == {"chat": (403, "forbidden"), "admin": (200, None)}


async def test_a_cancel_hangs_up(server: Server) -> None:
    server.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        await socket.until(lambda: bool(socket.of(stream).sound), "the first sound")
        await socket.ask("stream.cancel", stream=stream)
        assert (await socket.end_of(stream))["status"] == "cancelled"
    await server.vendor.hung_up()


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ("invalid_key", 502, "provider_refused"),
        ("rate_limit", 429, "provider_rate_limited"),
        ("server", 502, "provider_unavailable"),
    ],
)
async def test_a_refusal_is_told(server: Server, condition: Condition, status: int, code: str) -> None:
    server.vendor.script.append(Fault.because(condition))
    told, problem = await server.post(text="one")
    assert (told, json.loads(problem)["code"]) == (status, code)
    assert KEY.encode() not in problem


async def test_a_close_for_a_reason_is_told_with_its_code(server: Server) -> None:
    server.vendor.closes.append((1008, "voice_not_fine_tuned"))
    told, problem = await server.post(text="one")
    assert told == 502
    assert "code 1008: voice_not_fine_tuned" in json.loads(problem)["detail"]


@pytest.mark.parametrize("code", [1000, 1011])
async def test_a_close_that_comes_before_the_last_sound_is_no_end(server: Server, code: int) -> None:
    server.vendor.sounds.append(Sing(cut=2, code=code))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert f"code {code}" in end["error"]["message"]
    heard = socket.of(stream).sound
    assert heard and spoken("one two three", RATE).startswith(heard)


async def test_a_voice_that_falls_silent_in_mid_word_is_waited_for_no_longer(server: Server) -> None:
    server.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_timeout")
    assert socket.of(stream).sound
    await server.vendor.hung_up()


async def test_a_vendor_says_when_it_can_be_asked_again(server: Server) -> None:
    server.vendor.script.append(Fault.because("rate_limit", retry_after=7))
    body = {"text": "one", "model": "elevenlabs"}
    async with server.http.post(f"{server.url}/api/v1/tts", json=body) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
        assert (await answer.json())["code"] == "provider_rate_limited"


async def test_a_quota_that_is_used_up_is_not_worth_another_try(server: Server) -> None:
    server.vendor.script.append(Fault.because("quota"))
    status, problem = await server.post(text="one")
    told = json.loads(problem)
    assert (status, told["code"], told["retryable"]) == (429, "provider_rate_limited", False)


async def test_a_voice_that_is_not_there_is_named(server: Server) -> None:
    status, problem = await server.post(text="one", voice="nobody")
    told = json.loads(problem)
    assert (status, told["code"], told["field"]) == (400, "invalid_request", "voice")
    assert "'nobody' does not exist" in told["detail"]


async def test_a_connection_that_breaks_in_mid_word_fails_the_speech_and_keeps_what_was_heard(server: Server) -> None:
    server.vendor.sounds.append(Sing(cut=2))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="elevenlabs", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert socket.of(stream).sound
