"""What the server keeps after attacks, and how long others wait meanwhile: python -m bench.attacks

Each attack comes from one process; another asks `ping` over /ws every 5 ms. Memory is that of the server's process: after
its first answers, at the most during the attacks, and after half a minute of calm.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop

from bench import servers
from bench.process import Server, cores, free_port, raise_file_limit, rss_mib

KINDS = Callable[["Attack"], Awaitable[str]]
MIB = 1 << 20
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
KEEP_ALIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
MASK = b"\x00\x00\x00\x00"


class Attack:
    """One server under attack."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.port = port
        self.http = http
        self.base = f"http://127.0.0.1:{port}"

    async def post(self, path: str, body: bytes, **headers: str) -> int:
        """The status, or 0 where the connection was cut."""
        sent = {"Content-Type": "application/json", **headers}
        try:
            async with self.http.post(self.base + path, data=body, headers=sent) as answer:
                async for _ in answer.content.iter_any():
                    pass
                return answer.status
        except aiohttp.ClientError:
            return 0


def chat(text: str, stream: bool = False) -> bytes:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "stream": stream}
    return json.dumps(body).encode()


def told(statuses: list[int]) -> str:
    return ", ".join(f"{statuses.count(each)} x {each}" for each in sorted(set(statuses)))


async def bodies(attack: Attack) -> str:
    """Bodies of the largest sizes, eight at a time."""
    path = "/v1/chat/completions"
    text = chat("x" * (30 * MIB))
    parts = [{"type": "text", "text": "x"}] * 600_000
    many = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}).encode()
    fifty = [{"role": "user", "content": "hello, hello"}] * 50_000
    messages = json.dumps({"model": "gpt-4o", "messages": fifty}).encode()
    bomb = gzip.compress(chat("x" * (7 * MIB)))
    noise = gzip.compress(chat(os.urandom(2 * MIB).hex()), 1)
    statuses: list[int] = []
    for _ in range(3):
        for body, zipped in ((text, False), (many, False), (messages, False), (bomb, True), (noise, True)):
            headers = {"Content-Encoding": "gzip"} if zipped else {}
            statuses += await asyncio.gather(*(attack.post(path, body, **headers) for _ in range(8)))
    return told(statuses)


async def histories(attack: Attack) -> str:
    """One conversation that grows by 512 KiB a turn."""
    answers = []
    async with attack.http.ws_connect(attack.base + "/ws", max_msg_size=0) as socket:
        conversation = None
        for at in range(40):
            command = {"type": "chat.send", "id": str(at), "input": "mock-2x0 " + "word " * 100_000}
            if conversation is not None:
                command["conversation"] = conversation
            await socket.send_str(json.dumps(command))
            async for message in socket:
                frame = json.loads(message.data)
                conversation = frame.get("conversation") or conversation
                if frame["type"] in ("stream.ended", "rejected"):
                    answers.append(frame.get("status") or frame["error"]["code"])
                    break
    return ", ".join(f"{answers.count(each)} x {each}" for each in sorted(set(answers)))


async def answers(attack: Attack) -> str:
    """Twenty answers of 1.9 million characters at once, whole and streamed; then of as many as end a turn."""
    path = "/v1/chat/completions"
    statuses: list[int] = []
    for stream, ask in ((True, "mock-1900x0x1000x8"), (False, "mock-1900x0x1000"), (True, "mock-40000x0x1000x8")):
        statuses += await asyncio.gather(*(attack.post(path, chat(ask, stream)) for _ in range(20)))
    return told(statuses)


