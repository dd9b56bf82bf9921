"""The provider does what every chat provider must."""

from __future__ import annotations

import pytest
from engine.testing.conformance import ChatProviderContract

from betterai_acme.chat import AcmeChat
from betterai_acme.settings import AcmeSettings


class TestAcme(ChatProviderContract):
    secrets = ("sk-acme-0123456789",)

    @pytest.fixture
    def provider(self) -> AcmeChat:
        return AcmeChat(AcmeSettings(api_key=self.secrets[0]))

    @pytest.fixture
    def unavailable_provider(self) -> AcmeChat:
        return AcmeChat(AcmeSettings())
