"""What single steps of the token path cost: python -m bench.micro [name …]

Each figure is the least of several repeats, in microseconds of this thread's CPU time, so that other work on the machine
raises it as little as may be. Compare figures of one run only.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import ClassVar

import uvloop

from engine.api import (
    LOCAL,
    ChatDeltas,
    ChatProvider,
    ChatRequest,
    Finish,
    Plugin,
    PluginContext,
    Provider,
    StreamEnded,
    TextDelta,
    Usage,
    hookimpl,
)
from engine.bus.bus import Bus
from engine.bus.stream import Stream
from engine.config import load
from engine.loader.find import given_plugins
from engine.log import configure
from engine.main import Engine
from engine.process import calm_the_collector
from engine.sessions.outlet import Outlet
from engine.wire.frames import encode_event, stream_prefix
from engine.wire.sse import SseDecoder
from plugins.chat.plugin import Chat
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.failures import Vendor

CHUNK = (
    b'data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":'
    b'[{"index":0,"delta":{"content":"hello world and more"},"finish_reason":null}]}\n\n'
)
REPEATS = 7


class Scripted(ChatProvider):
    """Answers with `chunks` pieces, each after a turn of the loop."""

    role: ClassVar = "chat"
    name: ClassVar[str] = "scripted"
    unavailable: ClassVar[None] = None
    default_model: ClassVar[str] = "scripted"

    def __init__(self) -> None:
        self.chunks = 1

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas]:
        for _ in range(self.chunks):
            await asyncio.sleep(0)
            yield [TextDelta("hello world and more")]
        yield [Finish("stop"), Usage(input_tokens=5, output_tokens=5)]


class ScriptedPlugin(Plugin):
    """Brings the scripted provider."""

    name = "scripted"
    provider = Scripted()

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [self.provider]


class NullPeer:
    """A socket that takes everything."""

    def write(self, data: bytes) -> None:
        pass

    def buffered(self) -> int:
        return 0

    def close(self, code: int, reason: str) -> None:
        pass


def least(work: Callable[[], object], count: int) -> float:
    """Microseconds of one of `count` steps that `work` does, the least of some repeats."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best / count * 1e6


async def least_of(work: Callable[[], Awaitable[object]], count: int) -> float:
    """The same for a coroutine."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.thread_time()
        await work()
        best = min(best, time.thread_time() - start)
    return best / count * 1e6


def wire() -> dict[str, float]:
    """Reading a vendor's chunk, and writing our frame."""
    sse, decoder, prefix, event = (
        SseDecoder(),
        ChatDecoder(Vendor("x"), choices=1),
        stream_prefix("s_" + "0" * 24),
        TextDelta("hello world and more"),
    )
    events = sse.feed(CHUNK)
    return {
        "SSE, cut one event": least(lambda: [sse.feed(CHUNK) for _ in range(2000)], 2000),
        "chunk to delta (msgspec)": least(lambda: [decoder.feed(events) for _ in range(2000)], 2000),
        "event to frame (msgspec)": least(lambda: [encode_event(prefix, 17, event) for _ in range(2000)], 2000),
    }


def bus() -> dict[str, float]:
    """Publishing one event to three readers that take it."""
    bus, event = Bus(clock=time.monotonic), TextDelta("hello world and more")

    def publish() -> None:
        token = bus.open(LOCAL, "bench")
        stream = token.stream
        cursors = [stream.subscribe(0, lambda _: None) for _ in range(3)]
        for _ in range(2000):
            stream.publish(token, event)
            for cursor in cursors:
                for entry in cursor.take():
                    entry.frame(stream.prefix)
        bus.end(token, StreamEnded(status="completed", reason="done"))

    return {"bus, publish to three readers who take and encode": least(publish, 2000)}


async def turns(engine: Engine) -> dict[str, float]:
    """Whole turns without a network: what they cost at all, and for each chunk."""
    provider = ScriptedPlugin.provider

    async def one(store: bool) -> None:
        body = {"input": "Tell me of the sea", "model": "scripted/scripted", "store": store}
        found = await engine.supervisor.start(LOCAL, "chat.send", body)
        stream = found if isinstance(found, Stream) else engine.bus.find(found.stream, LOCAL)
        outlet = Outlet(NullPeer())
        outlet.watch(stream, 0)
        reader = engine.supervisor.reader(stream)
        ended = await reader.ended()
        reader.close()
        outlet.close()
        assert ended.status == "completed"

    async def many(store: bool, count: int) -> None:
        async def some() -> None:
            for _ in range(count // 20):
                await one(store)

        await asyncio.gather(*(some() for _ in range(20)))

    async def waits() -> None:
        for _ in range(4000):
            await asyncio.sleep(0)

    provider.chunks = 1
    figures = {
        "turn of one chunk, store: false": await least_of(lambda: many(False, 200), 200),
        "turn of one chunk, history on": await least_of(lambda: many(True, 200), 200),
    }
    provider.chunks = 4000
    whole = await least_of(lambda: one(False), 4000)
    return figures | {
        "chunk, provider to socket write": whole,
        "of it, the loop's own turn": await least_of(waits, 4000),
    }


async def main(wanted: set[str]) -> None:
    """Print the table."""
    os.chdir(tempfile.mkdtemp())
    raw = load(None, {}).with_value("plugins.enabled", ["chat", "scripted"], "bench")
    engine = Engine(raw.with_value("server.port", 0, "bench"), given_plugins(Chat, ScriptedPlugin))
    configure(engine.core.log.model_copy(update={"level": "error"}))
    await engine.start()
    calm_the_collector()
    figures = {**wire(), **bus(), **await turns(engine)}
    await engine.stop(0)
    print("| step | us |\n|---|---|")
    for name, figure in figures.items():
        if not wanted or any(word in name for word in wanted):
            print(f"| {name} | {figure:.2f} |")


if __name__ == "__main__":
    uvloop.run(main(set(sys.argv[1:])))