async def opened(port: int, said: bytes, until: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        await reader.readuntil(until)
    except (OSError, asyncio.IncompleteReadError):
        return None
    return reader, writer


async def connects(attack: Attack, said: bytes, until: bytes, count: int) -> str:
    """As many connections in one instant, each with its request, and all closed."""
    begun = time.monotonic()
    found = await asyncio.gather(*(opened(attack.port, said, until) for _ in range(count)))
    took = time.monotonic() - begun
    held = [each for each in found if each is not None]
    for _, writer in held:
        writer.close()
    return f"{len(held)} of {count} opened in {took:.1f} s"


async def sockets(attack: Attack) -> str:
    """3,000 handshakes in one instant."""
    return await connects(attack, HANDSHAKE, b'"session.ready"', 3_000)


async def keep_alive(attack: Attack) -> str:
    """3,000 connections in one instant, a request on each."""
    return await connects(attack, KEEP_ALIVE, b"\r\n\r\n", 3_000)


def frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([size | 128]) if size < 126 else struct.pack("!BH", 126 | 128, size)
    return bytes([opcode]) + length + MASK + payload


async def flooded(attack: Attack, flood: bytes, times: int) -> str:
    """Send a flood on one socket; gives how it ended."""
    got = await opened(attack.port, HANDSHAKE, b'"session.ready"')
    assert got is not None
    reader, writer = got
    begun, sent = time.monotonic(), 0
    last = b""

    async def read() -> None:
        nonlocal last
        while data := await reader.read(MIB):
            last = (last + data)[-200:]

    reading = asyncio.create_task(read())
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(30):
            for _ in range(times):
                writer.write(flood)
                await writer.drain()
                sent += len(flood)
            writer.write(frame(0x88, struct.pack("!H", 1000)))
            await reading
    reading.cancel()
    writer.close()
    at = last.rfind(b"\x88")
    code = struct.unpack("!H", last[at + 2 : at + 4])[0] if 0 <= at < len(last) - 3 else None
    reason = last[at + 4 :].decode(errors="replace") if code else ""
    return f"{sent / MIB:.1f} MiB taken in {time.monotonic() - begun:.1f} s, closed with {code} {reason}"


async def fragments(attack: Attack) -> str:
    """A message of 1 MB in frames of one byte, and again."""
    message = frame(0x01, b"x") + frame(0x00, b"x") * 999_998 + frame(0x80, b"x")
    return await flooded(attack, message, 3)


async def empties(attack: Attack) -> str:
    """Three million frames that hold nothing."""
    return await flooded(attack, frame(0x01, b"x") + frame(0x00, b"") * 999_998 + frame(0x80, b""), 3)


async def pings(attack: Attack) -> str:
    """A million pings of WebSocket."""
    return await flooded(attack, frame(0x89, b"") * 10_000, 100)


async def junk(attack: Attack) -> str:
    """A million frames that are no command."""
    return await flooded(attack, frame(0x81, b"x") * 10_000, 100)


async def sounds(attack: Attack) -> str:
    """A million binary frames that belong to no stream."""
    return await flooded(attack, frame(0x82, b"\x00" * 20) * 10_000, 100)


async def commands(attack: Attack) -> str:
    """300,000 commands `ping`."""
    return await flooded(attack, frame(0x81, b'{"type":"ping"}') * 10_000, 30)


async def slow(attack: Attack) -> str:
    """300 connections that ask for long answers and read nothing, or little."""
    held = []
    body = chat("mock-1900x0x1000x8", stream=True)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(150):
        reader, writer = await asyncio.open_connection("127.0.0.1", attack.port, limit=1)
        writer.write(head.encode() + body)
        held.append((reader, writer))
    ask = frame(0x81, b'{"type":"chat.send","input":"mock-1900x0x1000x8"}')
    for _ in range(150):
        reader, writer = await asyncio.open_connection("127.0.0.1", attack.port, limit=1)
        writer.write(HANDSHAKE + ask)
        held.append((reader, writer))
    for _ in range(10):
        await asyncio.sleep(1)
        await asyncio.gather(*(reader.read(1) for reader, _ in held))
    for _, writer in held:
        writer.transport.abort()
    return "300 readers of a byte a second, for ten seconds"


ATTACKS: dict[str, KINDS] = {
    each.__name__: each
    for each in (
        bodies, histories, answers, sockets, keep_alive, fragments, empties, pings, junk, sounds, commands, slow
    )
}  # fmt: skip


async def watch(port: int) -> None:
    """Ask `ping` every 5 ms until the input ends; print the waits in ms."""
    waits = []
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://127.0.0.1:{port}/ws") as socket:
        await socket.receive()
        print("watching", flush=True)
        while not ended.done():
            begun = time.monotonic()
            await socket.send_str('{"type":"ping"}')
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            waits.append(round((time.monotonic() - begun) * 1000, 2))
            await asyncio.sleep(0.005)
    print(json.dumps(waits), flush=True)


@contextlib.asynccontextmanager
async def watched(port: int) -> AsyncIterator[list[float]]:
    """The waits of another client while the block lasts, in order of length once it is over."""
    argv = (sys.executable, "-m", "bench.attacks", "--watch", str(port))
    pipe = asyncio.subprocess.PIPE
    watcher = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, limit=64 * MIB)
    assert watcher.stdout is not None
    await watcher.stdout.readline()
    waits: list[float] = []
    yield waits
    out, _ = await watcher.communicate(b"")
    waits += sorted(json.loads(out))


class Peak:
    """The most memory of a process while it is watched."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.most = 0.0

    async def look(self) -> None:
        while True:
            self.most = max(self.most, rss_mib(self.pid))
            await asyncio.sleep(0.05)


async def attack_all(server: Server, names: list[str], calm: float, between: float) -> None:
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=aiohttp.TCPConnector(limit=0, force_close=True)
    ) as http:
        attack = Attack(server.port, http)
        first = [await attack.post("/v1/chat/completions", chat("mock-20x0", stream)) for stream in (True, False) * 20]
        base = rss_mib(server.pid)
        print(f"after the first answers ({told(first)}): {base:.0f} MiB", flush=True)
        peak = Peak(server.pid)
        looking = asyncio.create_task(peak.look())
        for name in names:
            peak.most = 0.0
            async with watched(server.port) as waits:
                said = await ATTACKS[name](attack)
            p99 = waits[int(len(waits) * 0.99)] if waits else 0.0
            most = waits[-1] if waits else 0.0
            await asyncio.sleep(between)
            print(
                f"{name}: {said}; ping p99 {p99:.0f} ms, longest {most:.0f} ms of {len(waits)}; "
                f"memory {peak.most:.0f} MiB at most, {rss_mib(server.pid):.0f} after",
                flush=True,
            )
        looking.cancel()
        await asyncio.sleep(calm)
        after = rss_mib(server.pid)
        print(f"after {calm:g} s of calm: {after:.0f} MiB, {after / base:.2f} x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", default=",".join(ATTACKS), help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--calm", type=float, default=30.0, help="seconds after the last attack")
    parser.add_argument("--between", type=float, default=1.0, help="seconds after each other one")
    parser.add_argument("--engine", type=Path, default=Path(sys.executable).with_name("betterai"))
    parser.add_argument("--watch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_file_limit()
    if arguments.watch:
        uvloop.run(watch(arguments.watch))
        return
    server_core, other_core = cores()
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder), free_port()
        argv = (sys.executable, "-m", "bench.upstream", "--port", str(port))
        with Server(argv, port=port, core=other_core, log=home / "upstream.log", ready="/v1/models") as upstream:
            upstream.wait_ready()
            subject = servers.engine(arguments.engine, home, free_port(), f"http://127.0.0.1:{port}/v1")
            with subject.start(server_core) as server:
                server.wait_ready()
                names = arguments.attacks.split(",")
                uvloop.run(attack_all(server, names, arguments.calm, arguments.between))


if __name__ == "__main__":
    main()
