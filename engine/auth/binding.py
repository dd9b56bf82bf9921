"""Which addresses a server may listen on: without keys, only those that no other machine reaches."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Literal

from engine.config.errors import ConfigError


def check_binding(host: str, mode: Literal["local", "keys"], origin: str | None = None) -> None:
    """Pass, or raise ConfigError that says what to set; `origin` is where the address stands."""
    if mode == "local" and not is_loopback(host):
        raise ConfigError(
            key="auth.mode",
            origin=origin,
            message=f'server.host = "{host}" can be reached from other machines, which needs API keys: set '
            'auth.mode = "keys" and make one with `betterai keys create`, or set server.host = "127.0.0.1"',
        )


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """True for localhost and its subdomains, 127.0.0.0/8 and ::1 (also as IPv4 in IPv6)."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
