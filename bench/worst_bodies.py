"""How long others wait while the largest bodies that are taken come in: python -m bench.worst_bodies

One process sends a body, another pings over `/ws` every five milliseconds, whether or not the ping before was answered. The
floor is the same pings before the body comes. The vendors are stand-ins, so that each provider makes its whole body.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop

from bench.hosting import host
from bench.load import percentile
from bench.process import Server, StartError, cores, free_port, settle
from bench.servers import Subject
from bench.worst_vendors import CITING, vendors

MESSAGES = 50_000
MOST_ITEMS = 19_000
"""Items of the Responses API: half of them are answers, whose texts are parts."""

FRAMED = 25_000
"""Messages of a frame, which has at most a megabyte."""

FORKED = 20_000
TEXT = 28 << 20
EVERY = 0.005
FLOOR_FOR = 1.0
LAST_PONG = 10.0
CONNECTED = "connected"
LONGEST = 128 << 20
VENDORS = ("openai", "anthropic", "google")

NATIVE, CHAT, RESPONSES, CLAUDE = "/api/v1/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"


class Worst(msgspec.Struct, frozen=True):
    """A body and where it goes; without a path it is a frame of the socket."""

    name: str
    path: str | None
    make: Callable[[], dict[str, Any]]

    def encoded(self) -> bytes:
        return json.dumps(self.make()).encode()


def turns(count: int = MESSAGES) -> list[dict[str, Any]]:
    """Messages of a user and an assistant, the user's last."""
    return [
        {"role": ("assistant", "user")[at % 2], "content": "hi"} for at in range(1 - count % 2, count + 1 - count % 2)
    ]


