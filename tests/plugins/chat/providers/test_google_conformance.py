"""Google does what every chat provider must."""

from collections.abc import AsyncIterator

import pytest

from engine.api import ChatProvider
from engine.testing.conformance import ChatProviderContract
from plugins.chat.providers.google import Google
from plugins.vendors.settings import GoogleSettings
from tests.emulators.google import GoogleEmulator
from tests.plugins.vendors.kit import OpenHttp

KEY = "AIza-test-0123456789"
WRONG_KEY = "AIza-wrong-9876543210"


@pytest.fixture
async def gemini() -> AsyncIterator[GoogleEmulator]:
    async with GoogleEmulator(key=KEY) as emulator:
        yield emulator


class TestGoogle(ChatProviderContract):
    secrets = (KEY, WRONG_KEY)

    def build(self, settings: dict[str, str], http: OpenHttp) -> ChatProvider:
        return Google(GoogleSettings.model_validate(settings), http)

    @pytest.fixture
    def provider(self, gemini: GoogleEmulator, http: OpenHttp) -> ChatProvider:
        return self.build({"base_url": gemini.base_url, "api_key": KEY}, http)

    @pytest.fixture
    def refused_provider(self, gemini: GoogleEmulator, http: OpenHttp) -> ChatProvider:
        return self.build({"base_url": gemini.base_url, "api_key": WRONG_KEY}, http)

    @pytest.fixture
    def unavailable_provider(self, http: OpenHttp) -> ChatProvider:
        return self.build({}, http)
