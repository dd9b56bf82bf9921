"""The official SDK clients, pointed at their emulator, without retries of their own."""

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from google import genai
from google.genai.types import HttpOptions

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator

GOOGLE_SDK_WARNING = (
    "ignore:Inheritance class AiohttpClientSession from ClientSession is discouraged:DeprecationWarning"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the Google SDK make its session class, which aiohttp warns of, in the tests that use that SDK."""
    for item in items:
        if "google_client" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings(GOOGLE_SDK_WARNING))


@pytest.fixture
async def openai_vendor() -> AsyncIterator[OpenAIEmulator]:
    async with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
async def openai_client(openai_vendor: OpenAIEmulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="sk-test", base_url=openai_vendor.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_vendor() -> AsyncIterator[AnthropicEmulator]:
    async with AnthropicEmulator() as emulator:
        yield emulator


@pytest.fixture
async def anthropic_client(anthropic_vendor: AnthropicEmulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key="sk-ant-test", base_url=anthropic_vendor.base_url, max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def google_vendor() -> AsyncIterator[GoogleEmulator]:
    async with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
async def google_client(google_vendor: GoogleEmulator) -> AsyncIterator[genai.Client]:
    client = genai.Client(
        api_key="test", http_options=HttpOptions(base_url=google_vendor.base_url, api_version="v1beta")
    )
    yield client
    await client.aio.aclose()
    client.close()
