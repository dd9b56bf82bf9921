"""The conformance kit on installed plugins; collected by `pytest --betterai-conformance NAME` alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from engine.api.chat import ChatRequest, Message, TextPart
from engine.api.providers import ChatProvider
from engine.bus.bus import Bus
from engine.config import RawConfig, load
from engine.db.databases import Databases
from engine.loader.context import Context, SharedResources, ToolTable
from engine.loader.find import installed_plugins
from engine.loader.gathered import Gathered
from engine.loader.load import Loader
from engine.providers.registry import Registry
from engine.sessions.supervisor import InProcessCommands, Supervisor
from engine.testing.conformance import ChatProviderContract

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider under test, and the model to ask."""

    provider: ChatProvider
    model: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each plugin that was named."""
    if "named" in metafunc.fixturenames:
        metafunc.parametrize("named", metafunc.config.getoption("--betterai-conformance"), scope="function")


@pytest_asyncio.fixture
async def subject(named: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """The plugin, loaded as a server would, with what it keeps open."""
    file, model = request.config.getoption("--betterai-config"), request.config.getoption("--betterai-model")
    raw = load(Path(file) if file else None, os.environ)
    async with _opened(named, raw, tmp_path) as gathered:
        yield _chosen(named, gathered, model)


def _chosen(named: str, gathered: Gathered, model: str | None) -> Subject:
    """The provider of the model's vendor, else the first that can serve, else the first, which will say why it cannot."""
    found = {it.name: it for owner, it in gathered.providers if owner == named and it.role == "chat"}
    if not found:
        pytest.fail(f"the plugin {named!r} brings no chat provider from register_providers")
    vendor, slash, rest = (model or "").partition("/")
    if slash and vendor in found:
        return Subject(cast("ChatProvider", found[vendor]), rest)
    provider = next((it for it in found.values() if it.unavailable is None), next(iter(found.values())))
    known = [info.id for _, info in gathered.models if info.provider == provider.name]
    default = getattr(provider, "default_model", None)
    return Subject(cast("ChatProvider", provider), model or default or next(iter(known), "default"))


@asynccontextmanager
async def _opened(named: str, raw: RawConfig, folder: Path) -> AsyncIterator[Gathered]:
    installed = installed_plugins()
    if named not in installed:
        pytest.fail(f"no plugin {named!r} is installed; installed are {', '.join(sorted(installed)) or 'none'}")
    loader = Loader(installed, [*installed[named].load().requires, named], [named])
    loader.load(raw)
    loader.settings(raw)
    supervisor, shared = Supervisor(Bus(clock=asyncio.get_running_loop().time)), SharedResources()
    databases = Databases({"default": f"sqlite+aiosqlite:///{folder}/betterai.db"})
    for part in loader.parts.values():
        if part.plugin is not None:
            part.context = Context(
                type(part.plugin),
                loader.tables,
                providers=Registry(),
                commands=InProcessCommands(supervisor),
                tools=ToolTable(),
                database=databases.database,
                shared=shared,
            )
    try:
        gathered = loader.gather()
        await loader.enter_lifespans()
        yield gathered
    finally:
        await loader.close()
        await shared.close()
        await databases.close()


class TestInstalled(ChatProviderContract):
    """The contract, on what is installed."""

    @pytest.fixture
    def provider(self, subject: Subject) -> ChatProvider:
        return subject.provider

    @pytest.fixture
    def question(self, subject: Subject) -> ChatRequest:
        message = Message(role="user", parts=(TextPart(self.prompt),))
        return ChatRequest(model=subject.model, messages=(message,), max_output_tokens=64)
