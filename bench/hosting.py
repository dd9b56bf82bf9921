"""How the benchmark's own servers are held: one port, no access log, until the process is stopped."""

import asyncio

from aiohttp import web


async def ready(request: web.Request) -> web.Response:
    return web.Response(text="ready")


async def host(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()
