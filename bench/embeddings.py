"""How long others wait while a large answer of embeddings goes through: python -m bench.embeddings

One client asks for 2,048 vectors of 3,072 numbers, another asks for /health/ready again and again. The floor relays the same
bytes and reads nothing of them.
"""

import argparse
import base64
import http.client
import json
import sys
import tempfile
import threading
import time
import urllib.request
from array import array
from pathlib import Path

import uvloop
from aiohttp import web

from bench import servers
from bench.hosting import host, ready
from bench.process import Server, cores, free_port
from bench.servers import Subject

INPUTS, NUMBERS = 2_048, 3_072
PIECE = 1 << 20


def document(numbers: bool) -> bytes:
    """A vendor's answer, of numbers or in base64."""
    vector = [((at * 7_919) % 20_011) / 20_011 - 0.5 for at in range(NUMBERS)]
    floats = base64.b64encode(array("f", vector).tobytes()).decode()
    row = {"object": "embedding", "embedding": vector if numbers else floats}
    one = json.dumps(row)[:-1]
    rows = ",".join(f'{one},"index":{at}}}' for at in range(INPUTS))
    usage = '{"prompt_tokens":2048,"total_tokens":2048}'
    return f'{{"object":"list","model":"e","data":[{rows}],"usage":{usage}}}'.encode()


def vendor(numbers: bool) -> web.Application:
    """Answers at any address with the one document; the floor asks at that of chat."""
    body = document(numbers)

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, content_type="application/json")

    app = web.Application(client_max_size=64 * PIECE)
    app.router.add_get("/health/ready", ready)
    app.router.add_post("/{path:.*}", answer)
    return app


def waits(subject: Subject, path: str, asked: str, core: int) -> tuple[float, float]:
    """The longest wait of the other client in ms, and the seconds that the answer took."""
    body = {"model": "openai/any", "input": ["x"] * INPUTS, "encoding_format": asked}
    ask = urllib.request.Request(f"http://127.0.0.1:{subject.port}{path}", json.dumps(body).encode())
    ask.add_header("Content-Type", "application/json")
    with subject.start(core) as server:
        server.wait_ready()
        answering = threading.Thread(target=_read, args=(ask,))
        begun = time.monotonic()
        answering.start()
        longest = _longest_wait(subject.port, answering)
        return longest * 1000, time.monotonic() - begun


def _longest_wait(port: int, answering: threading.Thread) -> float:
    longest = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while answering.is_alive():
        begun = time.monotonic()
        connection.request("GET", "/health/ready")
        connection.getresponse().read()
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.002)
    return longest


def _read(ask: urllib.request.Request) -> None:
    with urllib.request.urlopen(ask, timeout=120) as answer:
        while answer.read(PIECE):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", type=Path, default=Path(sys.executable).with_name("betterai"))
    parser.add_argument("--vendor", choices=["numbers", "base64"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.vendor:
        uvloop.run(host(vendor(arguments.vendor == "numbers"), arguments.port))
        return
    for said in ("base64", "numbers"):
        with tempfile.TemporaryDirectory() as folder:
            compare(said, arguments.engine, arguments.rounds, Path(folder))


def compare(said: str, command: Path, rounds: int, home: Path) -> None:
    """Floor and engine in turn before one vendor; a line for each answer."""
    port = free_port()
    argv = (sys.executable, "-m", "bench.embeddings", "--vendor", said, "--port", str(port))
    server_core, other_core = cores()
    with Server(argv, port=port, core=other_core, log=home / "vendor.log", ready="/health/ready") as upstream:
        upstream.wait_ready()
        base = f"http://127.0.0.1:{port}/v1"
        for turn in range(1, rounds + 1):
            floor, _ = waits(servers.floor(home, free_port(), base), "/v1/chat/completions", "base64", server_core)
            for asked in ("base64", "float"):
                engine = servers.engine(command, home, free_port(), base)
                wait, took = waits(engine, "/v1/embeddings", asked, server_core)
                print(
                    f"{turn} vendor answers {said}, client asks {asked}: others wait {wait:.0f} ms at most, "
                    f"{wait / floor:.1f} x the floor's {floor:.0f} ms; answered in {took:.1f} s"
                )


if __name__ == "__main__":
    main()
