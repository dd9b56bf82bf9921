"""The floor of calls: a bare aiohttp relay that holds no turn, keeps nothing and plays at no speed.

python -m bench.call_floor --port 9210 --vendors http://127.0.0.1:9110/v1

On /relay frames go to the realtime vendor as base64 in JSON and come back. On /turns frames go to the transcriber; the text
frame `commit` ends a turn, which is written, answered and spoken by one request after the other.
"""

import argparse
import asyncio
import binascii
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import uvloop
from aiohttp import WSMsgType, web

from bench.hosting import host, ready
from bench.process import raise_file_limit

HEADER = 16
"""Bytes before the sound of a frame, both ways; the floor looks at none of them."""

BLANK = bytes(HEADER)
FRAME = 960
APPEND = b'{"type":"input_audio_buffer.append","audio":"%b"}'
CLIENT: web.AppKey[aiohttp.ClientSession] = web.AppKey("client", aiohttp.ClientSession)
VENDORS: web.AppKey[str] = web.AppKey("vendors", str)


class Delta(msgspec.Struct):
    """The fields of a vendor's event that are looked at."""

    type: str
    delta: str = ""


async def relay(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    decode = msgspec.json.Decoder(Delta).decode
    async with request.app[CLIENT].ws_connect(f"{request.app[VENDORS]}/realtime") as vendor:

        async def down() -> None:
            async for message in vendor:
                event = decode(message.data)
                if event.type == "response.output_audio.delta":
                    await socket.send_bytes(BLANK + binascii.a2b_base64(event.delta))

        relaying = asyncio.create_task(down(), name="the vendor's sound")
        try:
            async for message in socket:
                audio = binascii.b2a_base64(message.data[HEADER:], newline=False)
                await vendor.send_frame(APPEND % audio, WSMsgType.TEXT)
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
    return socket


async def turns(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    client, vendors = request.app[CLIENT], request.app[VENDORS]
    listening = None
    async for message in socket:
        if listening is None:
            listening = await client.ws_connect(f"{vendors}/listen")
        if message.type is WSMsgType.BINARY:
            await listening.send_bytes(message.data[HEADER:])
            continue
        await listening.send_str('{"type":"CloseStream"}')
        said = (await listening.receive_json())["channel"]["alternatives"][0]["transcript"]
        await listening.close()
        listening = None
        await answer(client, vendors, said, socket)
    return socket


async def answer(client: aiohttp.ClientSession, vendors: str, said: str, socket: web.WebSocketResponse) -> None:
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": said}]}
    async with client.post(f"{vendors}/chat/completions", json=body) as chat:
        await chat.read()
    body = {"model": "tts-1", "voice": "alloy", "input": "The boat is green."}
    async with client.post(f"{vendors}/audio/speech", json=body) as speech:
        sound = await speech.read()
    for at in range(0, len(sound), FRAME):
        await socket.send_bytes(BLANK + sound[at : at + FRAME])


async def client_context(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60)) as client:
        app[CLIENT] = client
        yield


async def main(port: int, vendors: str) -> None:
    app = web.Application()
    app[VENDORS] = vendors
    app.cleanup_ctx.append(client_context)
    app.router.add_get("/relay", relay)
    app.router.add_get("/turns", turns)
    app.router.add_get("/health/ready", ready)
    await host(app, port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9210)
    parser.add_argument("--vendors", default="http://127.0.0.1:9110/v1")
    arguments = parser.parse_args()
    raise_file_limit()
    uvloop.run(main(arguments.port, arguments.vendors))
