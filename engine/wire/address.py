"""The address of a server as people write it: `127.0.0.1:8080`, `http://127.0.0.1:8080` or `wss://example.org/ws`."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, urlsplit, urlunsplit

DEFAULT_ADDRESS = "http://127.0.0.1:8080"
SOCKET_PATH = "/ws"

_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def http_address(text: str) -> str:
    """Where the server's routes begin, without a slash at the end; raises `ValueError` for what is no address."""
    parts = _parts(text)
    path = parts.path.rstrip("/").removesuffix(SOCKET_PATH).rstrip("/")
    return urlunsplit((_HTTP[parts.scheme], parts.netloc, path, "", ""))


def socket_address(text: str) -> str:
    """Where the server's WebSocket is; the path of a WebSocket's own address stays. Raises `ValueError` as above."""
    parts = _parts(text)
    path = parts.path.rstrip("/")
    if not path or (parts.scheme not in ("ws", "wss") and not path.endswith(SOCKET_PATH)):
        path += SOCKET_PATH
    return urlunsplit((_SOCKET[parts.scheme], parts.netloc, path, parts.query, ""))


def no_server(url: str, error: BaseException) -> str:
    """The sentence for a person whose program found no server at an address, in words of the operating system."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    if isinstance(cause, TimeoutError) and not number:
        why = "it does not answer in time"
    elif isinstance(number, int) and number > 0:
        why = os.strerror(number).lower()
    elif isinstance(cause, OSError) and cause.strerror:
        why = cause.strerror.lower()
    elif isinstance(cause, ValueError):
        why = "what answers there is another program"
    else:
        why = "it broke the connection off"
    return f"no server answers at {url}: {why}"


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        valid = parts.scheme in _HTTP and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or " " in text:
        raise ValueError(f"{text!r} is no address of a server, such as {DEFAULT_ADDRESS}")
    return parts
