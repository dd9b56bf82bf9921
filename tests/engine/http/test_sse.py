"""When a stream's status line is sent, and what is sent in its silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from itertools import pairwise
from typing import Any

import pytest

from engine.api.errors import EngineError, ErrorBody, ProviderUnavailable
from engine.api.events import StatusChanged, StreamEnded, TextDelta, ToolDelta
from engine.api.identity import LOCAL
from engine.bus.bus import Bus
from engine.bus.stream import Token
from engine.http.sse import CLOSE_BEHIND, KEEP_ALIVE, EventWriter, NativeEncoder, first_word
from engine.testing.clock import virtual_time

FAILED = StreamEnded(
    status="failed",
    reason="provider_error",
    error=ErrorBody(code=ProviderUnavailable.code, message="gone", retryable=True),
)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test whose minutes pass at once."""

    @wraps(test)
    def run(**given: Any) -> None:
        with virtual_time() as runner:
            runner.run(test(**given))

    return run


class Held:
    """A stream whose status line is held, and the time at which it was let go."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.bus = Bus(clock=loop.time)
        self.token: Token = self.bus.open(LOCAL, "chat.send")
        self.cursor = self.token.stream.subscribe(0, lambda _: None)
        self.begun = loop.time()
        self.waits = asyncio.ensure_future(first_word(self.cursor))

    async def after(self, seconds: float) -> bool:
        """Whether it is let go after so many seconds."""
        await asyncio.sleep(seconds)
        return self.waits.done()


@pytest.mark.parametrize("word", [TextDelta("Hi"), ToolDelta(call_id="c", name="f", arguments="{")])
@in_virtual_time
async def test_a_status_line_waits_for_the_first_word(word: Any) -> None:
    held = Held()
    held.bus.publish(held.token, StatusChanged(stage="retry"))
    assert not await held.after(KEEP_ALIVE * 10)
    held.bus.publish(held.token, word)
    assert await held.waits is None


@in_virtual_time
async def test_a_vendor_that_answers_and_shows_nothing_does_not_hold_it() -> None:
    held = Held()
    assert not await held.after(KEEP_ALIVE * 10)
    held.token.stream.begin(held.token)
    assert not await held.after(CLOSE_BEHIND * 0.9)
    assert await held.after(CLOSE_BEHIND * 0.2)
    assert await held.waits is None


@in_virtual_time
async def test_a_failure_close_behind_the_head_of_an_answer_is_told_by_the_status_line() -> None:
    held = Held()
    held.token.stream.begin(held.token)
    await held.after(CLOSE_BEHIND * 0.9)
    held.bus.end(held.token, FAILED)
    error = await held.waits
    assert isinstance(error, EngineError) and error.code == "provider_unavailable"


@in_virtual_time
async def test_a_vendor_that_began_and_was_given_up_holds_it_as_if_it_had_not() -> None:
    held = Held()
    held.token.stream.begin(held.token)
    await held.after(CLOSE_BEHIND * 0.9)
    held.token.stream.begin(held.token, False)
    assert not await held.after(KEEP_ALIVE * 10)
    held.bus.end(held.token, FAILED)
    assert isinstance(await held.waits, EngineError)


class Wire(asyncio.Transport):
    """What was written, with the time of each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[float, bytes]] = []

    def write(self, data: Any) -> None:
        self.written.append((asyncio.get_running_loop().time(), bytes(data)))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


@in_virtual_time
async def test_a_silence_is_filled_with_the_signs_of_life_of_the_dialect() -> None:
    held = Held()
    held.bus.publish(held.token, TextDelta("Hi"))
    await held.waits
    wire = Wire()
    encoder = NativeEncoder(held.token.stream, 0)
    writer = EventWriter(held.cursor, wire, encoder, chunked=False, keep_alive=b"event: ping\n\n")
    running = asyncio.ensure_future(writer.run())
    await asyncio.sleep(KEEP_ALIVE * 4 + 1)
    held.bus.end(held.token, StreamEnded(status="completed", reason="done"))
    await running
    signs = [at for at, data in wire.written if data == b"event: ping\n\n"]
    assert len(signs) == 3 and all(b - a == KEEP_ALIVE for a, b in pairwise(signs))
