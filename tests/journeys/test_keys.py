"""A server whose callers present keys: each sees what is its own, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, behind

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNAUTHENTICATED = 4401


@dataclass(frozen=True)
class Guarded:
    """A server in keys mode and the keys of two callers."""

    server: RunningServer
    ada: str
    bob: str


@pytest.fixture(scope="module")
def guarded(shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = {**CHAT, "auth.mode": "keys", "server.authenticate_timeout": 0.5}
    server = RunningServer(tmp_path_factory.mktemp("guarded"), settings, behind(shared_vendor))
    server.start()
    ada, bob = (new_key(server, name) for name in ("ada", "bob"))
    yield Guarded(server, ada, bob)
    server.kill()


def new_key(server: RunningServer, name: str) -> str:
    return next(word for word in server.run("keys", "create", name).split() if word.startswith("bai_"))


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_stream_of_another_caller_is_not_found_like_one_that_never_was(
    guarded: Guarded, vendor: OpenAIEmulator
) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["mine", hold]))
    url = guarded.server.url
    async with (
        connected(url, headers=bearer(guarded.ada)) as ada,
        connected(url, headers=bearer(guarded.bob)) as bob,
        aiohttp.ClientSession(headers=bearer(guarded.bob)) as http,
    ):
        heard = await ada.chat("A secret")
        await ada.text_of(heard.stream, "mine")
        commands = ("stream.resume", "stream.cancel", "stream.detach")
        foreign = [(await bob.ask(command, stream=heard.stream))["error"] for command in commands]
        unknown = [(await bob.ask(command, stream="s_0"))["error"] for command in commands]
        async with http.get(f"{url}/api/v1/streams/{heard.stream}/events") as response:
            status, problem = response.status, await response.json()
        async with http.get(f"{url}/api/v1/streams") as response:
            running = await response.json()
        async with http.get(f"{url}/api/v1/conversations") as response:
            conversations = await response.json()
        hold.release()
        end = await ada.end_of(heard.stream)
    assert [error["message"].replace(heard.stream, "s_0") for error in foreign] == [e["message"] for e in unknown]
    assert {error["code"] for error in (*foreign, *unknown, problem)} == {"stream_not_found"}
    assert (status, running["streams"], conversations["conversations"]) == (404, [], [])
    assert end["status"] == "completed"


async def test_a_key_of_one_caller_does_not_meet_the_same_key_of_another(
    guarded: Guarded, vendor: OpenAIEmulator
) -> None:
    url = guarded.server.url
    async with (
        connected(url, headers=bearer(guarded.ada)) as ada,
        connected(url, headers=bearer(guarded.bob)) as bob,
    ):
        one, other = await ada.chat("I am ada", key="k"), await bob.chat("I am bob", key="k")
        await ada.end_of(one.stream)
        await bob.end_of(other.stream)
    assert (one.text, other.text) == ("I am ada", "I am bob")


async def test_a_session_may_present_its_key_in_its_first_frame(guarded: Guarded) -> None:
    async with connected(guarded.server.url, ready=False) as socket:
        answer = await socket.ask("session.authenticate", key=guarded.ada)
        ready = await socket.take("session.ready")
    assert (answer["type"], ready["protocol"]) == ("accepted", 1)


@pytest.mark.parametrize(
    "first", ['{"type": "ping"}', '{"type": "session.authenticate", "key": "bai_wrong"}', "{not", None]
)
async def test_a_session_without_a_valid_key_is_closed_and_says_why(guarded: Guarded, first: str | None) -> None:
    async with connected(guarded.server.url, ready=False) as socket:
        if first is not None:
            await socket.send_raw(first)
        error = (await socket.take("rejected"))["error"]
        code = await socket.gone()
    assert (error["code"], code) == ("unauthenticated", UNAUTHENTICATED)
    assert "bai_wrong" not in error["message"]


async def test_http_without_a_valid_key_is_refused_and_health_is_not(guarded: Guarded) -> None:
    url = guarded.server.url
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/api/v1/models") as response:
            missing = response.status, (await response.json())["code"]
        async with http.get(f"{url}/api/v1/models", headers=bearer("bai_wrong")) as response:
            wrong = response.status, (await response.json())["code"]
        async with http.get(f"{url}/health/live") as response:
            live = response.status
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await http.ws_connect(f"{url}/ws", headers=bearer("bai_wrong"))
    assert (missing, wrong, live) == ((401, "unauthenticated"), (401, "unauthenticated"), 200)
    assert guarded.ada not in guarded.server.told
