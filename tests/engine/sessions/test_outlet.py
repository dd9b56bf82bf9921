"""What goes out to a client: whole, in order, once encoded, one write a loop turn, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api.events import Audio, Event, ReasoningDelta, StreamEnded, TextDelta
from engine.api.identity import LOCAL
from engine.bus.bus import Bus
from engine.bus.stream import Stream, Token
from engine.sessions.outlet import BATCH, CONTROL_LIMIT, HIGH_WATER, Outlet
from engine.testing.clock import virtual_time
from engine.testing.session import MemoryPeer
from engine.wire.control import Pong
from engine.wire.frames import encode_event

DONE = StreamEnded(status="completed", reason="done")


class Line:
    """A bus, a client and the outlet between them."""

    def __init__(self, stream_bytes: int = 1 << 20) -> None:
        self.bus = Bus(clock=asyncio.get_running_loop().time, stream_bytes=stream_bytes)
        self.peer = MemoryPeer()
        self.outlet = Outlet(self.peer)
        self.token: Token = self.bus.open(LOCAL, "chat.send")

    @property
    def stream(self) -> Stream:
        return self.token.stream

    def say(self, *events: Event | str) -> None:
        for event in events:
            self.bus.publish(self.token, TextDelta(event) if isinstance(event, str) else event)

    def end(self) -> None:
        self.bus.end(self.token, DONE)

    @property
    def numbers(self) -> list[tuple[int | None, int]]:
        """`prev` and `n` of every numbered text frame."""
        return [(frame.get("prev"), frame["n"]) for frame in self.peer.texts if "n" in frame]


@pytest.fixture
async def line() -> Line:
    return Line()


async def turn() -> None:
    """One turn of the loop, in which what was noted is flushed."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_all_that_is_due_goes_out_in_one_write_a_loop_turn(line: Line) -> None:
    other = line.bus.open(LOCAL, "chat.send")
    line.outlet.watch(line.stream, 0)
    line.outlet.watch(other.stream, 0)
    line.outlet.send(Pong(re="p"))
    line.say("a", "b")
    line.bus.publish(other, TextDelta("c"))
    assert line.peer.writes == 0
    await turn()
    assert line.peer.writes == 1
    assert [frame["type"] for frame in line.peer.texts] == ["pong", "text.delta", "text.delta", "text.delta"]
    line.say("d")
    await turn()
    assert line.peer.writes == 2


async def test_an_event_is_encoded_once_however_many_read_it(line: Line) -> None:
    outlets = [line.outlet, *(Outlet(MemoryPeer()) for _ in range(3))]
    for outlet in outlets:
        outlet.watch(line.stream, 0)
    line.say("a")
    (entry,) = line.stream.log.read(0, 1)
    await turn()
    frame = entry.json
    assert frame == encode_event(line.stream.prefix, 1, TextDelta("a"))
    late = Outlet(MemoryPeer())
    late.watch(line.stream, 0)
    await turn()
    assert entry.json is frame


async def test_joined_frames_cover_their_numbers(line: Line) -> None:
    line.outlet.join = True
    line.outlet.watch(line.stream, 0)
    line.say("a", "b", "c", ReasoningDelta("x"), ReasoningDelta("y"), "d")
    await turn()
    assert line.numbers == [(0, 3), (3, 5), (None, 6)]
    assert [frame["text"] for frame in line.peer.texts] == ["abc", "xy", "d"]


async def test_log_probabilities_and_choices_are_never_joined(line: Line) -> None:
    line.outlet.join = True
    line.outlet.watch(line.stream, 0)
    line.say("a", TextDelta("b", 0, [{"token": "b"}]), TextDelta("c", 1), "d")
    await turn()
    assert line.numbers == [(None, 1), (None, 2), (None, 3), (None, 4)]


async def test_lanes_that_were_not_asked_for_are_left_out_and_their_numbers_covered(line: Line) -> None:
    line.outlet.lanes = frozenset({"music"})
    line.outlet.watch(line.stream, 0)
    speech = line.stream.lend(line.token, "speech")
    speech.audio(b"no")
    music = line.stream.lend(line.token, "music")
    music.audio(b"yes")
    line.say("a")
    speech.end()
    music.end()
    line.end()
    await turn()
    assert line.numbers == [(0, 3), (None, 5), (5, 7), (None, 8)]
    assert [(frame.payload, frame.lane, frame.prev) for frame in line.peer.binaries] == [(b"yes", 2, None)]


