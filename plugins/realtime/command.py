"""The command `betterai talk`: a spoken question from a file, and the spoken answer into another, from a running server."""

from __future__ import annotations

import asyncio
import json
import struct
import wave
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console

from engine.wire.address import DEFAULT_ADDRESS
from engine.wire.frames import decode_binary
from plugins.vendors.asking import FormerServerOption, KeyOption, ServerOption, fail, fail_unreachable, server_address
from plugins.vendors.codecs import decode

RATE = 24_000
FRAME = RATE * 2 // 50
"""Bytes of 20 ms."""

_CONNECTED_WITHIN = 10.0
_LOUD_AHEAD = 2.0
"""Seconds of sound that are sent before they would have been spoken: a file need not be waited for."""


def register(app: typer.Typer) -> None:
    """Add `talk` to the program."""
    app.command("talk")(talk)


def talk(
    question: Annotated[Path, typer.Option("--in", help="A recording of what is said.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--out", "-o", help="File for the answer; it ends in .wav.")],
    model: Annotated[str | None, typer.Option(help="Realtime model; the server's default without it.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of the model.")] = None,
    instructions: Annotated[str | None, typer.Option(help="What the model is to be and do.")] = None,
    server: ServerOption = DEFAULT_ADDRESS,
    url: FormerServerOption = None,
    key: KeyOption = None,
) -> None:
    """Say what is in a recording, and write what is answered."""
    if output.suffix.lower() != ".wav":
        raise typer.BadParameter("the answer is a .wav file", param_hint="--out")
    address = server_address(server, url)
    body = {"model": model, "voice": voice, "instructions": instructions}
    fields = {name: value for name, value in body.items() if value is not None}
    sound = asyncio.run(_Talk(address, key, fields).run(question))
    try:
        with wave.open(str(output), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(sound)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror or error}")
    Console(stderr=True, highlight=False).print(f"{output}: {len(sound) / 2 / RATE:.1f} s")


class _Talk:
    def __init__(self, url: str, key: str | None, fields: dict[str, Any]) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._fields = fields
        self._sound = bytearray()
        self._stream = ""

    async def run(self, question: Path) -> bytes:
        """Ask; gives the sound of the answer."""
        try:
            with question.open("rb") as file:
                pcm = b"".join(await asyncio.to_thread(lambda: list(decode(file, RATE))))
        except Exception as error:
            fail(f"cannot read {question}: {error}")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECTED_WITHIN)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers, timeout=timeout) as http,
                http.ws_connect(f"{self._url}/ws", max_msg_size=0) as socket,
            ):
                # The file says where the turn ends, and not a silence in it.
                start = {"turn_detection": {"type": "manual"}, "sample_rate": RATE, **self._fields}
                accepted = await self._ask(socket, "realtime.start", **start)
                self._stream = accepted["stream"]
                await self._say(socket, accepted["number"], pcm)
                await self._ask(socket, "realtime.commit", stream=self._stream)
                await self._listen(socket)
                await self._ask(socket, "realtime.finish", stream=self._stream)
        except (aiohttp.ClientError, TimeoutError) as error:
            fail_unreachable(self._url, error)
        return bytes(self._sound)

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse, type: str, **fields: Any) -> dict[str, Any]:
        await socket.send_json({"type": type, "id": type, **fields})
        while True:
            frame = await self._next(socket)
            if frame.get("type") == "accepted" and frame.get("re") == type:
                return frame

    async def _say(self, socket: aiohttp.ClientWebSocketResponse, number: int, pcm: bytes) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for n, at in enumerate(range(0, len(pcm), FRAME), 1):
            await socket.send_bytes(struct.pack(">IIBBHI", number, n, 1, 0, 0, 0) + pcm[at : at + FRAME])
            ahead = at / 2 / RATE - (loop.time() - begun)
            if ahead > _LOUD_AHEAD:
                await asyncio.sleep(ahead - _LOUD_AHEAD)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            frame = await self._next(socket)
            if frame.get("stream") != self._stream:
                continue
            match frame.get("type"):
                case "transcript.final":
                    typer.echo(f"> {frame['text']}")
                case "text.delta":
                    typer.echo(frame["text"], nl=False)
                case "status" if frame["stage"] in ("speech_failed", "hearing_failed", "nothing_said"):
                    _note(frame.get("detail") or frame["stage"])
                    if frame["stage"] != "speech_failed":
                        return
                case "turn.user_ended":
                    _note("listening")
                case "turn.assistant_ended":
                    typer.echo()
                    if frame["status"] != "completed":
                        fail((frame.get("error") or {}).get("message") or f"the answer was {frame['status']}")
                    return
                case "stream.ended":
                    fail((frame.get("error") or {}).get("message") or "the call ended without an answer")
                case _:
                    pass

    async def _next(self, socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self._sound += decode_binary(message.data).payload
            elif message.type is aiohttp.WSMsgType.TEXT:
                frame: dict[str, Any] = json.loads(message.data)
                if frame["type"] == "rejected":
                    fail(frame["error"]["message"])
                return frame
            else:
                fail(f"the server hung up ({socket.close_code})")


def _note(text: str) -> None:
    Console(stderr=True, highlight=False, markup=False).print(text)
