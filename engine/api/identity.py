"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

ALL_SCOPES = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of streams, conversations and spend. Comes only from the credential, never from a body.

    `key` is the public id of the API key that was used, for the ledger; None in local mode.
    """

    id: str
    scopes: frozenset[str] = ALL_SCOPES
    key: str | None = None

    def may(self, scope: str) -> bool:
        """True when the credential grants `scope`."""
        return "*" in self.scopes or scope in self.scopes


LOCAL = Principal("local")
"""The one caller of a server that listens on loopback without keys."""
