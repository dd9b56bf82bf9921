"""Who may talk to a server without keys: programs and pages of this machine, and nobody through them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from engine.api.errors import Forbidden
from engine.api.ids import random_hex
from engine.auth.binding import is_loopback

REQUEST_ID = "X-Request-Id"

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<authority>[^/?#@]+)")
_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
_NEAR_SITES = frozenset({"none", "same-origin", "same-site"})
_REMEDY = 'this server runs with auth.mode = "local"; to serve others set auth.mode = "keys"'


class LocalGuard:
    """Refuses whatever does not come from this machine, when `auth.mode` is `local`.

    `hosts` are further names under which the server may be addressed; `origins` are web origins that may call it from another
    site. Raises `ValueError` for the origin "*": without keys it would open the server to every page that its user visits.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self._origins = frozenset(origins)
        if "*" in self._origins:
            raise ValueError(
                'cors_origins = "*" lets every web page use this server; name the origins, or set auth.mode = "keys"'
            )

    def check(self, peer: str | None, headers: Mapping[str, str]) -> None:
        """Pass, or raise `Forbidden` that says why and what to do. The same for requests and for WebSocket upgrades.

        `peer` is the address of the other end of the connection; `headers` are by lower-case name.
        """
        self._check_peer(peer)
        self._check_proxy(headers)
        host = self._check_host(headers.get("host"))
        origin = headers.get("origin")
        if origin in self._origins:
            return
        self._check_origin(origin, host)
        site = headers.get("sec-fetch-site")
        if site is not None and site not in _NEAR_SITES:
            raise Forbidden(f"the request was made by a page of another site; {_other_site()}")

    def _check_peer(self, peer: str | None) -> None:
        if peer is None or not is_loopback(peer):
            raise Forbidden(f"only programs on this machine may call; {_REMEDY}")

    def _check_proxy(self, headers: Mapping[str, str]) -> None:
        for name in headers:
            if name in _PROXY_HEADERS or name.startswith("x-forwarded"):
                raise Forbidden(f"the request came through a proxy (it carries {name[:40]}); {_REMEDY}")

    def _check_host(self, host: str | None) -> str:
        name = host_name(host or "")
        if name is None or not (is_loopback(name) or name in self._hosts):
            shown = f"Host {host[:80]!r}" if host else "a request without Host"
            raise Forbidden(
                f"{shown} is not this machine; use localhost or 127.0.0.1, "
                "or add the name to auth.allowed_hosts in the configuration"
            )
        return name

    def _check_origin(self, origin: str | None, host: str) -> None:
        """A page of the same host is of the same site, whatever its port."""
        if origin is None:
            return
        match = _ORIGIN.fullmatch(origin)
        if match is None or host_name(match["authority"]) != host:
            raise Forbidden(f"the request was made by a page of {origin[:80]!r}, another site; {_other_site()}")


def host_name(authority: str) -> str | None:
    """The host of `host[:port]` in lower case, without brackets and a final dot; None where it is none."""
    match = _AUTHORITY.fullmatch(authority)
    return match["host"].lower().strip("[]").removesuffix(".") if match else None


def request_id(incoming: str | None) -> str:
    """The caller's own id where it is 1 to 64 of the characters A-Z a-z 0-9 . _ -, else one made here."""
    return incoming if incoming and _SANE_ID.fullmatch(incoming) else random_hex(12)


def _other_site() -> str:
    return f"add its origin to server.cors_origins in the configuration to allow it ({_REMEDY})"
