"""Who makes a request or opens a socket, by the credential that came with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.api.errors import Unauthenticated
from engine.api.identity import LOCAL, Principal
from engine.auth.key_text import is_key
from engine.auth.keys import ApiKeys
from engine.auth.passes import SignedPasses, is_pass, narrowed

CHALLENGE = "Bearer"
"""The `WWW-Authenticate` header of an answer 401 (RFC 9110, 11.6.1)."""

# The clients of other vendors' dialects send their key in a header of their own.
_KEY_HEADERS = ("x-api-key", "api-key")

_KEY_PROTOCOL = "openai-insecure-api-key."
"""A page can set no header on a WebSocket, so OpenAI's clients send the key as a subprotocol of this beginning."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, and the detail of the pass that they came with."""

    principal: Principal
    granted: Mapping[str, Any] | None = None


class Identity(Protocol):
    """Turns a credential into a principal. Header names are lower case."""

    async def caller(self, headers: Mapping[str, str], passes: str | None = None) -> Caller:
        """Who makes this request; `passes` is the purpose of passes that are taken, too. Raises Unauthenticated."""
        ...

    async def standing(self, principal: Principal) -> Principal:
        """Who was let in, as their key stands now; raises Unauthenticated once it is void."""
        ...

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        """Who opens this socket; None when the headers bring no credential, so that the first frame has to.

        Raises Unauthenticated for a credential that is not accepted.
        """
        ...

    async def from_key(self, key: str) -> Principal:
        """Whom the key of a socket's first frame acts for; raises Unauthenticated."""
        ...


class LocalIdentity:
    """Every caller is the one local user; a credential is taken and not looked at, but for what a pass holds."""

    def __init__(self, passes: SignedPasses | None = None) -> None:
        self._passes = passes

    async def caller(self, headers: Mapping[str, str], passes: str | None = None) -> Caller:
        if self._passes is not None and passes is not None:
            try:
                key = _presented(headers)
                return Caller(LOCAL, self._passes.read(key, passes)[1] if key is not None and is_pass(key) else None)
            except Unauthenticated:
                pass  # nobody needs a key here, so that a wrong one is as good as none
        return Caller(LOCAL)

    async def standing(self, principal: Principal) -> Principal:
        return LOCAL

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        return LOCAL

    async def from_key(self, key: str) -> Principal:
        return LOCAL


class KeyIdentity:
    """Every caller presents an API key: `Authorization: Bearer`, `x-api-key`, `api-key`, or a WebSocket subprotocol
    `openai-insecure-api-key.<key>`. Of several the one of our own form counts."""

    def __init__(self, keys: ApiKeys, passes: SignedPasses | None = None) -> None:
        self._keys = keys
        self._passes = passes

    async def caller(self, headers: Mapping[str, str], passes: str | None = None) -> Caller:
        key = _presented(headers)
        if key is None:
            raise Unauthenticated("this server needs an API key; send it in the header `Authorization: Bearer <key>`")
        if self._passes is None or passes is None or not is_pass(key):
            return Caller(await self.from_key(key))
        issued, detail = self._passes.read(key, passes)
        return Caller(narrowed(await self.standing(issued), issued), detail)

    async def standing(self, principal: Principal) -> Principal:
        if principal.key is None:
            raise Unauthenticated("the key is not accepted: it was made where nobody needs one")
        return await self._keys.standing(principal.key)

    async def from_headers(self, headers: Mapping[str, str]) -> Principal | None:
        key = _presented(headers)
        return None if key is None else await self.from_key(key)

    async def from_key(self, key: str) -> Principal:
        if is_pass(key):
            raise Unauthenticated("a key that begins with ek_ opens only what it was made for, and not this")
        return await self._keys.verify(key)


def _presented(headers: Mapping[str, str]) -> str | None:
    """The key in the headers: of several the first that has the form of ours, else the first.

    Clients put a vendor's own key beside the one that is for this server. An `Authorization` of another scheme counts only
    where no other header has a key.
    """
    given = list(_credentials(headers))
    for credential in given:
        if is_key(credential) or is_pass(credential):
            return credential
    if given:
        return given[0]
    if "authorization" in headers:
        raise Unauthenticated("the Authorization header has the form `Bearer <key>`; other schemes are not taken here")
    return None


def _credentials(headers: Mapping[str, str]) -> Iterator[str]:
    # A header that was sent several times is joined by commas, which no key has.
    for authorization in headers.get("authorization", "").split(","):
        scheme, _, credential = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            yield credential.strip()
    for name in _KEY_HEADERS:
        if name in headers:
            yield from (key.strip() for key in headers[name].split(","))
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(_KEY_PROTOCOL):
            yield protocol.strip().removeprefix(_KEY_PROTOCOL)
