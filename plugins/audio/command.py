"""The command `betterai transcribe`: what is said in a recording, from a running server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console

from engine.wire.address import DEFAULT_ADDRESS
from plugins.audio.live_command import Refused, listen
from plugins.vendors.asking import FormerServerOption, KeyOption, ServerOption, fail, fail_unreachable, server_address

_CONNECTED_WITHIN = 10.0


def register(app: typer.Typer) -> None:
    """Add `transcribe` to the program."""
    app.command("transcribe")(transcribe)


def transcribe(
    file: Annotated[
        Path | None, typer.Argument(help="A recording: wav, mp3, m4a, ogg, flac, webm and others.", exists=True)
    ] = None,
    microphone: Annotated[
        Path | None,
        typer.Option(
            "--mic-file", help="A recording that is heard like a microphone, while it is spoken.", exists=True
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Transcription model; the server's default without it.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the recording.")] = None,
    times: Annotated[bool, typer.Option("--times", help="Begin each line with its time.")] = False,
    server: ServerOption = DEFAULT_ADDRESS,
    url: FormerServerOption = None,
    key: KeyOption = None,
) -> None:
    """Write what is said in a recording, line by line as it is heard."""
    fields = {name: value for name, value in {"model": model, "language": language}.items() if value is not None}
    if (file is None) == (microphone is None):
        raise typer.BadParameter("name a recording, either as FILE or with --mic-file", param_hint="FILE")
    address = server_address(server, url)
    if microphone is not None:
        asyncio.run(_listen(address, key, microphone, fields, times))
    elif file is not None:
        asyncio.run(_transcribe(address, key, file, fields, times))


async def _listen(url: str, key: str | None, file: Path, fields: dict[str, str], times: bool) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECTED_WITHIN)
    notes = Console(stderr=True, highlight=False)
    try:
        with notes.status("listening") as shown:
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
                await listen(http, url, file, fields, lambda event: _tell(event, times, shown))
    except Refused as error:
        fail(str(error))
    except (aiohttp.ClientError, TimeoutError) as error:
        fail_unreachable(url, error)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror or error}")


async def _transcribe(url: str, key: str | None, file: Path, fields: dict[str, str], times: bool) -> None:
    headers = {"Accept": "text/event-stream", **({"Authorization": f"Bearer {key}"} if key else {})}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECTED_WITHIN)
    notes = Console(stderr=True, highlight=False)
    try:
        with file.open("rb") as recording:
            form = aiohttp.FormData(fields)
            form.add_field("file", recording, filename=file.name, content_type="application/octet-stream")
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
                http.post(f"{url}/api/v1/audio/transcriptions", data=form) as answer,
            ):
                if answer.status != 200:
                    told = await answer.json(content_type=None)
                    fail(str(told.get("detail", f"the server answered {answer.status}")))
                with notes.status("listening") as shown:
                    async for line in answer.content:
                        if line.startswith(b"data: "):
                            _tell(json.loads(line[6:]), times, shown)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        fail_unreachable(url, error)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror or error}")


def _tell(event: Mapping[str, Any], times: bool, shown: Any) -> None:
    if event["type"] == "transcript.final":
        begin = f"{event.get('start') or 0:8.2f}  " if times else ""
        typer.echo(f"{begin}{event['text']}")
    elif event["type"] == "transcript.partial":
        shown.update(event["text"])
    elif event["type"] == "status":
        shown.update(event.get("detail") or event["stage"])
    elif event["type"] == "stream.ended" and event["status"] != "completed":
        fail((event.get("error") or {}).get("message") or f"the transcription was {event['status']}")
