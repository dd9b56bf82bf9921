"""Who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

ALL_SCOPES = frozenset({"*"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The most that one API key may do, beside what bounds its principal; None is no bound.

    `streams` and `sockets` count those that are open at a time.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    streams: int | None = None
    sockets: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of streams, conversations and spend. Comes only from the credential, never from a body.

    `key` is the public id of the API key that was used, for the ledger, and `limits` are that key's own; in local mode
    there is neither.
    """

    id: str
    scopes: frozenset[str] = ALL_SCOPES
    key: str | None = None
    limits: KeyLimits = KeyLimits()

    def may(self, scope: str) -> bool:
        """True when the credential grants `scope`."""
        return "*" in self.scopes or scope in self.scopes

    @property
    def subject(self) -> str:
        """The principal's name where principals and keys are counted: `principal:ann`."""
        return f"principal:{self.id}"

    @property
    def key_subject(self) -> str | None:
        """The key's name there: `key:abcd2345efgh`."""
        return f"key:{self.key}" if self.key else None


@dataclass(frozen=True, slots=True)
class Pass:
    """A key for a short time and one purpose, to hand on: to a page, say. `expires_at` counts seconds since 1970."""

    text: str = field(repr=False)
    expires_at: int


class Passes(Protocol):
    """Issues passes. Routes that name the purpose (`Route.passes`) take them beside keys."""

    def issue(
        self, principal: Principal, purpose: str, *, seconds: int, detail: Mapping[str, Any] | None = None
    ) -> Pass:
        """A pass that acts for `principal`, and never for more than it may: void with its key, and with every scope less.

        Its holder can read `detail`, plain data that comes back as `HttpRequest.granted`. Raises InvalidRequest where that
        is too long for a header.
        """
        ...


LOCAL = Principal("local")
"""The one caller of a server that listens on loopback without keys."""
