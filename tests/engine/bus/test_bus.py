"""Streams are found by their owner, and forgotten in time."""

from __future__ import annotations

import pytest

from engine.api.errors import StreamNotFound
from engine.api.events import StreamEnded, TextDelta
from engine.api.identity import LOCAL, Principal
from engine.bus.bus import Bus
from engine.bus.stream import Stream
from tests.engine.bus.conftest import Clock

DONE = StreamEnded(status="completed", reason="done")


def ended(bus: Bus, size: int = 10) -> Stream:
    token = bus.open(LOCAL, "chat.send")
    bus.publish(token, TextDelta("x" * size))
    bus.end(token, DONE)
    return token.stream


def is_held(bus: Bus, stream: Stream) -> bool:
    try:
        return bus.find(stream.id, LOCAL) is stream
    except StreamNotFound:
        return False


def test_an_ended_stream_is_kept_for_its_time(bus: Bus, clock: Clock) -> None:
    stream = ended(bus)
    clock.now = 299.9
    assert is_held(bus, stream)
    clock.now = 300.0
    assert not is_held(bus, stream)
    assert bus.held == (0, 0, 0)


def test_a_running_stream_is_kept_for_as_long_as_it_runs(bus: Bus, clock: Clock) -> None:
    token = bus.open(LOCAL, "chat.send")
    clock.now = 100_000.0
    bus.sweep()
    assert is_held(bus, token.stream)


def test_ended_streams_share_their_memory_and_the_oldest_leaves_first(bus: Bus) -> None:
    streams = [ended(bus, 15_000) for _ in range(4)]
    assert [is_held(bus, stream) for stream in streams] == [False, False, True, True]
    live, count, held = bus.held
    assert (live, count) == (0, 2)
    assert held == sum(stream.log.size for stream in streams[2:]) <= 40_000


def test_a_reader_of_a_forgotten_stream_still_reads_to_its_end(bus: Bus, clock: Clock) -> None:
    stream = ended(bus)
    cursor = stream.subscribe(0, lambda _: None)
    clock.now = 1000.0
    bus.sweep()
    assert [entry.n for entry in cursor.take()] == [1, 2]


def test_streams_are_numbered_apart_and_named_unguessably(bus: Bus) -> None:
    streams = [bus.open(LOCAL, "chat.send").stream for _ in range(100)]
    assert len({stream.number for stream in streams}) == len({stream.id for stream in streams}) == 100
    assert all(len(stream.id) == 26 for stream in streams)


def test_unknown_and_foreign_streams_look_alike(bus: Bus) -> None:
    running, over = bus.open(LOCAL, "chat.send").stream, ended(bus)
    for id in (running.id, over.id, "s_unknown"):
        with pytest.raises(StreamNotFound) as caught:
            bus.find(id, Principal("eve"))
        assert caught.value.body() == StreamNotFound(f"there is no stream {id!r}").body()
