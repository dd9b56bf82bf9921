"""Who makes a request or opens a socket, by the credential that came with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from engine.api.errors import Unauthenticated
from engine.api.identity import LOCAL, Principal
from engine.auth.keys import ApiKeys

CHALLENGE = "Bearer"
"""The `WWW-Authenticate` header of an answer 401 (RFC 9110, 11.6.1)."""

# The clients of other vendors' dialects send their key in a header of their own.
_KEY_HEADERS = ("x-api-key", "api-key")

_KEY_PROTOCOL = "openai-insecure-api-key."
"""A page can set no header on a WebSocket, so OpenAI's clients send the key as a subprotocol of this beginning."""


class Identity(Protocol):
    """Turns a credential into a principal. Header names are lower case."""

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        """Who makes this request; raises Unauthenticated."""
        ...

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        """Who opens this socket; None when the headers bring no credential, so that the first frame has to.

        Raises Unauthenticated for a credential that is not accepted.
        """
        ...

    async def from_key(self, key: str) -> Principal:
        """Whom the key of a socket's first frame acts for; raises Unauthenticated."""
        ...

    def presented(self, headers: Mapping[str, str]) -> str | None:
        """The key that a request brings, where keys are looked at."""
        ...


class LocalIdentity:
    """Every caller is the one local user; a credential is taken and not looked at."""

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        return LOCAL

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        return LOCAL

    async def from_key(self, key: str) -> Principal:
        return LOCAL

    def presented(self, headers: Mapping[str, str]) -> str | None:
        return None


class KeyIdentity:
    """Every caller presents an API key: `Authorization: Bearer`, else `x-api-key`, else `api-key`,
    else a WebSocket subprotocol `openai-insecure-api-key.<key>`."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        key = _presented(headers)
        if key is None:
            raise Unauthenticated("this server needs an API key; send it in the header `Authorization: Bearer <key>`")
        return await self._keys.verify(key)

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        key = _presented(headers)
        return None if key is None else await self._keys.verify(key)

    async def from_key(self, key: str) -> Principal:
        return await self._keys.verify(key)

    def presented(self, headers: Mapping[str, str]) -> str | None:
        return _presented(headers)


def _presented(headers: Mapping[str, str]) -> str | None:
    """The key in the headers. An `Authorization` of another scheme counts only where no other header has a key."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, credential = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            return credential.strip()
    for name in _KEY_HEADERS:
        if name in headers:
            return headers[name].strip()
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(_KEY_PROTOCOL):
            return protocol.strip().removeprefix(_KEY_PROTOCOL)
    if authorization is not None:
        raise Unauthenticated("the Authorization header has the form `Bearer <key>`; other schemes are not taken here")
    return None
