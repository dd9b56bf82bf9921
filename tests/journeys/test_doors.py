"""The two doors, HTTP and the sockets, let the same keys in, and shut out the same ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.api.commands import Call
from engine.api.data import Write
from engine.api.identity import KeyLimits
from engine.api.routes import Route
from engine.db.schema import api_keys
from engine.main import Engine
from engine.sessions.core import CORE_COMMANDS
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say
from tests.journeys.client import connected
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLUGINS = ["chat", "openai_api", "storage", "tts", "audio", "realtime"]


@dataclass(frozen=True)
class Guarded:
    """A server in this process whose callers need keys."""

    engine: Engine

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.engine.port}"

    async def key(self, principal: str, *scopes: str) -> str:
        assert self.engine.keys is not None
        return (await self.engine.keys.create(principal, "test", scopes or ("*",)))[0]

    async def revoke(self, key: str) -> None:
        """Make the key void, and have the server look at its open connections."""
        assert self.engine.keys is not None
        await self.engine.keys.revoke(key.split("_")[1])
        await self.look()

    async def lower(self, key: str, *scopes: str) -> None:
        """Leave the key with these scopes alone."""
        assert self.engine.keys is not None
        id, database = key.split("_")[1], self.engine.databases.database()
        await database.submit([Write(api_keys, "update", {"scopes": list(scopes)}, {"id": id})])
        await self.engine.keys.limit(id, KeyLimits())
        await self.look()

    async def look(self) -> None:
        assert self.engine.http is not None
        await self.engine.http.doors.check()

    @asynccontextmanager
    async def http(self, key: str) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(self.url, headers=bearer(key)) as http:
            yield http


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    settings = {**CHAT, "plugins.enabled": PLUGINS, "auth.mode": "keys", "auth.secret": "s" * 40}
    async with engine_inside(tmp_path_factory.mktemp("doors"), settings, behind(shared_vendor)) as engine:
        yield Guarded(engine)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes_of(guarded: Guarded) -> list[Route]:
    assert guarded.engine.http is not None
    return [route for _, route in guarded.engine.http.routes.routes if route.method not in ("HEAD", "OPTIONS")]


def commands_of(guarded: Guarded) -> dict[str, str | None]:
    """Every command that a frame may name, with the scope that it needs."""
    found: dict[str, str | None] = {core.name: core.scope for core in CORE_COMMANDS}
    for command in guarded.engine.supervisor.table.all():
        if isinstance(command, Call) or not command.inner:
            found[command.name] = command.scope
    return found


async def status_of(http: aiohttp.ClientSession, route: Route) -> int:
    """How a request for this route is answered that has nothing but its key."""
    address = route.path.replace("{", "").replace("}", "")
    if not route.socket:
        async with http.request(route.method, address, data=b"") as response:
            return response.status
    try:
        async with http.ws_connect(address):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


async def test_each_route_and_command_takes_the_keys_of_its_scope_alone(guarded: Guarded) -> None:
    routes, commands = routes_of(guarded), commands_of(guarded)
    scopes = {route.scope for route in routes} | set(commands.values()) | {"nothing"}
    wrong: list[Any] = []
    for scope in sorted(filter(None, scopes)):
        key = await guarded.key("walker", scope)
        async with guarded.http(key) as http, connected(guarded.url, headers=bearer(key)) as socket:
            for route in routes:
                status = await status_of(http, route)
                if (status == 403) != (route.scope not in (None, scope)):
                    wrong.append((scope, route.method, route.path, status))
            for name, needed in commands.items():
                answer = await socket.ask(name)
                refused = answer.get("error", {}).get("code") == "forbidden"
                if refused != (needed not in (None, scope)):
                    wrong.append((scope, name, answer))
    assert not wrong
    assert len(routes) > 40
    assert len(commands) > 10


async def test_streams_are_guarded_alike_over_http_and_over_the_socket(
    guarded: Guarded, vendor: OpenAIEmulator
) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["private", hold]))
    owner, counting = await guarded.key("ann", "chat"), await guarded.key("ann", "metrics")
    async with (
        connected(guarded.url, headers=bearer(owner)) as ann,
        connected(guarded.url, headers=bearer(counting)) as meter,
        guarded.http(counting) as http,
    ):
        heard = await ann.chat("A secret")
        await ann.text_of(heard.stream, "private")
        pairs = [
            ("stream.resume", "GET", f"/api/v1/streams/{heard.stream}/events"),
            ("stream.cancel", "POST", f"/api/v1/streams/{heard.stream}/cancel"),
            ("stream.detach", "GET", f"/api/v1/streams/{heard.stream}"),
        ]
        for command, method, address in pairs:
            by_socket = (await meter.ask(command, stream=heard.stream))["error"]
            async with http.request(method, address) as response:
                by_http = await response.json()
            assert (by_socket["code"], by_http["code"]) == ("forbidden", "forbidden")
        number = next(iter(guarded.engine.bus.running())).number
        await meter.send_raw(number.to_bytes(4) + (1).to_bytes(4) + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + b"\0\0")
        assert (await meter.take("rejected", re=None))["error"]["code"] in ("forbidden", "invalid_frame")
        hold.release()
        end = await ann.end_of(heard.stream)
    assert (end["status"], heard.text) == ("completed", "private")


async def test_whoever_only_reads_is_shut_out_with_the_key(guarded: Guarded, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["on and on", Hold()]))
    key, other = await guarded.key("cut", "chat"), await guarded.key("cut", "chat")
    async with (
        connected(guarded.url, headers=bearer(key)) as reader,
        connected(guarded.url, ready=False) as first_frame,
        connected(guarded.url, headers=bearer(other)) as stays,
        guarded.http(key) as http,
    ):
        await first_frame.ask("session.authenticate", key=key)
        heard = await reader.chat("Go on")
        await reader.text_of(heard.stream, "on and on")
        await stays.ask("stream.resume", stream=heard.stream)
        tail = await http.get(f"/api/v1/streams/{heard.stream}/events")
        await tail.content.readany()
        call = await http.ws_connect("/v1/realtime?model=gpt-realtime")
        asked = Hold()
        vendor.script.append(Say(pieces=["never", asked]))
        waiting = asyncio.create_task(http.post("/api/v1/chat", json={"input": "wait for it"}))
        await asked.reached()
        await guarded.revoke(key)
        assert await reader.gone() == 4401
        assert await first_frame.gone() == 4401
        while (message := await call.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert call.close_code == 4401, message
        with pytest.raises(aiohttp.ClientError):
            await tail.content.read()
        answer = await waiting
        assert (answer.status, (await answer.json())["code"]) == (401, "unauthenticated")
        # What the key started spends nothing more; who else watches is given the reason.
        end = await stays.end_of(heard.stream)
        assert (end["status"], end["error"]["code"]) == ("failed", "unauthenticated")
        assert (await stays.ask("ping"))["type"] == "pong"


async def test_a_key_that_lost_a_scope_keeps_no_socket(guarded: Guarded) -> None:
    key = await guarded.key("less", "chat", "metrics")
    async with connected(guarded.url, headers=bearer(key)) as socket:
        await guarded.look()
        assert (await socket.ask("ping"))["type"] == "pong"
        await guarded.lower(key, "metrics")
        assert await socket.gone() == 4401


async def test_a_conversation_of_somebody_else_is_answered_like_one_that_never_was(
    guarded: Guarded, vendor: OpenAIEmulator
) -> None:
    ann_key, bob_key = await guarded.key("owner"), await guarded.key("stranger")
    async with (
        connected(guarded.url, headers=bearer(ann_key)) as ann,
        connected(guarded.url, headers=bearer(bob_key)) as bob,
        guarded.http(bob_key) as http,
    ):
        first = await ann.chat("Begin")
        await ann.end_of(first.stream)
        saved = next(event for event in first.events if event["type"] == "message.saved")
        mine, message, unknown = saved["conversation"], saved["message"], "c_" + "0" * len(saved["conversation"][2:])

        async def answers(conversation: str, message: str) -> list[str]:
            """What bob is answered about a conversation, over every command and route that names one."""
            said = [{"role": "user", "text": "I was here"}]
            asked: list[tuple[str, dict[str, Any]]] = [
                ("chat.send", {"input": "Hi", "conversation": conversation}),
                ("chat.send", {"input": "Hi", "conversation": conversation, "parent": message}),
                ("chat.send", {"input": "Hi", "conversation": conversation, "store": False}),
                ("chat.past", {"conversation": conversation, "limit": 5}),
                ("chat.record", {"conversation": conversation, "messages": said}),
                ("chat.annotate", {"conversation": conversation, "message": message, "metadata": {"a": "b"}}),
                ("chat.truncate", {"conversation": conversation, "message": message, "heard": "B"}),
            ]
            got = [json.dumps((await bob.ask(name, **body))["error"]) for name, body in asked]
            for route in routes_of(guarded):
                if "conversations/{id}" not in route.path:
                    continue
                address = route.path.replace("{id}", conversation).replace("{message}", message)
                body = {"PATCH": {"title": "x"} if route.path.endswith("{id}") else {"text": "x"}}.get(route.method)
                body = {"heard": "B"} if route.path.endswith("truncate") else body
                async with http.request(route.method, address, json=body) as response:
                    told = await response.json()
                told.pop("request")
                got.append(f"{route.method} {route.path} {response.status} {json.dumps(told)}")
            return [each.replace(conversation, "ID").replace(message, "MESSAGE") for each in got]

        never = await answers(unknown, "m_" + "0" * len(message[2:]))
        assert all("conversation_not_found" in each for each in never)
        assert len(never) >= 14
        assert await answers(mine, message) == never
        hold = Hold()
        vendor.script.append(Say(pieces=["running", hold]))
        heard = await ann.chat("Again", conversation=mine)
        await ann.text_of(heard.stream, "running")
        assert await answers(mine, message) == never
        hold.release()
        await ann.end_of(heard.stream)


async def test_a_stranger_cannot_lock_the_owner_out(guarded: Guarded) -> None:
    ann_key, bob_key = await guarded.key("locked"), await guarded.key("locker")
    async with (
        connected(guarded.url, headers=bearer(ann_key)) as ann,
        connected(guarded.url, headers=bearer(bob_key)) as bob,
    ):
        first = await ann.chat("Begin")
        await ann.end_of(first.stream)
        conversation = next(e for e in first.events if e["type"] == "message.saved")["conversation"]
        for _ in range(10):
            flood = [await bob.send("chat.send", input="Hi", conversation=conversation) for _ in range(5)]
            heard = await ann.chat("Again", conversation=conversation)
            assert (await ann.end_of(heard.stream))["status"] == "completed"
            assert {(await bob.answer(id))["error"]["code"] for id in flood} == {"conversation_not_found"}
