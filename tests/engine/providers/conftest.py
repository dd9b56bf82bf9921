"""Provider tests run on virtual time: minutes of waiting take none."""

import asyncio
from datetime import date

import pytest

from engine.api import ModelInfo, Provider
from engine.providers import Catalogue, Registry, ResiliencePolicy
from engine.testing import RecordingWriter, VirtualTimeLoop

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
        policy,
        fallbacks=fallbacks,
        clock=asyncio.get_running_loop().time,
        today=lambda: TODAY,
    )
