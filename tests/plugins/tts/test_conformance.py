"""Every voice does what each must."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest

from engine.api import SpeechProvider
from engine.testing.speech import SpeechProviderContract
from plugins.tts.providers.canned import CannedVoices
from plugins.tts.providers.deepgram import DeepgramVoices
from plugins.tts.providers.elevenlabs import ElevenLabsVoices
from plugins.tts.providers.google import GoogleVoices
from plugins.tts.providers.openai import OpenAIVoices
from plugins.tts.settings import TtsSettings
from plugins.vendors.settings import DeepgramSettings, ElevenLabsSettings, GoogleSettings, OpenAISettings
from plugins.vendors.transport import vendor_http
from tests.databases import unavailable
from tests.emulators.deepgram import DeepgramEmulator
from tests.emulators.elevenlabs import ElevenLabsEmulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.plugins.tts.here import local_voices
from tests.plugins.vendors.kit import OpenHttp

KEY = "key-test-0123456789"
WRONG_KEY = "key-wrong-9876543210"


@pytest.fixture
async def http() -> AsyncIterator[OpenHttp]:
    async with vendor_http() as session:
        yield OpenHttp(session)


class TestCanned(SpeechProviderContract):
    @pytest.fixture
    def provider(self) -> SpeechProvider:
        return CannedVoices()


class TestHeart(SpeechProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[SpeechProvider]:
        async with local_voices() as provider:
            yield provider


class TestFlite(SpeechProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[SpeechProvider]:
        if shutil.which("flite") is None:
            unavailable("flite is not installed (Debian's package flite)")
        async with local_voices(TtsSettings(local_voice="kal16")) as provider:
            yield provider


class TestEspeak(SpeechProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[SpeechProvider]:
        if shutil.which("espeak-ng") is None:
            unavailable("espeak-ng is not installed (Debian's package espeak-ng)")
        async with local_voices(TtsSettings(local_voice="en-gb")) as provider:
            yield provider


class TestOpenAI(SpeechProviderContract):
    model = "tts-1"
    secrets = (KEY, WRONG_KEY)

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[OpenAIEmulator]:
        async with OpenAIEmulator(key=KEY) as emulator:
            yield emulator

    def build(self, vendor: OpenAIEmulator, key: str, http: OpenHttp) -> SpeechProvider:
        return OpenAIVoices(OpenAISettings.model_validate({"base_url": vendor.base_url, "api_key": key}), http)

    @pytest.fixture
    def provider(self, vendor: OpenAIEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, KEY, http)

    @pytest.fixture
    def refused_provider(self, vendor: OpenAIEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, WRONG_KEY, http)


class TestDeepgram(SpeechProviderContract):
    model = "aura-2-thalia-en"
    secrets = (KEY, WRONG_KEY)

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[DeepgramEmulator]:
        async with DeepgramEmulator(key=KEY) as emulator:
            yield emulator

    def build(self, vendor: DeepgramEmulator, key: str, http: OpenHttp) -> SpeechProvider:
        return DeepgramVoices(DeepgramSettings.model_validate({"base_url": vendor.base_url, "api_key": key}), http)

    @pytest.fixture
    def provider(self, vendor: DeepgramEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, KEY, http)

    @pytest.fixture
    def refused_provider(self, vendor: DeepgramEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, WRONG_KEY, http)


class TestElevenLabs(SpeechProviderContract):
    model = "eleven_flash_v2_5"
    secrets = (KEY, WRONG_KEY)

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[ElevenLabsEmulator]:
        async with ElevenLabsEmulator(key=KEY) as emulator:
            yield emulator

    def build(self, vendor: ElevenLabsEmulator, key: str, http: OpenHttp) -> SpeechProvider:
        return ElevenLabsVoices(ElevenLabsSettings.model_validate({"base_url": vendor.base_url, "api_key": key}), http)

    @pytest.fixture
    def provider(self, vendor: ElevenLabsEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, KEY, http)

    @pytest.fixture
    def refused_provider(self, vendor: ElevenLabsEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, WRONG_KEY, http)


class TestGoogle(SpeechProviderContract):
    model = "gemini-2.5-flash-preview-tts"
    secrets = (KEY, WRONG_KEY)

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[GoogleEmulator]:
        async with GoogleEmulator(key=KEY) as emulator:
            yield emulator

    def build(self, vendor: GoogleEmulator, key: str, http: OpenHttp) -> SpeechProvider:
        return GoogleVoices(GoogleSettings.model_validate({"base_url": vendor.base_url, "api_key": key}), http)

    @pytest.fixture
    def provider(self, vendor: GoogleEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, KEY, http)

    @pytest.fixture
    def refused_provider(self, vendor: GoogleEmulator, http: OpenHttp) -> SpeechProvider:
        return self.build(vendor, WRONG_KEY, http)
