"""Cross-origin resource sharing (Fetch standard): which web pages of other origins may call, off unless configured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from engine.api.routes import Answer

EXPOSED = (
    "Allow",
    "Content-Range",
    "ETag",
    "Idempotency-Key",
    "Location",
    "Retry-After",
    "Server-Timing",
    "X-BetterAI-Estimated",
    "X-BetterAI-Ignored",
    "X-Request-Id",
    "X-Stream-Id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

_SUPPOSED = "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]{1,1000}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_AGE = "600"


class Cors:
    """The origins that may call. No origins: nothing is ever added to an answer; "*": any page may.

    Credentials of the browser (cookies) are never allowed: a caller shows its key itself. Raises `ValueError` for what is no
    origin.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)
        for origin in self._origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; write scheme://host or scheme://host:port in lower case, or *"
                )

    def headers(self, origin: str | None) -> dict[str, str]:
        """What to add to every answer."""
        allowed = self._allowed(origin)
        if not allowed:
            return {}
        allowed["Access-Control-Expose-Headers"] = ", ".join(EXPOSED)
        return allowed if "Access-Control-Allow-Origin" in allowed else {"Vary": "Origin"}

    def preflight(self, method: str, headers: Mapping[str, str]) -> Answer | None:
        """The answer to a browser's question whether a page may call; None when this is none or its origin may not.

        `headers` are by lower-case name.
        """
        if method != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        allowed = self._allowed(headers.get("origin"))
        if "Access-Control-Allow-Origin" not in allowed:
            return None
        asked = headers.get("access-control-request-headers", "")
        allowed["Access-Control-Allow-Methods"] = METHODS
        allowed["Access-Control-Allow-Headers"] = asked if _HEADER_NAMES.fullmatch(asked) else _SUPPOSED
        allowed["Access-Control-Max-Age"] = _AGE
        allowed["Vary"] = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        return Answer(status=204, headers=allowed)

    def _allowed(self, origin: str | None) -> dict[str, str]:
        if "*" in self._origins:
            return {"Access-Control-Allow-Origin": "*"}
        if not self._origins:
            return {}
        if origin is not None and origin in self._origins:
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        return {"Vary": "Origin"}
