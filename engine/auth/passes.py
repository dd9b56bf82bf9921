"""Passes: keys for a short time and one purpose, that hold all that is to be known of them under a signature.

No table knows them, so that every process which has the server's secret takes them, and issuing one costs no write. A pass is
worth no more than the key that it was issued with: its scopes are those that both have, and it is void when that key is.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from engine.api.errors import InvalidRequest, Unauthenticated
from engine.api.identity import ALL_SCOPES, Pass, Principal
from engine.auth.secret import derived

PREFIX = "ek_"

LONGEST = 7_000
"""Characters of a pass: with its name it fits into one header of a request, of which servers read 8 KiB."""

_CONTENT = 1 << 20
"""Bytes that a pass may unfold to."""


class _Content(msgspec.Struct, frozen=True, array_like=True):
    purpose: str
    principal: str
    key: str | None
    scopes: list[str]
    expires: int
    detail: dict[str, Any]
    salt: str
    """Makes each pass another one, whatever it holds."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Content).decode


def is_pass(key: str | None) -> bool:
    """Whether what was presented has the form of a pass."""
    return key is not None and key.startswith(PREFIX)


class SignedPasses:
    """Implements `engine.api.Passes`. `secret` is asked for when the first pass is made or read; `clock` counts since 1970."""

    def __init__(self, secret: Callable[[], bytes], *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    @cached_property
    def _key(self) -> bytes:
        return derived(self._secret(), "passes")

    def issue(
        self, principal: Principal, purpose: str, *, seconds: int, detail: Mapping[str, Any] | None = None
    ) -> Pass:
        expires = int(self._clock()) + seconds
        content = _Content(
            purpose,
            principal.id,
            principal.key,
            sorted(principal.scopes),
            expires,
            dict(detail or {}),
            secrets.token_hex(8),
        )
        plain = _encode(content)
        packed = zlib.compress(plain, 9)
        text = f"{PREFIX}{_text(packed)}.{_text(self._signature(packed))}"
        if len(text) > LONGEST or len(plain) > _CONTENT:
            raise InvalidRequest(
                f"a key cannot hold as much: it would have {len(text)} of at most {LONGEST} characters"
            )
        return Pass(text, expires)

    def read(self, text: str, purpose: str) -> tuple[Principal, Mapping[str, Any]]:
        """Whom a pass acts for, as it was issued, and its detail. Raises Unauthenticated."""
        packed, _, signature = text.removeprefix(PREFIX).partition(".")
        content = self._content(_bytes(packed), _bytes(signature))
        if content is None:
            raise Unauthenticated("the key is not accepted: it was not made by this server, or not wholly sent")
        if content.purpose != purpose:
            raise Unauthenticated("the key is not accepted here: it was made for something else")
        if content.expires <= self._clock():
            raise Unauthenticated("the key has expired; make another one")
        return Principal(content.principal, frozenset(content.scopes), content.key), content.detail

    def _content(self, packed: bytes, signature: bytes) -> _Content | None:
        """What was signed; nothing is unfolded that was not."""
        if not hmac.compare_digest(signature, self._signature(packed)):
            return None
        return _decode(zlib.decompressobj().decompress(packed, _CONTENT))

    def _signature(self, packed: bytes) -> bytes:
        return hmac.digest(self._key, packed, "sha256")


def narrowed(now: Principal, issued: Principal) -> Principal:
    """The principal as its key stands now, with the scopes that it had then, too, and no more."""
    if now.scopes >= ALL_SCOPES:
        scopes = issued.scopes
    elif issued.scopes >= ALL_SCOPES:
        scopes = now.scopes
    else:
        scopes = now.scopes & issued.scopes
    return Principal(now.id, scopes, now.key, now.limits)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Out of Base64; nothing out of what is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