def half() -> str:
    """Half of a surrogate pair, again and again; six bytes in JSON."""
    return "\ud800 " * (TEXT // 7)


def prose() -> str:
    return "word " * (TEXT // 5)


def ask(path: str | None, model: str, content: Any, **more: Any) -> dict[str, Any]:
    """A request for an answer in the words of the endpoint."""
    if path == RESPONSES:
        items = [{"type": "message", **each} for each in content] if isinstance(content, list) else content
        return {"model": model, "input": items, "store": False, **more}
    if path in (CHAT, CLAUDE):
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return {"model": model, "messages": messages, "max_tokens": 100, **more}
    frame = {} if path else {"type": "chat.send", "id": "w"}
    return {**frame, "model": model, "input": content, "store": False, **more}


def made(asked: Callable[[str], dict[str, Any]], text: Callable[[], str]) -> dict[str, Any]:
    """A body with a text that is made when it is due."""
    return asked(text())


def bodies() -> Iterator[Worst]:
    """The worst bodies of each endpoint."""
    for path in (NATIVE, CHAT, RESPONSES, CLAUDE):
        for vendor in VENDORS:
            asked = partial(ask, path, f"{vendor}/any")
            count = MOST_ITEMS if path == RESPONSES else MESSAGES
            yield Worst(f"{count} messages, {path}, {vendor}", path, partial(asked, turns(count)))
            yield Worst(f"28 MiB of words, {path}, {vendor}", path, partial(made, asked, prose))
        asked = partial(ask, path, "openai/any")
        yield Worst(f"28 MiB of half surrogates, {path}", path, partial(made, asked, half))
    for vendor in VENDORS:
        asked = partial(ask, None, f"{vendor}/any")
        yield Worst(f"{FRAMED} messages, chat.send, {vendor}", None, partial(asked, turns(FRAMED)))
        yield Worst(f"citations, {vendor}", NATIVE, partial(ask, NATIVE, f"{vendor}/{CITING}", "hi"))
    kept = {**ask(NATIVE, "openai/any", turns(FORKED)), "store": True}
    yield Worst(f"a stored turn of {FORKED} messages", NATIVE, lambda: kept)
    yield Worst(f"a fork of {FORKED} messages", "/api/v1/conversations/{}/fork", dict)


def engine(command: Path, home: Path, port: int, upstream: str) -> Subject:
    env = {
        **{
            f"{name}_BASE_URL": f"{upstream}{end}"
            for name, end in (("OPENAI", "/v1"), ("ANTHROPIC", ""), ("GOOGLE", ""))
        },
        **{f"{name}_API_KEY": "bench" for name in ("OPENAI", "ANTHROPIC", "GEMINI")},
        "BETTERAI__PLUGINS__ENABLED": '["chat","openai_api"]',
        "BETTERAI__VENDORS__GOOGLE__BASE_URL": upstream,
        "BETTERAI__DATABASES__DEFAULT": f"sqlite+aiosqlite:///{home / 'bench.db'}",
    }
    argv = (str(command), "serve", "--host", "127.0.0.1", "--port", str(port))
    return Subject("engine", "engine", argv, env, home, port)


async def ping(port: int) -> None:
    """Ping until the input ends; then a line of JSON: when each ping was sent, and the seconds until its pong."""
    sent: list[float] = []
    waits: list[tuple[float, float]] = []
    async with aiohttp.ClientSession() as http, http.ws_connect(f"http://127.0.0.1:{port}/ws") as socket:
        over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

        async def hear() -> None:
            async for message in socket:
                if json.loads(message.data).get("type") == "pong":
                    begun = sent[len(waits)]
                    waits.append((begun, time.monotonic() - begun))
                    if over.done() and len(waits) == len(sent):
                        return

        print(CONNECTED, flush=True)
        hearing = asyncio.create_task(hear())
        due, last = time.monotonic(), False
        while not last:
            last = over.done()  # the one after the end is the last that is waited for
            sent.append(time.monotonic())
            await socket.send_str(json.dumps({"type": "ping"}))
            due = max(due + EVERY, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())
        await asyncio.wait([hearing], timeout=LAST_PONG)
        hearing.cancel()
    waits += [(begun, time.monotonic() - begun) for begun in sent[len(waits) :]]
    print(json.dumps(waits))


class Pings:
    """Pings of a process of their own."""

    def __init__(self, port: int) -> None:
        argv = (sys.executable, "-m", "bench.worst_bodies", "--ping", "--port", str(port))
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != CONNECTED:
            raise StartError("the pings found no server")

    def stop(self) -> list[tuple[float, float]]:
        out, _ = self._process.communicate()
        return [(begun, wait) for begun, wait in json.loads(out)]


async def send(port: int, worst: Worst, body: bytes) -> tuple[str, float, float]:
    """What was answered, and when the body went and the answer came."""
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as http:
        if worst.path is None:
            async with http.ws_connect(f"{base}/ws", max_msg_size=LONGEST) as socket:
                await socket.receive()
                begun = time.monotonic()
                await socket.send_str(body.decode())
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    frame = json.loads(message.data)
                    if frame.get("type") in ("stream.ended", "rejected"):
                        return str(frame.get("status") or frame.get("error", {}).get("code")), begun, time.monotonic()
                return "closed", begun, time.monotonic()
        path = worst.path
        if "{}" in path:
            made = json.dumps({**ask(NATIVE, "openai/any", turns(FORKED)), "store": True})
            async with http.post(base + NATIVE, data=made, headers={"Content-Type": "application/json"}) as answer:
                path = path.format((await answer.json())["conversation"])
            await asyncio.sleep(1.0)
        begun = time.monotonic()
        headers = {"Content-Type": "application/json"}
        async with http.post(base + path, data=body, headers=headers) as answer:
            told = await answer.read()
            code = "" if answer.status < 300 else f" {told[:160].decode(errors='replace')}"
            return f"{answer.status}{code}", begun, time.monotonic()


def measure(subject: Subject, worst: Worst, pid: int) -> str:
    """A line for one body: the pings beside it, and those before it."""
    body = worst.encoded()
    settle(pid, 10)
    pings = Pings(subject.port)
    time.sleep(FLOOR_FOR)
    answer, begun, ended = asyncio.run(send(subject.port, worst, body))
    time.sleep(0.3)
    waits = pings.stop()
    floor = sorted(wait for at, wait in waits if begun - FLOOR_FOR < at < begun - 0.01)
    beside = sorted(wait for at, wait in waits if begun - 0.01 < at < ended + 0.1)
    p99, quiet = percentile(beside, 0.99), percentile(floor, 0.99)
    return (
        f"{worst.name}: {len(body) / 2**20:.1f} MiB, {answer}, {ended - begun:.2f} s; ping p99 {p99 * 1000:.0f} ms, "
        f"longest {beside[-1] * 1000:.0f}, {p99 / quiet:.0f} x the floor's {quiet * 1000:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="bodies whose name holds this")
    parser.add_argument("--engine", type=Path, default=Path(sys.executable).with_name("betterai"))
    parser.add_argument("--vendors", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ping", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ping:
        uvloop.run(ping(arguments.port))
    elif arguments.vendors:
        uvloop.run(host(vendors(), arguments.port))
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(arguments.engine, Path(folder), [each for each in bodies() if arguments.only in each.name])


def run(command: Path, home: Path, chosen: Sequence[Worst]) -> None:
    """A line for each body."""
    port = free_port()
    argv = (sys.executable, "-m", "bench.worst_bodies", "--vendors", "--port", str(port))
    server_core, other_core = cores()
    with Server(argv, port=port, core=other_core, log=home / "vendors.log", ready="/health/ready") as upstream:
        upstream.wait_ready()
        subject = engine(command, home, free_port(), f"http://127.0.0.1:{port}")
        with subject.start(server_core) as server:
            server.wait_ready()
            small = Worst("a first one", NATIVE, partial(ask, NATIVE, "openai/any", "hi"))
            measure(subject, small, server.pid)
            for worst in chosen:
                print(measure(subject, worst, server.pid), flush=True)


if __name__ == "__main__":
    main()
