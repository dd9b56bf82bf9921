"""What commands of plugins share: which server they ask, with which key, and how they end where it cannot be done."""

from __future__ import annotations

from typing import Annotated, NoReturn, TypeAlias

import typer
from rich.console import Console

from engine.wire.address import http_address, no_server

FAILED = 1
"""Exit code of a command that was understood and could not be done."""

ServerOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--server",
        envvar=["BETTERAI_SERVER", "BETTERAI_HTTP_URL", "BETTERAI_URL"],
        show_envvar=False,
        help="Address of the server (or BETTERAI_SERVER); else as host and port in the configuration say.",
    ),
]
FormerServerOption: TypeAlias = Annotated[str | None, typer.Option("--url", hidden=True)]
"""The former name of the option, which still works."""

KeyOption: TypeAlias = Annotated[
    str | None, typer.Option("--key", envvar="BETTERAI_KEY", help="API key, where the server wants one.")
]


def server_address(server: str, url: str | None) -> str:
    """Where the server's routes begin; `url` is what `--url` says."""
    try:
        return http_address(url or server)
    except ValueError as error:
        raise refused_address(error, url) from None


def refused_address(error: ValueError, url: str | None) -> typer.BadParameter:
    """The mistake in the option that was given."""
    return typer.BadParameter(str(error), param_hint="--url" if url else "--server")


def fail_unreachable(url: str, error: BaseException) -> NoReturn:
    """End the program where no server answers."""
    fail(f"{no_server(url, error)}; name another with --server")


def fail(message: str) -> NoReturn:
    """End the program with a message for the person at the terminal."""
    Console(stderr=True, highlight=False, markup=False).print(message, style="red")
    raise typer.Exit(FAILED)
