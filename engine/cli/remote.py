"""How a command asks a running server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import aiohttp
import typer

from engine.cli.terminal import fail, run
from engine.config import ConfigError, RawConfig, read_core
from engine.config.settings import ServerSettings
from engine.wire.address import http_address, no_server

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="BETTERAI_SERVER",
        show_envvar=False,
        help="Address of the running server (or BETTERAI_SERVER); else as host and port in the configuration say.",
    ),
]
KeyOption = Annotated[
    str | None, typer.Option(envvar="BETTERAI_KEY", help="API key with the scope admin, where the server wants one.")
]

UserKeyOption = Annotated[
    str | None, typer.Option("--key", envvar="BETTERAI_KEY", help="API key, where the server wants one.")
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Read the configuration, and ask no server.")]

LISTED_WITHIN = 10.0
"""Seconds; a server that takes longer for a list is as good as none."""

ANSWERS_WITHIN = 60.0
"""Seconds; a plugin that is switched on may have to load something first."""


class NoServer(Exception):
    """Raised where nothing answers as a server does; the message names the address and the reason."""


def server_address(raw: RawConfig, given: str | None) -> str:
    """Where the server is to be found."""
    if given is not None:
        try:
            return http_address(given)
        except ValueError as error:
            fail(f"--server: {error}", 2)
    try:
        return configured_address(read_core(raw).server)
    except ConfigError as error:
        fail(str(error), 2)


def configured_address(server: ServerSettings) -> str:
    """Where programs on this machine find a server with these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{server.port}"


def ask(url: str, method: str, path: str, key: str | None, body: Mapping[str, Any] | None = None) -> Any:
    """The server's answer; ends the program with its words where it refuses, or where nobody answers."""
    return run(_ask(url, method, path, key, body))


async def _ask(url: str, method: str, path: str, key: str | None, body: Mapping[str, Any] | None) -> Any:
    async with connection(key) as http:
        return await asked(http, url, method, path, body)


def connection(key: str | None, within: float = ANSWERS_WITHIN) -> aiohttp.ClientSession:
    """What to ask a server through, as often as needed; each answer comes `within` some seconds."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=within))


async def asked(
    http: aiohttp.ClientSession, url: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """The server's answer, as of `ask`."""
    try:
        return await reached(http, url, method, path, body)
    except NoServer as error:
        fail(f"{error}; name another with --server")


async def reached(
    http: aiohttp.ClientSession, url: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """The server's answer; ends the program with its words where it refuses, raises `NoServer` where nobody answers."""
    try:
        async with http.request(method, f"{url}{path}", json=body) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
        raise NoServer(no_server(url, error)) from None
    if not isinstance(answer, dict) or (response.status == 404 and "code" not in answer):
        raise NoServer(f"what answers at {url} is another program")
    if response.status >= 400:
        words = str(answer.get("detail") or answer.get("message") or f"the server answered {response.status}")
        fail(f"{words}; here with --key or BETTERAI_KEY" if response.status == 401 else words)
    return answer
