"""Many WebSockets at once: what an idle one costs, and how a server gets over a thousand that vanish."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

from bench.clients import Tally, WsClient
from bench.process import cpu_seconds, rss_mib

AT_ONCE = 64
FIRST = 20
"""Sockets opened before the measurement: what a server loads with its first client is not a socket's cost."""
LIMIT = 30.0
"""Seconds that any one step may take."""
IDLE_WINDOW = 0.25
IDLE_CPU = 0.011
"""CPU seconds in a window that still count as idle: one tick of the kernel's clock."""


class StuckError(Exception):
    """Something did not come about within LIMIT; the text says what."""


@contextlib.asynccontextmanager
async def in_time(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LIMIT):
            yield
    except TimeoutError:
        raise StuckError(f"{what} took more than {LIMIT:g} s") from None


async def open_sockets(socket: Callable[[], WsClient], port: int, count: int) -> list[WsClient]:
    """Open `count` sockets, AT_ONCE at a time; each is returned when the server would take a question from it."""
    loop = asyncio.get_running_loop()
    opened: list[WsClient] = []
    numbers = iter(range(count))

    async def opener() -> None:
        for _ in numbers:
            _, client = await loop.create_connection(socket, "127.0.0.1", port)
            await asyncio.wait((client.opened, client.gone), return_when=asyncio.FIRST_COMPLETED)
            if not client.failed:
                opened.append(client)

    async with in_time(f"opening {count} sockets"):
        await asyncio.gather(*(opener() for _ in range(AT_ONCE)))
    return opened


async def hold_idle(socket: Callable[[], WsClient], port: int, count: int, pid: int) -> dict[str, float]:
    held = await open_sockets(socket, port, FIRST)
    await asyncio.sleep(0.5)
    memory, cpu, began = rss_mib(pid), cpu_seconds(pid), time.monotonic()
    fresh = await open_sockets(socket, port, count - FIRST)
    took = time.monotonic() - began
    opening = cpu_seconds(pid) - cpu
    await asyncio.sleep(2.0)
    idle = cpu_seconds(pid) - cpu - opening
    grown = rss_mib(pid) - memory
    for client in held + fresh:
        client.transport.close()
    await asyncio.gather(*(client.gone for client in held + fresh))
    return {
        "sockets": float(len(held) + len(fresh)),
        "kib_per_socket": grown * 1024 / len(fresh),
        "connects_per_s": len(fresh) / took,
        "cpu_us_per_connect": opening / len(fresh) * 1e6,
        "idle_load": idle / 2.0,
        "rss_mib": memory + grown,
    }


async def vanish(
    socket: Callable[[], WsClient], tally: Tally, port: int, count: int, pid: int, upstream_port: int
) -> dict[str, float]:
    """Drop `count` clients in the middle of their answers; seconds until the server and its upstream are quiet."""
    clients = await open_sockets(socket, port, count)
    for client in clients:
        client.ask()
    running = await until_open(upstream_port, len(clients), tally)
    began = time.monotonic()
    for client in clients:
        client.waiting = False
        client.transport.abort()
    closed, idle = await asyncio.gather(until_closed(upstream_port), until_idle(pid))
    return {
        "vanished": float(len(clients)),
        "open_before": float(running),
        "upstream_closed_s": closed - began,
        "idle_s": idle - began,
        "rss_mib": rss_mib(pid),
    }


async def until_open(upstream_port: int, count: int, tally: Tally) -> int:
    """How many streams run once all do, or once one has failed."""
    async with in_time(f"starting {count} streams"):
        while True:
            running = await open_streams(upstream_port)
            if running >= count or tally.errors:
                return running
            await asyncio.sleep(0.05)


async def until_closed(upstream_port: int) -> float:
    """The time at which the upstream had no open stream left."""
    async with in_time("closing the streams of clients that left"):
        while True:
            if not await open_streams(upstream_port):
                return time.monotonic()
            await asyncio.sleep(0.02)


async def until_idle(pid: int) -> float:
    """The begin of the first window in which the server did nothing."""
    async with in_time("becoming idle"):
        while True:
            began, cpu = time.monotonic(), cpu_seconds(pid)
            await asyncio.sleep(IDLE_WINDOW)
            if cpu_seconds(pid) - cpu <= IDLE_CPU:
                return began


async def open_streams(upstream_port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream_port)
    try:
        writer.write(b"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(json.loads(await reader.readexactly(length))["open"])
    finally:
        writer.close()
