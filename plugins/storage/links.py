"""Links to objects: whoever has one may fetch its object until it expires, and nobody can make one."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property

from engine.api import EngineError, Link

PATH = "/api/v1/storage/files"
"""Where links lead."""


class LinkInvalid(EngineError):
    """Raised when a link was not made by this server, or was changed since."""

    code = "link_invalid"
    status = 403

    def __init__(self) -> None:
        super().__init__("this link was not made here, or was changed since; ask its owner for another")


class LinkExpired(EngineError):
    """Raised when a link is older than its maker wanted."""

    code = "link_expired"
    status = 410

    def __init__(self) -> None:
        super().__init__("this link has expired; ask its owner for another")


class Links:
    """Signs object and end together. The secret is asked for when the first link is due."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._ask = secret

    @cached_property
    def _secret(self) -> bytes:
        return self._ask()

    def make(self, id: str, expires_at: datetime) -> Link:
        """A link to the object; it ends with a whole second."""
        expires = int(expires_at.timestamp())
        url = f"{PATH}/{id}?expires={expires}&signature={self._signature(id, expires)}"
        return Link(url=url, expires_at=datetime.fromtimestamp(expires, UTC))

    def check(self, id: str, expires: int, signature: str, now: datetime) -> None:
        """Pass, or raise `LinkInvalid` or `LinkExpired`; of the second only who had a true link is told."""
        if not hmac.compare_digest(self._signature(id, expires).encode(), signature.encode()):
            raise LinkInvalid
        if expires <= now.timestamp():
            raise LinkExpired

    def _signature(self, id: str, expires: int) -> str:
        signed = hmac.digest(self._secret, f"{id}\n{expires}".encode(), "sha256")
        return base64.urlsafe_b64encode(signed).decode().rstrip("=")
