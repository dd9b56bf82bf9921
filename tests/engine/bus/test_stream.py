"""A stream's owner, its lanes and its readers, one by one; the laws as a whole stand in test_laws."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from engine.api.errors import AnswerTooLong, LogUnavailable, NotOwner, SlowConsumer, StreamOver
from engine.api.events import (
    Audio,
    Citation,
    LaneEnded,
    LaneStarted,
    MessageSaved,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    TextDelta,
    ToolCall,
    ToolDelta,
)
from engine.api.identity import LOCAL
from engine.bus.bus import Bus
from engine.bus.log import Entry, MemoryLog
from engine.bus.stream import MOST_LANES, OBJECT, Cursor, LanesOpen, Stream, Token

DONE = StreamEnded(status="completed", reason="done")


@pytest.fixture
def token(bus: Bus) -> Token:
    return bus.open(LOCAL, "chat.send")


def test_numbers_begin_at_one_and_a_reader_gets_replay_and_live_events_alike(bus: Bus, token: Token) -> None:
    assert [bus.publish(token, TextDelta(piece)) for piece in "ab"] == [1, 2]
    cursor = token.stream.subscribe(1, lambda _: None)
    bus.publish(token, TextDelta("c"))
    assert [(entry.n, entry.event) for entry in cursor.take()] == [(2, TextDelta("b")), (3, TextDelta("c"))]
    assert bus.end(token, DONE) == 4
    assert not cursor.over
    assert [entry.n for entry in cursor.take()] == [4]
    assert cursor.over


def test_ownership_is_asked_before_anything_else_also_after_the_end(bus: Bus, token: Token) -> None:
    bus.end(token, DONE)
    new = bus.handover(token)
    for use in (lambda: bus.publish(token, DONE), lambda: bus.end(token, DONE), lambda: bus.handover(token)):
        with pytest.raises(NotOwner):
            use()
    with pytest.raises(StreamOver):
        bus.end(new, DONE)


def test_publishing_waits_for_no_reader_and_a_slow_one_falls_off_the_tail(bus: Bus, token: Token) -> None:
    cursor = token.stream.subscribe(0, lambda _: None)
    for _ in range(1000):
        bus.publish(token, TextDelta("x" * 100))
    with pytest.raises(SlowConsumer):
        cursor.take()
    assert token.stream.said.text == "x" * 100_000


async def test_who_waits_for_all_that_is_said_does_not_wait_for_the_end(bus: Bus, token: Token) -> None:
    stream = token.stream
    early = asyncio.create_task(stream.until_settled())
    stream.publish(token, TextDelta("all of it"))
    await asyncio.sleep(0)
    assert not early.done()
    stream.settle(token)
    await early
    await stream.until_settled()
    assert stream.ended is None
    with pytest.raises(NotOwner):
        stream.settle(Token(stream))


async def test_a_stream_that_has_ended_has_said_all(bus: Bus, token: Token) -> None:
    waiting = asyncio.create_task(token.stream.until_settled())
    await asyncio.sleep(0)
    bus.end(token, StreamEnded(status="completed", reason="done"))
    await waiting


def test_a_stream_cannot_end_while_a_lane_is_lent(bus: Bus, token: Token) -> None:
    lane = token.stream.lend(token, "speech")
    with pytest.raises(LanesOpen):
        bus.end(token, DONE)
    assert token.stream.ended is None
    lane.end()
    bus.end(token, DONE)


def test_a_lane_is_dead_with_the_token_that_lent_it(bus: Bus, token: Token) -> None:
    lane = token.stream.lend(token, "speech")
    new = bus.handover(token)
    with pytest.raises(NotOwner):
        lane.audio(b"x")
    with pytest.raises(LanesOpen):
        bus.end(new, DONE)
    token.stream.end_lanes(new)
    lane.end("cancelled")
    bus.end(new, DONE)


def test_a_lane_that_is_lent_again_keeps_the_number_that_its_old_audio_carries(bus: Bus, token: Token) -> None:
    first = token.stream.lend(token, "speech")
    first.end()
    music = token.stream.lend(token, "music")
    again = token.stream.lend(token, "speech")
    assert (first.number, music.number, again.number) == (1, 2, 1)
    assert token.stream.lane_number("speech") == 1
    with pytest.raises(StreamOver):
        first.audio(b"late")


def test_lanes_have_as_many_names_as_a_binary_frame_can_number(bus: Bus, token: Token) -> None:
    for number in range(MOST_LANES):
        token.stream.lend(token, f"lane {number}").end()
    with pytest.raises(ValueError, match="255 lanes already"):
        token.stream.lend(token, "one more")
    assert token.stream.lend(token, "lane 254").number == 255


@pytest.mark.parametrize("at", [-1, 1 << 32])
def test_media_time_that_no_frame_can_carry_is_refused(bus: Bus, token: Token, at: int) -> None:
    lane = token.stream.lend(token, "speech")
    with pytest.raises(ValueError, match="media time"):
        lane.audio(b"x", at=at)
    assert token.stream.n == 1


def test_lanes_frame_their_audio(bus: Bus, token: Token) -> None:
    lane = token.stream.lend(token, "speech", format="pcm", rate=24_000)
    lane.audio(b"ab", at=20)
    lane.end()
    assert [entry.event for entry in token.stream.subscribe(0, lambda _: None).take()] == [
        LaneStarted(lane="speech", number=1, format="pcm", rate=24_000),
        Audio(lane="speech", data=b"ab", at=20),
        LaneEnded(lane="speech"),
    ]


def test_the_last_reader_to_leave_is_told_to_the_supervisor_once(bus: Bus, token: Token) -> None:
    left: list[bool] = []
    token.stream.on_unwatched = lambda: left.append(True)
    one, two = (token.stream.subscribe(0, lambda _: None) for _ in range(2))
    one.close()
    one.close()
    assert (left, token.stream.watched) == ([], True)
    two.close()
    assert (left, token.stream.watched) == ([True], False)


def test_nobody_is_told_of_readers_that_leave_a_stream_that_is_over(bus: Bus, token: Token) -> None:
    left: list[bool] = []
    token.stream.on_unwatched = lambda: left.append(True)
    cursor = token.stream.subscribe(0, lambda _: None)
    bus.end(token, DONE)
    cursor.close()
    assert not left


def test_what_was_said_is_folded_by_choice_and_kind(bus: Bus, token: Token) -> None:
    source, saved = Citation(url="https://example.org"), MessageSaved(conversation="c", message="m")
    for event in (TextDelta("a"), TextDelta("x", 2), source, TextDelta("b"), saved):
        bus.publish(token, event)
    said = token.stream.said
    assert (said.text, said.choices, said.citations, said.saved) == ("ab", ("ab", "", "x"), (source,), saved)


class FullLog(MemoryLog):
    """A log that takes two entries and then is away."""

    def append(self, entry: Entry) -> None:
        if entry.n > 2:
            raise LogUnavailable("the log is away")
        super().append(entry)


def test_what_the_log_does_not_take_was_not_said_and_has_no_number() -> None:
    bus = Bus(clock=lambda: 0.0, log=FullLog)
    token = bus.open(LOCAL, "chat.send")
    for piece in "ab":
        bus.publish(token, TextDelta(piece))
    with pytest.raises(LogUnavailable):
        bus.publish(token, TextDelta("c"))
    with pytest.raises(LogUnavailable):
        bus.end(token, DONE)
    assert (token.stream.n, token.stream.said.text, token.stream.ended) == (2, "ab", None)


def test_a_reader_that_has_left_keeps_nothing_of_the_stream() -> None:
    class Watcher:
        """Holds its place in a stream, as sessions do."""

        def __init__(self, stream: Stream) -> None:
            self.cursor = stream.subscribe(0, self.wake)

        def wake(self, cursor: Cursor) -> None:
            pass

    bus = Bus(clock=lambda: 0.0)
    token = bus.open(LOCAL, "chat.send")
    watcher = Watcher(token.stream)
    gone = weakref.ref(watcher)
    gc.disable()
    try:
        watcher.cursor.close()
        del watcher
        assert gone() is None
    finally:
        gc.enable()


def test_a_stream_that_has_ended_waits_for_no_garbage_collector() -> None:
    bus = Bus(clock=lambda: 0.0, memory=0)
    gc.collect()
    token = bus.open(LOCAL, "chat.send")
    turn = [token]
    token.stream.on_unwatched = turn.clear
    bus.publish(token, TextDelta("a"))
    bus.end(token, DONE)
    assert bus.held == (0, 0, 0)
    del token, turn
    assert gc.collect() == 0


def test_output_past_the_bound_is_refused_and_the_stream_can_still_end(token: Token) -> None:
    stream = token.stream
    stream.room = 10
    stream.publish(token, TextDelta("0123456"))
    for event in (TextDelta("4567"), ReasoningDelta("4567"), ToolCall(call_id="c", name="a", arguments="{}")):
        with pytest.raises(AnswerTooLong):
            stream.publish(token, event)
    stream.publish(token, StatusChanged(stage="cut"))
    assert (stream.said.text, stream.n) == ("0123456", 2)
    stream.end(token, StreamEnded(status="failed", reason="provider_error"))


def test_a_snapshot_has_the_calls_that_are_still_being_written(token: Token) -> None:
    stream = token.stream
    for call, arguments in (("c", '{"a'), ("d", "["), ("c", '":1')):
        stream.publish(token, ToolDelta(call_id=call, name="f", arguments=arguments))
    written = [(each.call_id, each.arguments) for each in stream.snapshot(4).tool_deltas]
    assert written == [("c", '{"a":1'), ("d", "[")]
    stream.publish(token, ToolCall(call_id="c", name="f", arguments='{"a":1}'))
    snapshot = stream.snapshot(5)
    assert ([each.call_id for each in snapshot.tool_deltas], len(snapshot.tool_calls)) == (["d"], 1)


def test_the_pieces_of_a_call_and_the_call_count_once(token: Token) -> None:
    token.stream.room = 200
    for _ in range(10):
        token.stream.publish(token, ToolDelta(call_id="c", name="f", arguments="x" * 10))
    token.stream.publish(token, ToolCall(call_id="c", name="f", arguments="x" * 100))
    assert token.stream.room == 200 - 100 - OBJECT - 1


def test_probabilities_count_as_output(token: Token) -> None:
    token.stream.room = 1_000
    tops = [{"token": "a", "top_logprobs": [{"token": "a"}] * 20}]
    with pytest.raises(AnswerTooLong):
        token.stream.publish(token, TextDelta("a", logprobs=tops))


def test_the_parts_of_the_output_add_up_to_the_whole(token: Token) -> None:
    stream = token.stream
    stream.publish(token, TextDelta("one "))
    mark = stream.mark
    for event in (TextDelta("two"), TextDelta("other", 2), ReasoningDelta("hm"), Citation(url="u")):
        stream.publish(token, event)
    later = stream.said_since(mark)
    assert (later.text, later.choices, later.reasoning, len(later.citations)) == ("two", ("two", "", "other"), "hm", 1)
    assert stream.said_since(stream.mark).text == ""
