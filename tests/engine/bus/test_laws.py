"""The laws of the bus hold whatever its users do, in whatever order, on every log backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from engine.api.errors import NotOwner, SlowConsumer, StreamNotFound, StreamOver
from engine.api.events import (
    Audio,
    Event,
    Gap,
    LaneEnded,
    LaneStarted,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    TextDelta,
    ToolCall,
)
from engine.api.identity import Principal
from engine.bus.bus import Bus
from engine.bus.log import OVERHEAD
from engine.bus.stream import Cursor, Lane, LanesOpen, Stream, Token
from tests.engine.bus.logs import LOGS

STREAM_BYTES, MEMORY, KEEP = 6_000, 15_000, 60.0
LARGEST = 3_000
DONE = StreamEnded(status="completed", reason="done")

pieces = st.text(st.sampled_from("abcé漢😀"), max_size=40)
events = st.one_of(
    st.builds(TextDelta, pieces, st.integers(0, 2)),
    st.builds(TextDelta, pieces, st.just(0), st.just([{"token": "a", "logprob": -0.5}])),
    st.builds(ReasoningDelta, pieces),
    st.builds(StatusChanged, stage=st.just("thinking"), detail=pieces),
    st.builds(ToolCall, call_id=pieces, name=st.just("add"), arguments=st.just("{}")),
    st.builds(TextDelta, st.integers(1_000, LARGEST).map("x".__mul__)),
)


@dataclass(eq=False)
class Written:
    """A stream, and what the model says was written to it."""

    stream: Stream
    owner: Principal
    events: list[Event] = field(default_factory=list)
    ended_at: float | None = None


@dataclass(eq=False)
class Reading:
    """A cursor and the last number that it was given."""

    written: Written
    cursor: Cursor
    last: int
    woken: list[Cursor]
    lost: bool = False


class BusLaws(RuleBasedStateMachine):
    """Owners, impostors and readers at work on a few streams, beside a plain model of what they did."""

    backend = "memory"
    tokens: Bundle[Token] = Bundle("tokens")
    dead: Bundle[Token] = Bundle("dead")
    lanes: Bundle[tuple[Token, Lane]] = Bundle("lanes")
    streams: Bundle[Written] = Bundle("streams")
    readings: Bundle[Reading] = Bundle("readings")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.bus = Bus(
            clock=lambda: self.now, stream_bytes=STREAM_BYTES, memory=MEMORY, keep=KEEP, log=LOGS[self.backend]
        )
        self.written: dict[str, Written] = {}
        self.owners: dict[str, Token] = {}

    def of(self, token: Token) -> Written:
        return self.written[token.stream.id]

    def log(self, written: Written, event: Event, n: int) -> None:
        written.events.append(event)
        assert n == len(written.events) == written.stream.n

    @rule(target=tokens, owner=st.sampled_from(["ann", "bob"]))
    def open(self, owner: str) -> Token:
        token = self.bus.open(Principal(owner), "test")
        self.written[token.stream.id] = Written(token.stream, token.stream.principal)
        self.owners[token.stream.id] = token
        return token

    @rule(target=streams, token=tokens)
    def stream(self, token: Token) -> Written:
        return self.of(token)

    @rule(token=tokens, event=events, times=st.integers(1, 5))
    def publish(self, token: Token, event: Event, times: int) -> None:
        written = self.of(token)
        for _ in range(times):
            if written.ended_at is None:
                self.log(written, event, self.bus.publish(token, event))
            else:
                with pytest.raises(StreamOver):
                    self.bus.publish(token, event)

    @rule(token=tokens)
    def end(self, token: Token) -> None:
        written = self.of(token)
        if written.ended_at is not None:
            with pytest.raises(StreamOver):
                self.bus.end(token, DONE)
        elif self.open_lanes(written):
            with pytest.raises(LanesOpen):
                self.bus.end(token, DONE)
        else:
            self.log(written, DONE, self.bus.end(token, DONE))
            written.ended_at = self.now

    def open_lanes(self, written: Written) -> set[str]:
        names: set[str] = set()
        for event in written.events:
            if isinstance(event, LaneStarted):
                names.add(event.lane)
            elif isinstance(event, LaneEnded):
                names.discard(event.lane)
        return names

    @rule(token=tokens)
    def a_terminal_event_is_not_published(self, token: Token) -> None:
        with pytest.raises((TypeError, StreamOver)):
            self.bus.publish(token, DONE)

    @rule(target=tokens, old=consumes(tokens))
    def hand_over(self, old: Token) -> Token:
        new = self.bus.handover(old)
        uses: list[Callable[[], object]] = [
            lambda: self.bus.publish(old, TextDelta("mine")),
            lambda: self.bus.end(old, DONE),
            lambda: self.bus.handover(old),
            lambda: old.stream.lend(old, "speech"),
            lambda: old.stream.end_lanes(old),
        ]
        for use in uses:
            with pytest.raises(NotOwner):
                use()
        self.owners[new.stream.id] = new
        return new

    @rule(target=dead, token=tokens)
    def forge(self, token: Token) -> Token:
        return Token(token.stream)

    @rule(token=dead, event=events)
    def impostors_are_told_so_first_and_always(self, token: Token, event: Event) -> None:
        with pytest.raises(NotOwner):
            self.bus.publish(token, event)
        with pytest.raises(NotOwner):
            self.bus.end(token, DONE)

    @rule(target=lanes, token=tokens, name=st.sampled_from(["speech", "music"]))
    def lend(self, token: Token, name: str) -> tuple[Token, Lane]:
        written = self.of(token)
        if written.ended_at is not None:
            with pytest.raises(StreamOver):
                token.stream.lend(token, name)
        elif name in self.open_lanes(written):
            with pytest.raises(ValueError, match="open already"):
                token.stream.lend(token, name)
        else:
            lane = token.stream.lend(token, name)
            self.log(written, LaneStarted(lane=name, number=lane.number), written.stream.n)
            return token, lane
        lane = Lane(token.stream, token, name, 0)
        lane.open = False
        return token, lane

    @rule(lent=lanes, size=st.integers(0, 900), at=st.integers(0, 100_000))
    def speak(self, lent: tuple[Token, Lane], size: int, at: int) -> None:
        token, lane = lent
        written, audio = self.of(token), Audio(lane=lane.name, data=b"x" * size, at=at)
        if token is not self.owner_of(written):
            with pytest.raises(NotOwner):
                lane.audio(audio.data, at=at)
        elif not lane.open:
            with pytest.raises(StreamOver):
                lane.audio(audio.data, at=at)
        else:
            lane.audio(audio.data, at=at)
            self.log(written, audio, written.stream.n)

    def owner_of(self, written: Written) -> Token:
        return self.owners[written.stream.id]

    @rule(lent=lanes)
    def end_lane(self, lent: tuple[Token, Lane]) -> None:
        token, lane = lent
        written, was_open = self.of(token), lane.open
        if was_open and token is not self.owner_of(written):
            with pytest.raises(NotOwner):
                lane.end()
        else:
            lane.end()
            if was_open:
                self.log(written, LaneEnded(lane=lane.name), written.stream.n)

    @rule(token=tokens)
    def end_all_lanes(self, token: Token) -> None:
        written = self.of(token)
        names: list[str] = list(self.open_lanes(written))
        token.stream.end_lanes(token)
        # They end in the order in which their names were first lent.
        names = sorted(names, key=lambda name: self.first_lent(written, name))
        written.events += [LaneEnded(lane=name, status="cancelled") for name in names]
        assert written.stream.n == len(written.events)

    def first_lent(self, written: Written, name: str) -> int:
        return next(
            place for place, event in enumerate(written.events) if isinstance(event, LaneStarted) and event.lane == name
        )

    @rule(target=readings, written=streams, share=st.floats(0, 1))
    def watch(self, written: Written, share: float) -> Reading:
        after = int(share * written.stream.n)
        woken: list[Cursor] = []
        return Reading(written, written.stream.subscribe(after, woken.append), after, woken)

    @rule(reading=readings, limit=st.integers(1, 8))
    def take(self, reading: Reading, limit: int) -> None:
        written = reading.written
        fell_off = reading.last < written.stream.log.tail
        if fell_off:
            reading.lost = True
            with pytest.raises(SlowConsumer):
                reading.cursor.take(limit)
            return
        taken = reading.cursor.take(limit)
        assert len(taken) == limit or reading.cursor.after == len(written.events)
        for entry in taken:
            if isinstance(entry.event, Gap):
                covered = written.events[reading.last : entry.n]
                assert all(isinstance(each, Audio) and each.lane == entry.event.lane for each in covered)
                assert (entry.event.first, entry.event.last) == (reading.last + 1, entry.n)
            else:
                assert entry.n == reading.last + 1
                assert entry.event == written.events[entry.n - 1]
            reading.last = entry.n
        assert reading.cursor.over == (written.ended_at is not None and reading.last == len(written.events))
        assert reading.cursor.behind == (reading.last < len(written.events))

    @rule(reading=consumes(readings))
    def leave(self, reading: Reading) -> None:
        reading.cursor.close()
        reading.cursor.close()

    @rule(reading=readings, token=tokens, event=events)
    def a_reader_is_woken_by_its_stream_alone(self, reading: Reading, token: Token, event: Event) -> None:
        reading.woken.clear()
        self.publish(token, event, 1)
        mine = self.of(token) is reading.written and reading.written.ended_at is None
        assert reading.woken == ([reading.cursor] if mine else [])

    @rule(seconds=st.floats(0, KEEP))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(written=streams)
    def find(self, written: Written) -> None:
        id = written.stream.id
        stranger = Principal("eve")
        with pytest.raises(StreamNotFound) as foreign:
            self.bus.find(id, stranger)
        with pytest.raises(StreamNotFound) as unknown:
            self.bus.find("s_0", stranger)
        assert str(foreign.value) == str(unknown.value).replace("s_0", id)
        assert foreign.value.body() == StreamNotFound(str(foreign.value)).body()
        if written.ended_at is None:
            assert self.bus.find(id, written.owner) is written.stream
        elif self.now >= written.ended_at + KEEP:
            with pytest.raises(StreamNotFound):
                self.bus.find(id, written.owner)

    @rule(written=streams)
    def said_is_the_fold_of_what_was_published(self, written: Written) -> None:
        said, told = written.stream.said, written.events
        text = [event for event in told if isinstance(event, TextDelta)]
        assert said.text == "".join(event.text for event in text if event.choice == 0)
        for choice, words in enumerate(said.choices):
            assert words == "".join(event.text for event in text if event.choice == choice)
        assert said.reasoning == "".join(event.text for event in told if isinstance(event, ReasoningDelta))
        assert said.tool_calls == tuple(event for event in told if isinstance(event, ToolCall))
        assert len(said.logprobs or ()) == sum(event.logprobs is not None for event in text)

    @invariant()
    def there_is_one_end_and_it_is_last(self) -> None:
        for written in self.written.values():
            ends = [n for n, event in enumerate(written.events, 1) if isinstance(event, StreamEnded)]
            assert ends == ([] if written.ended_at is None else [len(written.events)])
            assert (written.stream.ended is not None) == bool(ends)

    @invariant()
    def memory_is_bounded(self) -> None:
        for written in self.written.values():
            log = written.stream.log
            assert 0 <= log.tail <= log.committed == len(written.events)
            held = log.read(log.tail, len(written.events))
            words = sum(
                OVERHEAD + len(entry.frame(b"").decode()) for entry in held if not isinstance(entry.event, Audio)
            )
            audio = sum(len(entry.event.data) for entry in held if isinstance(entry.event, Audio))
            assert log.size - audio <= STREAM_BYTES + LARGEST + OVERHEAD + 100
            assert words <= 2 * (STREAM_BYTES + LARGEST + OVERHEAD + 100)
        live, ended, held_bytes = self.bus.held
        assert live == sum(written.ended_at is None for written in self.written.values())
        assert held_bytes <= MEMORY
        assert ended <= len(self.written) - live
        if not ended:
            assert held_bytes == 0

    @invariant()
    def running_streams_are_listed_oldest_first(self) -> None:
        live = [written.stream for written in self.written.values() if written.ended_at is None]
        assert list(self.bus.running()) == live
        ann = Principal("ann")
        assert list(self.bus.running(ann)) == [stream for stream in live if stream.principal == ann]


@pytest.mark.parametrize("backend", LOGS)
def test_the_laws_hold(backend: str) -> None:
    machine = type("Machine", (BusLaws,), {"backend": backend})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
