"""A pool of connections and an emulated OpenAI for every test that asks."""

from collections.abc import AsyncIterator

import pytest

from plugins.vendors.transport import vendor_http
from tests.emulators.openai import OpenAIEmulator
from tests.plugins.vendors.kit import OpenHttp


@pytest.fixture
async def http() -> AsyncIterator[OpenHttp]:
    async with vendor_http() as session:
        yield OpenHttp(session)


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIEmulator]:
    async with OpenAIEmulator() as emulator:
        yield emulator
