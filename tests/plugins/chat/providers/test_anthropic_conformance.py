"""Anthropic does what every chat provider must."""

from collections.abc import AsyncIterator

import pytest

from engine.api import ChatProvider
from engine.testing.conformance import ChatProviderContract
from plugins.chat.providers.anthropic import Anthropic
from plugins.vendors.settings import AnthropicSettings
from tests.emulators.anthropic import AnthropicEmulator
from tests.plugins.vendors.kit import OpenHttp

KEY = "sk-ant-test-0123456789"
WRONG_KEY = "sk-ant-wrong-9876543210"


@pytest.fixture
async def claude() -> AsyncIterator[AnthropicEmulator]:
    async with AnthropicEmulator(key=KEY) as emulator:
        yield emulator


class TestAnthropic(ChatProviderContract):
    secrets = (KEY, WRONG_KEY)

    def build(self, settings: dict[str, str], http: OpenHttp) -> ChatProvider:
        return Anthropic(AnthropicSettings.model_validate(settings), http)

    @pytest.fixture
    def provider(self, claude: AnthropicEmulator, http: OpenHttp) -> ChatProvider:
        return self.build({"base_url": claude.base_url, "api_key": KEY}, http)

    @pytest.fixture
    def refused_provider(self, claude: AnthropicEmulator, http: OpenHttp) -> ChatProvider:
        return self.build({"base_url": claude.base_url, "api_key": WRONG_KEY}, http)

    @pytest.fixture
    def unavailable_provider(self, http: OpenHttp) -> ChatProvider:
        return self.build({}, http)
