"""Sessions that keys for pages are bound to."""

from __future__ import annotations

import pytest

from engine.api import Unauthenticated
from engine.auth.passes import SignedPasses
from engine.providers.registry import Registry
from plugins.openai_api.realtime_secrets import ClientSecrets
from plugins.openai_api.realtime_sessions import Sessions


def test_a_key_of_another_version_of_the_server_is_void_and_says_so() -> None:
    secrets = ClientSecrets(SignedPasses(lambda: b"a secret for the tests"), Sessions(Registry(), "openai"))
    with pytest.raises(Unauthenticated, match="another version"):
        secrets.bound({"session": {"type": "realtime", "output_modalities": "red"}}, None, listens=False)
