"""What the server adds to calls, beside a bare relay: python -m bench.calls

Servers have the first core, vendors and callers share the second; where speech is found by the server itself, all share both.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import uvloop

from bench import callers
from bench.callers import Caller, now
from bench.process import Server, cores, cpu_seconds, free_port, raise_file_limit, rss_mib, settle

ROOT = Path(__file__).parents[1]
CASCADE: dict[str, Any] = {
    "model": "cascade",
    "chat_model": "openai/gpt-4o",
    "transcription_model": "deepgram/nova-3",
    "speech_model": "openai/tts-1",
}
FOUND = {"type": "server_vad", "silence_duration_ms": 300, "prefix_padding_ms": 320}
KNOWN_MS = 13 * 32
"""From the beginning of a turn to the frame by which it is known: ten frames of padding, and three of speech."""

Figures = dict[str, float]


class Case(msgspec.Struct, frozen=True):
    """A number of calls that all do the same; `floor` is the path of the relay that does it, too."""

    name: str
    calls: int
    rate: int
    start: dict[str, Any]
    act: Callable[[Caller, float, bytes], Coroutine[Any, Any, list[float] | None]]
    floor: str = ""


async def _relay(caller: Caller, until: float, _: bytes) -> None:
    await callers.relay(caller, until)


async def _turns(caller: Caller, until: float, _: bytes) -> list[float]:
    return await callers.turns(caller, until)


async def _ask(caller: Caller, until: float, question: bytes) -> list[float]:
    return await callers.ask(caller, question, until)


async def _interrupt(caller: Caller, until: float, question: bytes) -> list[float]:
    return await callers.interrupt(caller, question, until, KNOWN_MS)


MANUAL = {**CASCADE, "turn_detection": {"type": "manual"}}
CASES = (
    Case("relay", 50, 24_000, {"model": "openai/gpt-realtime", "store": False}, _relay, "relay"),
    Case("turns", 50, 16_000, MANUAL, _turns, "turns"),
    Case("vad", 15, 16_000, {**CASCADE, "turn_detection": FOUND}, _ask),
    Case("barge-in", 15, 16_000, {**CASCADE, "turn_detection": FOUND, "voice": "ash"}, _interrupt),
)


def quantiles(name: str, values: list[float]) -> Figures:
    ordered = sorted(values)
    return {f"{name}_p{q}_ms": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (50, 99)}


async def run(case: Case, server: Server, url: str, question: bytes, seconds: float, *, floor: bool) -> Figures:
    """Hold the calls, and measure after a tenth of the time."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, AsyncExitStack() as stack:
        empty = rss_mib(server.pid)
        path = case.floor if floor else ""
        all_calls = [Caller(http, url, case.rate, path=path, **case.start) for _ in range(case.calls)]
        for caller in all_calls:
            await caller.begin()
            stack.push_async_callback(caller.end)
        begun, cpu = now(), cpu_seconds(server.pid)
        until = begun + seconds
        acting, chance = [], random.Random(case.calls)
        for caller in all_calls:
            acting.append(asyncio.create_task(case.act(caller, until, question), name="a caller"))
            # They neither speak in one breath nor send their frames at the same instants.
            await asyncio.sleep(chance.uniform(0, 2) * min(3.0, seconds / 3) / case.calls)
        # Each caller's first turn opens the connections of all later ones.
        waits = [wait for told in await asyncio.gather(*acting) for wait in (told or ())[1:]]
        spent = cpu_seconds(server.pid) - cpu
        figures: Figures = {
            "cpu_percent_a_call": spent / (now() - begun) / case.calls * 100,
            "mib_a_call": (rss_mib(server.pid) - empty) / case.calls,
        }
        if waits:
            figures |= quantiles("wait", waits)
        if case.name == "relay":
            stamps = [stamp for caller in all_calls for stamp in caller.stamps[len(caller.stamps) // 10 :]]
            figures |= quantiles("up", [up for up, _ in stamps]) | quantiles("down", [down for _, down in stamps])
        elif not floor:
            figures |= quantiles("jitter", [late for caller in all_calls for late in jitter(caller.came)])
    return figures


def jitter(came: list[float]) -> list[float]:
    """How far each frame is from 20 ms after the one before, in ms, where frames come at the speed of play."""
    gaps = [(b - a) * 1000 for a, b in itertools.pairwise(came)]
    return [abs(gap - 20) for gap in gaps if 5 < gap < 200] or [0.0]


def engine(command: Path, home: Path, port: int, vendors: str, core: int) -> Server:
    env = {
        "OPENAI_BASE_URL": vendors,
        "OPENAI_API_KEY": "bench",
        "BETTERAI__VENDORS__DEEPGRAM__BASE_URL": vendors.removesuffix("/v1"),
        "DEEPGRAM_API_KEY": "bench",
        "BETTERAI__PLUGINS__ENABLED": '["chat","tts","audio","realtime"]',
        "BETTERAI__DATABASES__DEFAULT": f"sqlite+aiosqlite:///{home / 'bench.db'}",
    }
    argv = (str(command), "serve", "--host", "127.0.0.1", "--port", str(port))
    return Server(argv, port=port, core=core, log=home / "server.log", ready="/health/ready", env=env, cwd=home)


def floor(home: Path, port: int, vendors: str, core: int) -> Server:
    argv = (sys.executable, "-m", "bench.call_floor", "--port", str(port), "--vendors", vendors)
    return Server(argv, port=port, core=core, log=home / "floor.log", ready="/health/ready", cwd=ROOT)


async def asked(url: str) -> bytes:
    """A question in the voice of this machine."""
    body = {"text": "Hello, how are you today?", "format": "pcm", "rate": 16_000, "model": "local"}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v1/tts", json=body) as answer:
        if answer.status != 200:
            raise RuntimeError(f"this machine has no voice: {await answer.text()}")
        return await answer.read()


async def measure(case: Case, make: Callable[[int], Server], seconds: float, *, is_floor: bool) -> Figures:
    """A fresh process for every case, so that none pays for, or hides in, the memory of another."""
    port = free_port()
    with make(port) as server:
        await asyncio.to_thread(server.wait_ready)
        url, question = f"http://127.0.0.1:{port}", b""
        if case.act in (_ask, _interrupt):
            psutil.Process(server.pid).cpu_affinity(sorted(set(cores())))
            question = await asked(url)
        await asyncio.to_thread(settle, server.pid)
        return await run(case, server, url, question, seconds, floor=is_floor)


def table(rows: dict[str, dict[str, list[Figures]]]) -> str:
    """Medians over the rounds, and the ratio to the floor's."""
    lines = ["| case | figure | floor | engine | ratio |", "|---|---|---|---|---|"]
    for case, servers in rows.items():
        for name in servers["engine"][0]:
            own = statistics.median(figures[name] for figures in servers["engine"])
            bare = [figures[name] for figures in servers.get("floor", []) if name in figures]
            base = f"{statistics.median(bare):.3g}" if bare else ""
            ratios = [
                b[name] / a[name]
                for a, b in zip(servers.get("floor", []), servers["engine"], strict=False)
                if a.get(name)
            ]
            ratio = f"**{statistics.median(ratios):.2f}x**" if ratios else ""
            lines.append(f"| {case} | {name} | {base} | {own:.3g} | {ratio} |")
    return "\n".join(lines)


async def main(arguments: argparse.Namespace, scratch: Path) -> None:
    port, (first, second) = free_port(), cores()
    psutil.Process().cpu_affinity([second])
    argv = (sys.executable, "-m", "bench.call_vendors", "--port", str(port))
    log, vendors = scratch / "vendors.log", f"http://127.0.0.1:{port}/v1"
    rows: dict[str, dict[str, list[Figures]]] = {}
    with Server(argv, port=port, core=second, log=log, ready="/ready", cwd=ROOT) as started:
        await asyncio.to_thread(started.wait_ready)
        for case in [case for case in CASES if case.name in arguments.cases]:
            for turn in range(arguments.rounds):
                servers = {"engine": partial(engine, arguments.engine)} | ({"floor": floor} if case.floor else {})
                for name, make in servers.items():
                    home = Path(tempfile.mkdtemp(prefix=name, dir=scratch))
                    figures = await measure(
                        case,
                        lambda port, make=make, home=home: make(home, port, vendors, first),  # type: ignore[misc]
                        arguments.seconds,
                        is_floor=name == "floor",
                    )
                    rows.setdefault(case.name, {}).setdefault(name, []).append(figures)
                    told = "  ".join(f"{key}={value:.3g}" for key, value in figures.items())
                    print(f"{turn} {name} {case.name}: {told}", file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=lambda text: text.split(","), default=[case.name for case in CASES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--engine", type=Path, default=Path(sys.executable).with_name("betterai"), help="its command")
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="betterai-bench-") as folder:
        uvloop.run(main(parser.parse_args(), Path(folder)))
