"""Without keys a server listens where no other machine reaches it."""

from __future__ import annotations

import pytest

from engine.auth.binding import check_binding, is_loopback
from engine.config.errors import ConfigError

NEAR = ["localhost", "LOCALHOST", "localhost.", "box.localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]
FAR = [
    "0.0.0.0",
    "::",
    "",
    "192.168.0.2",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1%eth0",
    "example.com",
    "localhost.com",
]


@pytest.mark.parametrize("host", NEAR)
def test_a_loopback_address_needs_no_keys(host: str) -> None:
    check_binding(host, "local")
    assert is_loopback(host)


@pytest.mark.parametrize("host", FAR)
def test_any_other_address_needs_keys_and_says_what_to_set(host: str) -> None:
    with pytest.raises(ConfigError, match=r'set auth\.mode = "keys"') as refused:
        check_binding(host, "local")
    assert refused.value.key == "auth.mode"
    assert f'server.host = "{host}"' in str(refused.value)


@pytest.mark.parametrize("host", NEAR + FAR)
def test_with_keys_every_address_is_fine(host: str) -> None:
    check_binding(host, "keys")
