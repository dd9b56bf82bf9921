"""The command `betterai speak`: a text as a sound file, from a running server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console

from engine.wire.address import DEFAULT_ADDRESS
from plugins.vendors.asking import FormerServerOption, KeyOption, ServerOption, fail, fail_unreachable, server_address

FORMATS = {
    ".wav": "wav",
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".flac": "flac",
    ".pcm": "pcm",
    ".ulaw": "mulaw",
    ".alaw": "alaw",
}

_CONNECTED_WITHIN = 10.0


def register(app: typer.Typer) -> None:
    """Add `speak` to the program."""
    app.command("speak")(speak)


def speak(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; its ending says the format.")],
    text: Annotated[list[str] | None, typer.Argument(help="What to say; without it, standard input.")] = None,
    model: Annotated[str | None, typer.Option(help="Voice model; the server's default without it.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of the model.")] = None,
    language: Annotated[
        str | None, typer.Option(help="BCP 47 tag of the text, which chooses a voice where none is named.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.25, max=4.0, help="1 is the voice's own.")] = 1.0,
    server: ServerOption = DEFAULT_ADDRESS,
    url: FormerServerOption = None,
    key: KeyOption = None,
) -> None:
    """Have a text spoken into a file."""
    words = " ".join(text) if text else sys.stdin.buffer.read().decode("utf-8", "replace")
    if not words.strip():
        raise typer.BadParameter("there is nothing to say: the text is empty", param_hint="TEXT")
    format = FORMATS.get(output.suffix.lower())
    if format is None:
        raise typer.BadParameter(f"the file ends in one of {', '.join(FORMATS)}", param_hint="--output")
    address = server_address(server, url)
    body = {"text": words.strip(), "format": format, "model": model, "voice": voice, "language": language}
    body["speed"] = speed
    body = {name: value for name, value in body.items() if value is not None}
    written = asyncio.run(_speak(address, key, body, output))
    Console(stderr=True, highlight=False).print(f"{output}: {written:,} bytes")


async def _speak(url: str, key: str | None, body: dict[str, Any], output: Path) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECTED_WITHIN)
    notes = Console(stderr=True, highlight=False)
    draft = output.with_name(f".{output.name}.part")
    written = 0
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
            http.post(f"{url}/api/v1/tts", json=body) as answer,
        ):
            if answer.status != 200:
                fail(str((await answer.json(content_type=None)).get("detail", f"the server answered {answer.status}")))
            with notes.status("speaking") as shown, draft.open("wb") as file:
                async for piece in answer.content.iter_any():
                    written += file.write(piece)
                    shown.update(f"speaking: {written:,} bytes")
        draft.replace(output)
    except aiohttp.ClientPayloadError:
        fail("the voice broke off before the end; nothing was written")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        fail_unreachable(url, error)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror or error}")
    finally:
        draft.unlink(missing_ok=True)
    return written
