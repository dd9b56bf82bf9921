"""Provider tests run on virtual time: minutes of waiting take none."""

import asyncio
from collections.abc import Sequence
from datetime import date

import pytest

from engine.api import ChatChain, ChatDelta, ChatDeltas, ChatRequest, ModelInfo, Provider
from engine.providers import Catalogue, Registry, ResiliencePolicy
from engine.providers.registry import ModelRules
from engine.testing import RecordingWriter, VirtualTimeLoop, ask

TODAY = date(2026, 11, 23)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, type[VirtualTimeLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def writer() -> RecordingWriter:
    return RecordingWriter()


def registry(
    *providers: Provider,
    entries: tuple[ModelInfo, ...] = (),
    policy: ResiliencePolicy | None = None,
    fallbacks: dict[str, tuple[str, ...]] | None = None,
) -> Registry:
    """A registry whose breakers count the time of the running loop."""
    return Registry(
        [("test", provider) for provider in providers],
        Catalogue(entries),
        ModelRules(policy=policy or ResiliencePolicy(), fallbacks=fallbacks or {}),
        clock=asyncio.get_running_loop().time,
        today=lambda: TODAY,
    )


async def batches(
    chain: ChatChain, writer: RecordingWriter, request: ChatRequest | None = None
) -> list[list[ChatDelta]]:
    """The answer as it came; the writer has it, too."""
    taken: list[list[ChatDelta]] = []

    def take(deltas: ChatDeltas) -> None:
        batch = list(deltas) if isinstance(deltas, Sequence) else [deltas]
        taken.append(batch)
        writer.extend(batch)

    await chain.ask(request or ask(), writer, take)
    return taken


async def play(chain: ChatChain, writer: RecordingWriter, request: ChatRequest | None = None) -> list[ChatDelta]:
    """The deltas of the answer."""
    return [delta for batch in await batches(chain, writer, request) for delta in batch]