async def test_numbers_left_out_before_are_told_of_when_all_lanes_are_asked_for_again(line: Line) -> None:
    line.outlet.lanes = frozenset()
    line.outlet.watch(line.stream, 0)
    line.say("a")
    speech = line.stream.lend(line.token, "speech")
    speech.audio(b"no")
    await turn()
    line.outlet.lanes = None
    speech.end()
    line.say("b")
    await turn()
    assert line.numbers == [(None, 1), (1, 4), (None, 5)]


async def test_audio_goes_out_as_it_is(line: Line) -> None:
    line.outlet.watch(line.stream, 0)
    lane = line.stream.lend(line.token, "speech")
    lane.audio(b"\x00\x01", at=20)
    await turn()
    (frame,) = line.peer.binaries
    assert (frame.number, frame.n, frame.lane, frame.at, frame.payload) == (line.stream.number, 2, 1, 20, b"\0\1")


async def test_a_full_socket_stops_the_taking_and_never_the_publishing(line: Line) -> None:
    line.outlet.watch(line.stream, 0)
    line.peer.reading = False
    line.say("x" * HIGH_WATER, "y")
    await turn()
    assert line.peer.buffered() > HIGH_WATER
    held = line.peer.buffered()
    for _ in range(50):
        line.say("z")
        await turn()
    assert line.peer.buffered() == held
    line.peer.reading = True
    await asyncio.sleep(0.2)
    assert [n for _, n in line.numbers] == list(range(1, 53))


async def test_a_reader_that_falls_off_the_tail_is_detached_and_may_come_back() -> None:
    line = Line(stream_bytes=10_000)
    line.outlet.watch(line.stream, 0)
    line.say("first")
    await turn()
    line.peer.reading = False
    line.outlet.send(Pong(re="x" * HIGH_WATER))
    await turn()
    for _ in range(100):
        line.say("x" * 1000)
    line.peer.reading = True
    await asyncio.sleep(0.2)
    detached = line.peer.texts[-1]
    assert (detached["type"], detached["last"]) == ("stream.detached", 1)
    assert (detached["error"]["code"], detached["error"]["retryable"]) == ("slow_consumer", True)
    assert (line.outlet.watching, line.stream.watched) == (0, False)
    line.outlet.watch(line.stream, line.stream.n - 1)
    line.end()
    await turn()
    assert [n for _, n in line.numbers] == [1, 101, 102]


