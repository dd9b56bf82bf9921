"""Load on one server, from raw protocols: closed loops, idle sockets, or clients that vanish; one JSON object out.

python -m bench.load sse --port 9200 --pid PID --traffic mock-60x50 --clients 100
python -m bench.load ws  --port 9200 --pid PID --dialect engine --traffic mock-60x50
python -m bench.load idle --port 9200 --pid PID --dialect floor --sockets 2000
python -m bench.load vanish --port 9200 --pid PID --dialect engine --clients 1000 --upstream-port 9100

CPU and memory are those of --pid and all its children. Latency is one way, from the upstream's write of a chunk to this
process's read of it. Every answer is checked: one that did not bring exactly its chunks, in order, is an error.
"""

import argparse
import asyncio
import gc
import math
import random
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import uvloop

from bench.clients import Client, JsonClient, SseClient, Tally, Target, WsClient, keep_asking
from bench.dialects import DIALECTS, chat_completion
from bench.process import cpu_seconds, machine_seconds, raise_file_limit, rss_mib
from bench.sockets import hold_idle, vanish
from bench.traffic import Traffic, find_traffic

MODES = ("sse", "json", "ws", "idle", "vanish")
GRACE = 20.0
"""Seconds beyond its own length that an answer may take to end once clients stop asking."""


class Report(msgspec.Struct):
    """Figures by name, the unit at the name's end, those left out that had no sample; how often each error came."""

    figures: dict[str, float]
    errors: dict[str, int]


class Load(msgspec.Struct, frozen=True):
    """How hard and how long; starts are spread evenly over the length of one answer."""

    mode: str
    traffic: Traffic
    clients: int
    seconds: float
    warmup: float
    pid: int
    upstream_pid: int | None = None


def percentile(sorted_values: Sequence[float], q: float) -> float:
    """The q-th quantile of sorted values; nan when there is none."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * q))] if sorted_values else float("nan")


def target_for(mode: str, dialect: str, port: int, key: str, traffic: Traffic) -> Target:
    if mode in ("sse", "json"):
        ask = chat_completion(traffic, stream=mode == "sse")
        return Target(port, "/v1/chat/completions", key, ask, traffic.chunks)
    want = traffic.chunks if mode == "ws" else 0
    return Target(port, "/ws", key, DIALECTS[dialect].ask(traffic), want)


def client_for(mode: str, dialect: str, target: Target, tally: Tally, start_at: float) -> Client:
    match mode:
        case "sse":
            return SseClient(target, tally, start_at)
        case "json":
            return JsonClient(target, tally, start_at)
        case _:
            return WsClient(target, tally, start_at, DIALECTS[dialect])


async def drive(load: Load, connect: Callable[[Tally, float], Client], port: int) -> Report:
    """Run the clients, measure between warm-up and stop, then let every answer end and be checked."""
    tally, began = Tally(), asyncio.get_running_loop().time()
    spread = max(0.2, load.traffic.seconds)

    def loop_of(index: int) -> asyncio.Task[None]:
        start_at = began + spread * (index + random.random()) / load.clients
        return asyncio.create_task(keep_asking(lambda: connect(tally, start_at), port, tally))

    loops = [loop_of(index) for index in range(load.clients)]
    await asyncio.sleep(load.warmup)
    figures = {name: figure for name, figure in (await measure(load, tally)).items() if math.isfinite(figure)}
    tally.stopping = True
    _, late = await asyncio.wait(loops, timeout=load.traffic.seconds + GRACE)
    if late:
        tally.errors["did not end after the measurement"] += len(late)
    return Report(figures, dict(tally.errors.most_common()))


async def measure(load: Load, tally: Tally) -> dict[str, float]:
    pids = [load.pid] + ([load.upstream_pid] if load.upstream_pid else [])
    machine, before = machine_seconds(), [cpu_seconds(pid) for pid in pids]
    own, began = time.process_time(), time.monotonic()
    tally.measuring = True
    await asyncio.sleep(load.seconds)
    tally.measuring = False
    took = time.monotonic() - began
    own = time.process_time() - own
    spent = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
    others = machine_seconds() - machine - sum(spent) - own
    first, latency = sorted(tally.first_token_s), sorted(tally.latency_us)
    units = tally.answers if load.traffic.chunks == 1 else tally.chunks
    return {
        "answers_per_s": tally.answers / took,
        "chunks_per_s": tally.chunks / took,
        "cpu_us": spent[0] / units * 1e6 if units else float("nan"),
        "server_load": spent[0] / took,
        "tool_load": (sum(spent[1:]) + own) / took,
        "others_load": max(0.0, others / took),
        "ttft_p50_ms": percentile(first, 0.5) * 1e3,
        "ttft_p99_ms": percentile(first, 0.99) * 1e3,
        "latency_p50_ms": percentile(latency, 0.5) / 1e3,
        "latency_p99_ms": percentile(latency, 0.99) / 1e3,
        "rss_mib": rss_mib(load.pid),
    }


async def run(arguments: argparse.Namespace, traffic: Traffic) -> Report:
    mode, dialect, port = arguments.mode, arguments.dialect, arguments.port
    target = target_for(mode, dialect, port, arguments.key, traffic)
    if mode in ("idle", "vanish"):
        tally = Tally()

        def socket() -> WsClient:
            return WsClient(target, tally, 0.0, DIALECTS[dialect])

        if mode == "idle":
            figures = await hold_idle(socket, port, arguments.sockets, arguments.pid)
        else:
            figures = await vanish(socket, tally, port, arguments.clients, arguments.pid, arguments.upstream_port)
        return Report(figures, dict(tally.errors))
    load = Load(
        mode, traffic, arguments.clients, arguments.seconds, arguments.warmup, arguments.pid, arguments.upstream_pid
    )
    return await drive(load, lambda tally, start_at: client_for(mode, dialect, target, tally, start_at), port)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server whose CPU and memory are read")
    parser.add_argument("--dialect", choices=DIALECTS, default="engine")
    parser.add_argument("--traffic", default="mock-60x50", help="mock-<chunks>x<gap ms>[x<pad>[x<chunks per write>]]")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=2.0)
    parser.add_argument("--sockets", type=int, default=2000, help="how many sockets `idle` holds")
    parser.add_argument("--key", default="bench", help="sent as Authorization: Bearer")
    parser.add_argument("--upstream-pid", type=int, help="its CPU is counted into tool_load")
    parser.add_argument("--upstream-port", type=int, default=9100, help="where `vanish` asks for open streams")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if not (traffic := find_traffic(arguments.traffic.encode())):
        sys.exit(f"--traffic {arguments.traffic}: expected mock-<chunks>x<gap ms>")
    raise_file_limit()
    # A collection in the middle of a run would show as the server's latency.
    gc.disable()
    print(msgspec.json.encode(uvloop.run(run(arguments, traffic))).decode())


if __name__ == "__main__":
    main()
