"""The provider does what every speech provider must."""

from __future__ import annotations

import pytest
from engine.testing.speech import SpeechProviderContract

from betterai_acme.settings import AcmeSettings
from betterai_acme.speech import AcmeVoices


class TestAcme(SpeechProviderContract):
    secrets = ("sk-acme-0123456789",)

    @pytest.fixture
    def provider(self) -> AcmeVoices:
        return AcmeVoices(AcmeSettings(api_key=self.secrets[0]))
