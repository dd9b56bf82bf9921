"""The conformance kit on installed plugins; collected by `pytest --betterai-conformance NAME` alone."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from engine.api.chat import ChatRequest, Message, TextPart
from engine.api.providers import ChatProvider, Provider, ProviderRole, SpeechProvider
from engine.api.speech import SpeechRequest
from engine.auth.passes import SignedPasses
from engine.auth.secret import derived
from engine.bus.bus import Bus
from engine.config import RawConfig, load
from engine.config.settings import PluginsSettings
from engine.db.databases import Databases
from engine.loader.context import Context, SharedResources, ToolTable
from engine.loader.find import installed_plugins
from engine.loader.gathered import Gathered
from engine.loader.load import Loader
from engine.providers.registry import Registry
from engine.sessions.supervisor import InProcessCommands, Supervisor
from engine.testing.conformance import ChatProviderContract
from engine.testing.speech import SpeechProviderContract

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True, slots=True)
class Subject:
    """A provider under test, and the model to ask."""

    provider: Provider
    model: str


ROLES: tuple[ProviderRole, ...] = ("chat", "speech")
"""Those that the kit has a contract for."""

SECRET = b"a secret of the conformance kit alone"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each plugin that was named."""
    if "named" in metafunc.fixturenames:
        metafunc.parametrize("named", metafunc.config.getoption("--betterai-conformance"), scope="function")


@pytest_asyncio.fixture
async def subject(
    named: str, role: ProviderRole, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Subject]:
    """The plugin, loaded as a server would, with what it keeps open."""
    file, model = request.config.getoption("--betterai-config"), request.config.getoption("--betterai-model")
    raw = load(Path(file) if file else None, os.environ)
    async with _opened(named, raw, tmp_path) as gathered:
        yield _chosen(named, role, gathered, model)


def _chosen(named: str, role: ProviderRole, gathered: Gathered, model: str | None) -> Subject:
    """The provider of the model's vendor, else the first that can serve, else the first, which will say why it cannot."""
    brought = [it for owner, it in gathered.providers if owner == named]
    if not any(it.role in ROLES for it in brought):
        pytest.fail(f"the plugin {named!r} brings no provider from register_providers, for {' or '.join(ROLES)}")
    found = {it.name: it for it in brought if it.role == role}
    if not found:
        pytest.skip(f"the plugin {named!r} brings no {role} provider")
    vendor, slash, rest = (model or "").partition("/")
    if slash and vendor in found:
        return Subject(found[vendor], rest)
    provider = next((it for it in found.values() if it.unavailable is None), next(iter(found.values())))
    known = [info.id for _, info in gathered.models if (info.provider, info.role) == (provider.name, role)]
    default = getattr(provider, "default_model", None)
    return Subject(provider, model or default or next(iter(known), "default"))


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
                passes=SignedPasses(lambda: secrets.token_bytes(32)),
                database=databases.database,
                secret=partial(derived, SECRET),
                shared=shared,
            )
    try:
        gathered = loader.gather()
        await loader.enter_lifespans(PluginsSettings().start_timeout)
        yield gathered
    finally:
        await loader.close()
        await shared.close()
        await databases.close()


class TestInstalledChat(ChatProviderContract):
    """The contract of chat, on what is installed."""

    @pytest.fixture
    def role(self) -> ProviderRole:
        return "chat"

    @pytest.fixture
    def provider(self, subject: Subject) -> ChatProvider:
        return cast("ChatProvider", subject.provider)

    @pytest.fixture
    def question(self, subject: Subject) -> ChatRequest:
        message = Message(role="user", parts=(TextPart(self.prompt),))
        return ChatRequest(model=subject.model, messages=(message,), max_output_tokens=64)


class TestInstalledSpeech(SpeechProviderContract):
    """The contract of speech, on what is installed."""

    @pytest.fixture
    def role(self) -> ProviderRole:
        return "speech"

    @pytest.fixture
    def provider(self, subject: Subject) -> SpeechProvider:
        return cast("SpeechProvider", subject.provider)

    @pytest.fixture
    def request_for(self, subject: Subject) -> SpeechRequest:
        return SpeechRequest(model=subject.model)
