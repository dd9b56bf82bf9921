"""An OpenAI-compatible upstream that costs next to nothing: prebuilt bytes over a raw protocol.

python -m bench.upstream --port 9100

Runs upstream.c where a C compiler is there, which takes a quarter of the CPU, else this file; `--python` always this file.

POST /v1/chat/completions answers the traffic that the body names (see traffic.py); GET /v1/models lists one model;
GET /stats tells {"open": streams under way, "served": answers brought to their end, "cut": streams their reader left}.
"""

import argparse
import asyncio
import functools
import os
from typing import cast

import msgspec
import uvloop

from bench.compiled import compiled_upstream
from bench.process import raise_file_limit
from bench.traffic import MARK, Traffic, find_traffic, monotonic_us

BLANK = b"0" * 16
HEAD = "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
MODELS = {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1700000000, "owned_by": "mock"}]}


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Ask(msgspec.Struct):
    """The fields of a chat completion request that change the answer."""

    model: str = "gpt-4o"
    stream: bool = False
    stream_options: StreamOptions | None = None


class Stats(msgspec.Struct):
    open: int = 0
    served: int = 0
    cut: int = 0


class Script(msgspec.Struct, frozen=True):
    """The bytes of one stream; a piece is `before`, 16 digits of time, `after`."""

    traffic: Traffic
    opening: bytes
    before: bytes
    after: bytes
    closing: bytes


def usage(traffic: Traffic) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": traffic.chunks, "total_tokens": traffic.chunks + 10}


def http_chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def sse_event(value: object) -> bytes:
    return http_chunk(b"data: " + msgspec.json.encode(value) + b"\n\n")


@functools.lru_cache(maxsize=64)
def script(traffic: Traffic, model: str, with_usage: bool) -> Script:
    """With usage asked for, every event has the field, null but in the last, as OpenAI documents it."""
    frame = {
        "id": "chatcmpl-mock0000000000000000000001",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_0000000000",
    }

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse_event({**frame, "choices": [choice], **({"usage": None} if with_usage else {})})

    piece = event({"content": (MARK + BLANK).decode() + "x" * traffic.pad})
    before, _, after = piece.partition(MARK + BLANK)
    counted = sse_event({**frame, "choices": [], "usage": usage(traffic)}) if with_usage else b""
    return Script(
        traffic=traffic,
        opening=SSE_HEAD + event({"role": "assistant", "content": ""}),
        before=before + MARK,
        after=after,
        closing=event({}, "stop") + counted + http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    )


def whole_answer(traffic: Traffic, model: str) -> dict[str, object]:
    text = "".join(f"{MARK.decode()}{monotonic_us():016d}" + "x" * traffic.pad for _ in range(traffic.chunks))
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-mock0000000000000000000001",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage(traffic),
    }


class Connection(asyncio.Protocol):
    """One client of the upstream: requests one after the other, one write for each `per_write` pieces."""

    transport: asyncio.Transport

    def __init__(self, stats: Stats) -> None:
        self.stats = stats
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.script: Script | None = None
        self.sent = 0
        self.started = 0.0
        self.blocked = False
        self.next: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self.transport = cast("asyncio.Transport", transport)
        # Any byte that the socket did not take must pause the stream, so that stamps tell the time of true writes.
        self.transport.set_write_buffer_limits(high=0)
        self.fd: int = transport.get_extra_info("socket").fileno()

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self.script and self.next is None:
            self.step()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.script is None and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            if b"\r\ntransfer-encoding:" in head:
                self.reply("411 Length Required", {"error": {"message": "send the body with content-length"}})
                self.transport.close()
                return
            _, _, length = head.partition(b"\r\ncontent-length:")
            stop = end + 4 + int(length.split(b"\r\n", 1)[0] or 0)
            if len(self.buffer) < stop:
                return
            request_line, body = self.buffer.split(b"\r\n", 1)[0], self.buffer[end + 4 : stop]
            self.buffer = self.buffer[stop:]
            self.answer(request_line.rpartition(b" ")[0], body)

    def answer(self, what: bytes, body: bytes) -> None:
        match what:
            case b"POST /v1/chat/completions":
                self.complete(body)
            case b"GET /v1/models":
                self.reply("200 OK", MODELS)
            case b"GET /stats":
                self.reply("200 OK", self.stats)
            case _:
                self.reply("404 Not Found", {"error": {"message": f"nothing at {what.decode(errors='replace')}"}})

    def complete(self, body: bytes) -> None:
        traffic = find_traffic(body)
        try:
            ask = msgspec.json.decode(body, type=Ask)
        except msgspec.DecodeError as error:
            self.reply("400 Bad Request", {"error": {"message": f"body: {error}"}})
            return
        if traffic is None:
            self.reply("400 Bad Request", {"error": {"message": "no mock-<chunks>x<gap ms> in the request"}})
        elif ask.stream:
            options = ask.stream_options or StreamOptions()
            self.begin(script(traffic, ask.model, options.include_usage))
        else:
            self.reply("200 OK", whole_answer(traffic, ask.model))
            self.stats.served += 1

    def reply(self, status: str, value: object) -> None:
        body = msgspec.json.encode(value)
        self.write(HEAD.format(status=status, kind="application/json", size=len(body)).encode() + body)

    def begin(self, lines: Script) -> None:
        self.script, self.sent, self.started = lines, 0, self.loop.time()
        self.stats.open += 1
        self.write(lines.opening)
        self.step()

    def step(self) -> None:
        """Write what is due once; a blocked socket puts it off until the socket takes bytes again."""
        self.next = None
        lines = self.script
        if lines is None or self.blocked or self.transport.is_closing():
            return
        traffic = lines.traffic
        count = min(traffic.per_write, traffic.chunks - self.sent)
        pieces = (b"%b%016d%b" % (lines.before, monotonic_us(), lines.after)) * count
        self.sent += count
        if self.sent >= traffic.chunks:
            self.script = None
            self.stats.open -= 1
            self.stats.served += 1
            self.write(pieces + lines.closing)
            return
        self.write(pieces)
        if traffic.gap:
            due = self.started + self.sent / traffic.per_write * traffic.gap / 1000
            self.next = self.loop.call_at(due, self.step)
        elif not self.blocked:
            # One write a stream and loop turn, so that streams interleave as those of a real vendor do.
            self.next = self.loop.call_soon(self.step)

    def write(self, data: bytes) -> None:
        """Straight into the socket while it takes all: the transport would put the write off to the end of the turn."""
        taken = 0
        if not self.transport.get_write_buffer_size():
            try:
                taken = os.write(self.fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self.transport.abort()
                return
        if taken < len(data):
            self.transport.write(data[taken:])

    def connection_lost(self, exc: Exception | None) -> None:
        if self.next:
            self.next.cancel()
        if self.script:
            self.script = None
            self.stats.open -= 1
            self.stats.cut += 1


async def start_upstream(port: int) -> asyncio.Server:
    """Listen on the loopback; port 0 takes a free one."""
    stats = Stats()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(stats), "127.0.0.1", port, backlog=4096)


async def main(port: int) -> None:
    async with await start_upstream(port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--python", action="store_true", help="even where a C compiler is there")
    arguments = parser.parse_args()
    raise_file_limit()
    if not arguments.python and (program := compiled_upstream()):
        os.execv(program, [str(program), str(arguments.port)])
    uvloop.run(main(arguments.port))