async def test_a_client_that_reads_no_answers_is_closed_at_a_bound(line: Line) -> None:
    line.outlet.watch(line.stream, 0)
    line.peer.reading = False
    line.outlet.send(Pong(re="x" * (HIGH_WATER + 1)))
    await turn()
    for _ in range(CONTROL_LIMIT // 1000 + 2):
        line.outlet.send(Pong(re="y" * 1000))
    assert line.peer.closed == (1013, "slow_consumer")
    assert line.outlet.closed
    assert not line.stream.watched
    line.say("nobody hears this")


async def test_commands_wait_while_answers_are_not_read(line: Line) -> None:
    line.peer.reading = False
    line.outlet.send(Pong(re="x" * (HIGH_WATER + 1)))
    await turn()
    waiting = asyncio.create_task(line.outlet.writable())
    await asyncio.sleep(60)
    assert not waiting.done()
    line.peer.reading = True
    await asyncio.wait_for(waiting, 1)


async def test_commands_that_wait_go_on_when_the_session_closes(line: Line) -> None:
    line.peer.reading = False
    line.outlet.send(Pong(re="x" * (HIGH_WATER + 1)))
    await turn()
    waiting = asyncio.create_task(line.outlet.writable())
    await turn()
    line.outlet.close()
    await asyncio.wait_for(waiting, 1)


async def test_one_fast_stream_does_not_hold_up_the_others(line: Line) -> None:
    fast = line.bus.open(LOCAL, "chat.send")
    line.outlet.watch(fast.stream, 0)
    line.outlet.watch(line.stream, 0)
    for _ in range(2000):
        line.bus.publish(fast, TextDelta("x"))
    line.say("a")
    await turn()
    await asyncio.sleep(0.001)
    place = [frame["stream"] for frame in line.peer.texts].index(line.stream.id)
    assert (place, len(line.peer.texts)) == (BATCH, 2001)


async def test_a_stream_that_cannot_be_sent_is_detached_and_does_not_silence_the_others(line: Line) -> None:
    bad = line.bus.open(LOCAL, "chat.send")
    line.outlet.watch(bad.stream, 0)
    line.outlet.watch(line.stream, 0)
    line.bus.publish(bad, TextDelta("fine"))
    await turn()
    line.bus.publish(bad, Audio(lane="speech", data=b"x", at=-1))  # no header can carry this time
    line.say("a")
    await turn()
    detached, said = line.peer.texts[-2:]
    assert (detached["type"], detached["stream"], detached["last"]) == ("stream.detached", bad.stream.id, 1)
    assert detached["error"]["code"] == "internal"
    assert (said["stream"], said["text"]) == (line.stream.id, "a")
    line.say("b")
    await turn()
    assert line.peer.texts[-1]["text"] == "b"


async def test_a_stream_that_is_over_is_watched_no_more(line: Line) -> None:
    line.outlet.watch(line.stream, 0)
    line.say("a")
    line.end()
    await turn()
    assert (line.outlet.watching, line.stream.watched) == (0, False)
    line.outlet.watch(line.stream, line.stream.n)
    assert (line.outlet.watching, line.stream.watched) == (0, False)


async def test_leaving_a_stream_says_where(line: Line) -> None:
    line.outlet.watch(line.stream, 0)
    line.say("a", "b")
    await turn()
    line.say("c")
    assert line.outlet.unwatch(line.stream.id) == 2
    assert line.outlet.unwatch(line.stream.id) is None
    await turn()
    assert [n for _, n in line.numbers] == [1, 2]


@dataclass(frozen=True)
class Configure:
    join: bool
    lanes: frozenset[str] | None


steps = st.one_of(
    st.sampled_from(["a", "bc", ""]),
    st.builds(TextDelta, st.just("p"), st.integers(0, 1), st.none() | st.just([{"token": "p"}])),
    st.builds(ReasoningDelta, st.just("r")),
    st.builds(Audio, lane=st.sampled_from(["speech", "music"]), data=st.just(b"pcm"), at=st.integers(0, 90_000)),
    st.builds(Configure, st.booleans(), st.sampled_from([None, frozenset(), frozenset({"music"})])),
    st.sampled_from(["turn", "stall", "read", "resume"]).map(lambda word: (word,)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_whatever_a_reader_asks_for_nothing_is_lost_unseen(plan: list[Any]) -> None:
    async def run() -> None:
        line = Line()
        line.outlet.watch(line.stream, 0)
        lanes = {name: line.stream.lend(line.token, name) for name in ("speech", "music")}
        for step in plan:
            match step:
                case Configure(join, wanted):
                    await turn()
                    line.outlet.join, line.outlet.lanes = join, wanted
                case ("turn",):
                    await turn()
                case ("stall",):
                    line.peer.reading = False
                case ("read",):
                    line.peer.reading = True
                case ("resume",):
                    line.peer.reading = True
                    await turn()
                    line.outlet.watch(line.stream, last_seen(line))
                case Audio(lane=name):
                    lanes[name].audio(step.data, at=step.at)
                case _:
                    line.say(step)
        for lane in lanes.values():
            lane.end()
        line.end()
        line.peer.reading = True
        await asyncio.sleep(1)
        assert last_seen(line) == line.stream.n
        said = [step for step in plan if isinstance(step, str | TextDelta)]
        main = "".join(each if isinstance(each, str) else each.text for each in said if not_other_choice(each))
        assert "".join(frame["text"] for frame in deltas(line) if not frame.get("choice")) == main

    with virtual_time() as runner:
        runner.run(run())


def not_other_choice(event: str | TextDelta) -> bool:
    return isinstance(event, str) or event.choice == 0


def deltas(line: Line) -> Iterator[dict[str, Any]]:
    return (frame for frame in line.peer.texts if frame["type"] == "text.delta")


def last_seen(line: Line) -> int:
    """The last number a client saw, after it checked that nothing was lost on the way: `prev ?? n - 1`."""
    covered = [(frame["n"], frame.get("prev", frame["n"] - 1)) for frame in line.peer.texts if "n" in frame]
    covered += [(frame.n, frame.n - 1 if frame.prev is None else frame.prev) for frame in line.peer.binaries]
    last = 0
    for n, prev in sorted(covered):
        assert prev == last, f"frame {n} follows {prev}, the last one seen is {last}"
        last = n
    return last
