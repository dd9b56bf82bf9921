"""What goes wrong in a session with OpenAI, in our words: what another session mends, and what ends the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

import plugins.vendors.openai_realtime as line
from engine.api import EngineError, ProviderError, ProviderTimeout, ProviderUnavailable
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import clean

ACTIVE = "conversation_already_has_active_response"
CROSSED = frozenset({"response_cancel_not_active", ACTIVE})
"""Two ends of a line see an answer end at different moments."""

FATAL = frozenset({"invalid_api_key", "insufficient_quota", "invalid_model", "model_not_found"})


class Lost(Exception):
    """A session that is worth another; `lived` says whether it had told anything."""

    def __init__(self, error: EngineError, *, lived: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.lived = lived


class Faults:
    """Explains them in the vendor's name, without its key."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    def silent(self, seconds: float) -> EngineError:
        """Nothing came for so long."""
        return ProviderTimeout(f"{self._vendor.title} said nothing for {seconds:g} s.")

    def closed(self, socket: aiohttp.ClientWebSocketResponse, last: aiohttp.WSMessage | None) -> EngineError:
        """The session ended, by its `last` message; one that another may follow is unavailable."""
        code, told = line.ending(self._vendor, socket, last)
        return ProviderUnavailable(told) if code in line.PASSES else ProviderError(told)

    def malformed(self, what: str) -> EngineError:
        """An event is not as it is documented."""
        return self._vendor.broke_protocol(f"{what} is not of the known form")

    def expired(self, error: Mapping[str, Any]) -> EngineError:
        """The session has reached its limit."""
        return ProviderUnavailable(self.words(error))

    def words(self, error: Mapping[str, Any]) -> str:
        """What the vendor says, and its code."""
        told = clean(str(error.get("message") or "it gave no reason"), self._vendor.secret)
        return f"{self._vendor.title}: {told}" + (f" ({clean(str(error['code']))})" if error.get("code") else "")

    def failure(self, error: Mapping[str, Any]) -> EngineError:
        """The vendor's own error as one of ours."""
        return line.failure(self._vendor, error)
