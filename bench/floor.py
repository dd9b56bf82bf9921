"""The floor: a bare aiohttp relay that passes bytes through and does nothing else.

python -m bench.floor --port 9200 --upstream http://127.0.0.1:9100/v1

POST /v1/chat/completions passes the answer on as it comes. On /ws each text frame is a request body; every SSE line of
its answer comes back as one frame, `[DONE]` last.
"""

import argparse
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

from bench.hosting import host, ready
from bench.process import raise_file_limit

JSON = {"Content-Type": "application/json"}
CLIENT: web.AppKey[aiohttp.ClientSession] = web.AppKey("client", aiohttp.ClientSession)
UPSTREAM: web.AppKey[str] = web.AppKey("upstream", str)


async def relay_http(request: web.Request) -> web.StreamResponse:
    url, body = request.app[UPSTREAM], await request.read()
    async with request.app[CLIENT].post(url, data=body, headers=JSON) as upstream:
        if upstream.content_type != "text/event-stream":
            whole = await upstream.read()
            return web.Response(status=upstream.status, body=whole, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        async for data in upstream.content.iter_any():
            await response.write(data)
        return response


async def relay_socket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                await relay_frames(request.app, message.data.encode(), socket)
            except ConnectionError:  # the client left in the middle
                break
    return socket


async def relay_frames(app: web.Application, body: bytes, socket: web.WebSocketResponse) -> None:
    async with app[CLIENT].post(app[UPSTREAM], data=body, headers=JSON) as upstream:
        if upstream.content_type != "text/event-stream":
            await socket.send_bytes(await upstream.read())
            return
        rest = b""
        async for data in upstream.content.iter_any():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                await socket.send_frame(event.removeprefix(b"data: "), aiohttp.WSMsgType.TEXT)


async def client_context(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar, auto_decompress=False) as client:
        app[CLIENT] = client
        yield


def build_floor(upstream: str) -> web.Application:
    """`upstream` is an OpenAI-style base URL, ending in /v1."""
    app = web.Application()
    app[UPSTREAM] = f"{upstream}/chat/completions"
    app.cleanup_ctx.append(client_context)
    app.router.add_post("/v1/chat/completions", relay_http)
    app.router.add_get("/ws", relay_socket)
    app.router.add_get("/health/ready", ready)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9200)
    parser.add_argument("--upstream", default="http://127.0.0.1:9100/v1")
    arguments = parser.parse_args()
    raise_file_limit()
    uvloop.run(host(build_floor(arguments.upstream), arguments.port))
