"""The providers over OpenAI's two APIs do what every chat provider must."""

from collections.abc import AsyncIterator

import pytest

from engine.api import ChatProvider
from engine.testing.conformance import ChatProviderContract
from plugins.chat.providers.openai import OpenAI, OpenAIResponses
from plugins.vendors.compatible import compatible_vendor
from plugins.vendors.settings import COMPATIBLE_SETTINGS, OpenAISettings
from plugins.vendors.spread import chat_over
from tests.emulators.openai import OpenAIEmulator
from tests.plugins.vendors.kit import OpenHttp

KEY = "sk-test-0123456789"
WRONG_KEY = "sk-wrong-9876543210"


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIEmulator]:
    async with OpenAIEmulator(key=KEY) as emulator:
        yield emulator


class TestResponses(ChatProviderContract):
    secrets = (KEY, WRONG_KEY)

    def build(self, url: str | None, key: str | None, http: OpenHttp) -> ChatProvider:
        address = {"base_url": url} if url else {}
        return OpenAIResponses(OpenAISettings.model_validate({**address, "api_key": key}), http)

    @pytest.fixture
    def provider(self, vendor: OpenAIEmulator, http: OpenHttp) -> ChatProvider:
        return self.build(vendor.base_url, KEY, http)

    @pytest.fixture
    def refused_provider(self, vendor: OpenAIEmulator, http: OpenHttp) -> ChatProvider:
        return self.build(vendor.base_url, WRONG_KEY, http)

    @pytest.fixture
    def unavailable_provider(self, http: OpenHttp) -> ChatProvider:
        return self.build(None, None, http)


class TestOpenAI(TestResponses):
    def build(self, url: str | None, key: str | None, http: OpenHttp) -> ChatProvider:
        address = {"base_url": url} if url else {}
        return OpenAI(OpenAISettings.model_validate({**address, "api_key": key}), http)


class TestOpenAIOverSeveralKeys(TestResponses):
    def build(self, url: str | None, key: str | None, http: OpenHttp) -> ChatProvider:
        address = {"base_url": url} if url else {}
        further = (f"{key}0", f"{key}1") if key else ()
        each = OpenAISettings.model_validate({**address, "api_key": key, "api_keys": further}).each_key()
        return chat_over([OpenAI(settings, http) for settings in each])


class TestCompatibleVendor(TestResponses):
    def build(self, url: str | None, key: str | None, http: OpenHttp) -> ChatProvider:
        address = {"base_url": url} if url else {}
        settings = COMPATIBLE_SETTINGS["groq"].model_validate({**address, "api_key": key})
        return compatible_vendor("groq", settings, http)
