"""The dialect on a real port: real turns, streams and HTTP under it, a scripted model behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias, cast

import openai
import pytest

from engine.api import Command, Database
from engine.auth.identity import LocalIdentity
from engine.auth.passes import SignedPasses
from engine.auth.secret import derived
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.http.table import RouteTable
from engine.loader.context import Context, SharedResources, ToolTable
from engine.providers.policy import ResiliencePolicy
from engine.providers.registry import ModelRules, Registry
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import InProcessCommands, Supervisor
from engine.sessions.table import CommandTable
from engine.testing import ScriptedProvider
from plugins.chat.bodies import ChatSend
from plugins.chat.history.store import History
from plugins.chat.sending import Sending
from plugins.chat.settings import ChatSettings
from plugins.openai_api.plugin import OpenAIApi
from plugins.openai_api.settings import OpenAIApiSettings

Serving: TypeAlias = Callable[..., AbstractAsyncContextManager[openai.AsyncOpenAI]]


def _no_database(name: str) -> Database:
    raise AssertionError("turns of this dialect are not kept")


def _context(
    plugin: type[OpenAIApi], supervisor: Supervisor, registry: Registry, settings: OpenAIApiSettings
) -> Context:
    return Context(
        plugin,
        {OpenAIApiSettings: settings, ChatSettings: ChatSettings()},
        providers=registry,
        commands=InProcessCommands(supervisor),
        tools=ToolTable(),
        passes=SignedPasses(lambda: b"a secret for the tests"),
        database=_no_database,
        secret=partial(derived, b"a secret of these tests alone"),
        shared=SharedResources(),
    )


@asynccontextmanager
async def _serving(provider: ScriptedProvider, *, strict: bool = False) -> AsyncIterator[openai.AsyncOpenAI]:
    registry = Registry(
        [("test", provider)], rules=ModelRules(policy=ResiliencePolicy(retries=0), default=f"{provider.name}/m")
    )
    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    plugin = OpenAIApi()
    context = _context(OpenAIApi, supervisor, registry, OpenAIApiSettings(strict=strict))
    sending = Sending(context, ChatSettings(), cast("History", None))
    supervisor.table = CommandTable(
        [("chat", Command(name="chat.send", body=ChatSend, prepare=sending.prepare))],
    )
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=Bounds(max_body=1 << 20, max_frame=1 << 20, ping_interval=30.0),
        session=lambda: SessionSettings(version="test"),
        guard=None,
        cors=Cors(()),
    )
    http.routes = RouteTable([("openai_api", route) for route in plugin.register_routes(context)])
    runner, port = await listen(http.application(), "127.0.0.1", 0)
    try:
        async with openai.AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client:
            yield client
    finally:
        await supervisor.drain(0)
        await runner.cleanup()


@pytest.fixture
def serving() -> Serving:
    """Opens a server whose only model is the scripted one, and the official client of it."""
    return _serving
