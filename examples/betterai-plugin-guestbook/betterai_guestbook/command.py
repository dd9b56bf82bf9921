"""`betterai guestbook`: sign or read the book of a running server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import aiohttp
import typer
from engine.wire.address import DEFAULT_ADDRESS, http_address


def register(app: typer.Typer) -> None:
    """Add `guestbook` to the program."""
    app.command("guestbook")(guestbook)


def guestbook(
    text: Annotated[str | None, typer.Argument(help="What to write; without it the book is read.")] = None,
    server: Annotated[str, typer.Option(envvar="BETTERAI_SERVER", help="Address of the server.")] = DEFAULT_ADDRESS,
    key: Annotated[str | None, typer.Option(envvar="BETTERAI_KEY", help="API key, where the server wants one.")] = None,
) -> None:
    """Sign the guest book, or read it."""
    try:
        book = asyncio.run(_ask(http_address(server), key, text))
    except (aiohttp.ClientError, ValueError, OSError) as error:
        typer.echo(f"{server}: {error}", err=True)
        raise typer.Exit(1) from None
    if text is not None:
        typer.echo("signed")
        return
    typer.echo(book["title"])
    for entry in book["entries"]:
        typer.echo(f"{entry['written_at'][:10]}  {entry['principal']}: {entry['text']}")


async def _ask(url: str, key: str | None, text: str | None) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    method, body = ("GET", None) if text is None else ("POST", {"text": text})
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, f"{url}/api/v1/guestbook", json=body) as answer,
    ):
        told = await answer.json()
        if answer.status != 200:
            raise ValueError(told.get("detail", f"the server answered {answer.status}"))
        return told
