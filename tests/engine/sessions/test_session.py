"""Every command of a session, good and bad: each gets one answer that helps, and the session goes on."""

from __future__ import annotations

import asyncio
import gc
import json
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from engine.api.errors import StreamNotFound
from engine.api.identity import Principal
from engine.api.streams import Writer
from engine.bus.bus import Bus
from engine.sessions.actor import Drain, SessionSettings, TextFrame
from engine.sessions.supervisor import Limits, Supervisor
from engine.sessions.table import CommandTable
from engine.testing.session import Json, SessionKit, answers
from tests.engine.sessions.commands import Dictated, Script, command, echo, forever

Quiet = Callable[[], Awaitable[None]]
SEND = {"type": "chat.send", "input": "hello"}


async def rejected(kit: SessionKit, frame: Any, re: str | None = None) -> Json:
    """Send a frame that is refused; gives the error, and proves that the session goes on."""
    await kit.send(frame)
    refusal = await kit.frame(type="rejected")
    assert refusal.get("re") == re
    await kit.send({"type": "ping", "id": "alive"})
    assert (await kit.frame(re="alive"))["type"] == "pong"
    error: Json = refusal["error"]
    return error


async def test_a_session_introduces_itself_first_and_unprompted(kit: SessionKit) -> None:
    ready = await kit.frame()
    assert ready == {
        "type": "session.ready",
        "protocol": 1,
        "session": kit.session.id,
        "version": "test",
        "features": [],
    }


async def test_accepted_comes_before_any_event_of_its_stream(kit: SessionKit) -> None:
    stream = await kit.start({**SEND, "id": "c1"})
    await kit.ended(stream)
    accepted = next(frame for frame in kit.frames if frame["type"] == "accepted")
    assert accepted == {"type": "accepted", "re": "c1", "stream": stream, "number": 1, "recovered": True}
    assert [frame["type"] for frame in kit.frames] == [
        "session.ready",
        "accepted",
        "stream.started",
        "text.delta",
        "stream.ended",
    ]


async def test_an_id_is_optional_and_only_echoed(kit: SessionKit) -> None:
    await kit.send({"type": "ping"}, {"type": "ping", "id": "same"}, {"type": "ping", "id": "same"})
    for re in (None, "same", "same"):
        assert (await kit.frame(type="pong")).get("re") == re


async def test_many_streams_run_on_one_session(kit: SessionKit, script: Script) -> None:
    await kit.send(*({"type": "chat.send", "id": f"c{n}", "input": f"text {n}"} for n in range(20)))
    for n in range(20):
        stream = (await kit.frame(type="accepted", re=f"c{n}"))["stream"]
        await kit.ended(stream)
        assert kit.text(stream) == f"text {n}"


async def test_half_a_character_is_read_as_a_mark_in_its_place(kit: SessionKit) -> None:
    await kit.send('{"type":"ping","id":"cut \\ud83d"}')
    assert (await kit.frame(type="pong"))["re"] == "cut \ufffd"


@pytest.mark.parametrize(
    ("frame", "code", "field", "words"),
    [
        ("not json", "invalid_frame", None, "the frame is not JSON"),
        ("", "invalid_frame", None, "the frame is not JSON"),
        ('{"type":"ping"', "invalid_frame", None, "the frame is not JSON"),
        ('{"type":"ping","id":"\\ud83d', "invalid_frame", None, "the frame is not JSON"),
        ("[" * 100_000, "invalid_request", None, "nests more than 64 levels deep"),
        ({"type": "chat.send", "input": [[]] * 130_000}, "invalid_request", "input", "more than 120000 objects"),
        ("[]", "invalid_frame", None, "a frame is a JSON object"),
        ("null", "invalid_frame", None, "a frame is a JSON object"),
        ({}, "invalid_frame", "type", "names its command in 'type'"),
        ({"type": 7}, "invalid_frame", "type", "names its command in 'type'"),
        ({"type": "chat.sned"}, "unknown_command", "type", "did you mean 'chat.send'?"),
        ({"type": "stream.resum"}, "unknown_command", "type", "did you mean 'stream.resume'?"),
        ({"type": "zzz"}, "unknown_command", "type", "there is no command 'zzz'"),
        ({"type": "x" * 500_000}, "unknown_command", "type", "there is no command"),
        ({"type": "ping", "id": 7}, "invalid_request", "id", "a text of at most 200"),
        ({"type": "ping", "id": "x" * 201}, "invalid_request", "id", "a text of at most 200"),
        ({"type": "ping", "colour": 1}, "invalid_request", "colour", "unknown field colour"),
        ({**SEND, "key": 7}, "invalid_request", "key", "makes a retry safe"),
        ({**SEND, "key": ""}, "invalid_request", "key", "1 to 200 characters, this one has 0"),
        ({**SEND, "key": "x" * 201}, "invalid_request", "key", "this one has 201"),
        ({**SEND, "on_disconnect": "stop"}, "invalid_request", "on_disconnect", '"continue", "cancel"'),
        ({**SEND, "on_disconnect": {"cancel_after": -1}}, "invalid_request", "on_disconnect", "cancel_after"),
        ({**SEND, "on_disconnect": {"cancel_after": "1"}}, "invalid_request", "on_disconnect", "cancel_after"),
        ({**SEND, "inptu": "x"}, "invalid_request", "inptu", "did you mean input?"),
        ({"type": "chat.send", "input": 7}, "invalid_request", "input", "must be a string, not a number"),
        ({"type": "stream.resume"}, "invalid_request", "stream", "stream is required"),
        ({"type": "stream.resume", "stream": "s", "after": -1}, "invalid_request", "after", "must be 0 or more"),
        ({"type": "stream.resume", "stream": "s", "after": "1"}, "invalid_request", "after", "must be a whole number"),
        ({"type": "stream.resume", "stream": "s_none"}, "stream_not_found", None, "there is no stream 's_none'"),
        ({"type": "stream.cancel", "stream": "s_none"}, "stream_not_found", None, "there is no stream 's_none'"),
        ({"type": "stream.detach", "stream": "s_none"}, "stream_not_found", None, "there is no stream 's_none'"),
        ({"type": "stream.cancel", "stream": "x" * 65}, "invalid_request", "stream", "at most 64"),
        ({"type": "session.configure", "join": "yes"}, "invalid_request", "join", "must be true or false"),
        ({"type": "session.configure", "lanes": "speech"}, "invalid_request", "lanes", "must be a list"),
        ({"type": "ping", "key": "k"}, "invalid_request", "key", "unknown field key"),
        ({"type": "tool.echo"}, "invalid_request", "text", "text is required"),
    ],
)
async def test_bad_frames_are_refused_by_name(
    kit: SessionKit, frame: Any, code: str, field: str | None, words: str
) -> None:
    error = await rejected(kit, frame)
    assert (error["code"], error.get("field")) == (code, field)
    assert words in error["message"]
    assert len(error["message"]) < 500
    assert error["retryable"] is False


async def test_a_refusal_echoes_the_id_where_there_is_one(kit: SessionKit) -> None:
    await rejected(kit, {"type": "nonsense", "id": "c1"}, re="c1")
    await rejected(kit, {"id": "c2"}, re="c2")
    await rejected(kit, {**SEND, "id": "c3", "on_disconnect": 1}, re="c3")


async def test_a_frame_over_the_bound_is_refused_by_its_bytes(script: Script) -> None:
    async with SessionKit(command(script), settings=SessionSettings(version="t", max_frame=100)) as kit:
        error = await rejected(kit, {"type": "ping", "id": "x" * 100}, re="x" * 100)
        assert (error["code"], "at most 100 bytes" in error["message"]) == ("too_large", True)
        error = await rejected(kit, '{"type":"ping","id":"' + "漢" * 30 + '"}', re="漢" * 30)
        assert (error["code"], "this one has 113" in error["message"]) == ("too_large", True)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"text, but binary", "version"),
        (b"short", "header of 16 bytes"),
        (struct.pack(">IIBBHI", 9, 1, 1, 0, 0, 0), "no stream with number 9 of this session takes binary frames"),
    ],
)
async def test_binary_frames_that_no_stream_takes_are_refused(kit: SessionKit, frame: bytes, words: str) -> None:
    error = await rejected(kit, frame)
    assert (error["code"], words in error["message"]) == ("invalid_frame", True)


async def test_a_command_whose_plugin_is_off_is_named_as_such(kit: SessionKit) -> None:
    kit.supervisor.table = CommandTable(reserved={"tts": "the plugin 'speech', which is off"})
    error = await rejected(kit, {"type": "tts.speak"})
    assert (error["code"], "'speech', which is off" in error["message"]) == ("feature_disabled", True)
    assert len((await rejected(kit, {"type": "tts." + "x" * 10_000}))["message"]) < 300


async def test_a_command_beyond_the_scopes_of_a_key_is_forbidden(script: Script) -> None:
    async with SessionKit(command(script), principal=Principal("ann", frozenset({"admin"}))) as kit:
        assert (await rejected(kit, SEND))["code"] == "forbidden"


async def test_a_call_is_answered_at_once(kit: SessionKit) -> None:
    await kit.send({"type": "tool.echo", "id": "t", "text": "hi"})
    assert await kit.frame(re="t") == {"type": "accepted", "re": "t", "text": "hi"}


async def test_a_crash_in_a_command_is_one_refusal_without_its_detail(kit: SessionKit, script: Script) -> None:
    async def crash() -> None:
        raise RuntimeError("the password is hunter2")

    script.prepared = crash
    assert (await rejected(kit, {"type": "tool.echo", "id": "t", "text": "crash"}, re="t"))["code"] == "internal"
    assert (await rejected(kit, {**SEND, "id": "c"}, re="c"))["code"] == "internal"
    assert "hunter2" not in str(kit.frames)


async def test_an_answer_to_a_call_that_nobody_waits_for_is_refused_and_no_turn_is_hurt(script: Script) -> None:
    async def handle(request: Any) -> None:
        raise StreamNotFound("no call 'x' of this stream waits for a result")

    call = echo()
    refusing = type(call)(name="tool.result", body=call.body, handle=handle)
    script.work = talk = Dictated()
    async with SessionKit(command(script), refusing) as kit:
        stream = await kit.start(SEND)
        await rejected(kit, {"type": "tool.result", "id": "t", "text": "x"}, re="t")
        talk.over.set()
        assert (await kit.ended(stream))["status"] == "completed"


async def test_a_slow_start_holds_up_no_cancel(kit: SessionKit, script: Script) -> None:
    script.work = forever
    stream = await kit.start(SEND)
    script.prepared = asyncio.Event().wait  # type: ignore[assignment]
    await kit.send({**SEND, "id": "slow"}, {"type": "stream.cancel", "stream": stream})
    assert (await kit.ended(stream))["status"] == "cancelled"
    assert not [frame for frame in kit.frames if frame.get("re") == "slow"]


async def test_a_draining_server_says_so(kit: SessionKit) -> None:
    await kit.session.post(Drain(7.0))
    assert (await kit.frame(type="session.draining"))["seconds"] == 7.0


class TestBounds:
    """Nothing that a client sends makes the server hold without limit."""

    async def test_ten_thousand_commands_at_once_are_each_answered_once(self, kit: SessionKit) -> None:
        kinds = [{"type": "ping"}, {"type": "nope"}, {"type": "tool.echo", "text": "a"}, {"type": "stream.cancel"}]
        await kit.send(*({**kinds[n % 4], "id": str(n)} for n in range(10_000)))
        await kit.frame(re="9999")
        assert sorted(int(frame["re"]) for frame in answers(kit.frames)) == list(range(10_000))

    async def test_ten_thousand_starts_at_once_are_started_or_refused(self, kit: SessionKit, quiet: Quiet) -> None:
        await kit.send(*({**SEND, "id": str(n)} for n in range(10_000)))
        await quiet()
        given = answers(kit.frames)
        assert sorted(int(frame["re"]) for frame in given) == list(range(10_000))
        started = [frame for frame in given if frame["type"] == "accepted"]
        refused = {frame["error"]["code"] for frame in given if frame["type"] == "rejected"}
        assert len(started) >= 64
        assert refused <= {"limit_exceeded"}
        assert sum(frame["type"] == "stream.ended" for frame in kit.frames) == len(started)

    async def test_a_client_that_reads_nothing_waits_with_its_commands(self, kit: SessionKit) -> None:
        await kit.frame(type="session.ready")
        kit.peer.reading = False
        sending = asyncio.create_task(
            kit.send(*({"type": "ping", "id": str(n).rjust(200, "0")} for n in range(10_000)))
        )
        await asyncio.sleep(60)
        assert not sending.done()
        assert kit.peer.buffered() < 1 << 20
        kit.peer.reading = True
        await sending
        await kit.frame(re="9999".rjust(200, "0"))
        assert len(answers(kit.frames)) == 10_000

    async def test_a_full_mailbox_makes_the_sender_wait(self, script: Script) -> None:
        kit = SessionKit(command(script), settings=SessionSettings(version="t", mailbox=3))
        sending = asyncio.create_task(kit.send(*({"type": "ping", "id": str(n)} for n in range(10))))
        await asyncio.sleep(60)
        assert not sending.done()
        async with kit:
            await sending
            await kit.frame(re="9")

    async def test_a_session_may_be_bound_to_few_streams(self, script: Script) -> None:
        script.work = forever
        async with SessionKit(command(script), settings=SessionSettings(version="t", streams=2)) as kit:
            streams = [await kit.start(SEND) for _ in range(2)]
            error = await rejected(kit, {**SEND, "id": "c"}, re="c")
            assert (error["code"], error["retryable"]) == ("limit_exceeded", True)
            assert (error["limit"], error["remaining"]) == (2, 0)
            await kit.send({"type": "stream.cancel", "stream": streams[0]})
            await kit.ended(streams[0])
            await kit.start({**SEND, "id": "third"})

    async def test_resuming_what_has_ended_takes_no_place(self, script: Script) -> None:
        async with SessionKit(command(script), settings=SessionSettings(version="t", streams=1)) as kit:
            stream = await kit.start(SEND)
            await kit.ended(stream)
            await kit.send({"type": "stream.resume", "id": "r", "stream": stream, "after": 3})
            assert (await kit.frame(re="r"))["recovered"] is True
            await kit.start({**SEND, "id": "next"})

    async def test_a_principal_may_be_bound_to_few_streams_on_all_its_sessions(self, script: Script) -> None:
        script.work = forever
        bus = Bus(clock=asyncio.get_running_loop().time)
        supervisor = Supervisor(bus, limits=Limits(principal_streams=1))
        async with SessionKit(command(script), supervisor=supervisor) as kit, kit.device() as other:
            await kit.start(SEND)
            assert (await rejected(other, {**SEND, "id": "c"}, re="c"))["code"] == "limit_exceeded"
            async with kit.device(Principal("ann")) as ann:
                await ann.start(SEND)


class TestWatching:
    """Streams are watched from anywhere, by their owner alone."""

    @pytest.fixture
    async def talk(self, script: Script) -> Dictated:
        script.work = talk = Dictated()
        return talk

    @pytest.fixture
    async def stream(self, kit: SessionKit, talk: Dictated) -> AsyncIterator[str]:
        stream = await kit.start(SEND)
        await talk.begun.wait()
        yield stream
        talk.over.set()

    async def test_a_cut_client_resumes_after_the_last_number_it_saw(
        self, kit: SessionKit, talk: Dictated, stream: str
    ) -> None:
        talk.say("Hel")
        await kit.frame(type="text.delta")
        await kit.hang_up()
        talk.say("lo", " you")
        async with kit.device() as back:
            await back.send({"type": "stream.resume", "id": "r", "stream": stream, "after": 2})
            assert (await back.frame(re="r"))["recovered"] is True
            talk.over.set()
            await back.ended(stream)
            assert [frame["n"] for frame in back.events(stream)] == [3, 4, 5]
            assert kit.text(stream) + back.text(stream) == "Hello you"

    async def test_two_devices_see_the_same(self, kit: SessionKit, talk: Dictated, stream: str) -> None:
        async with kit.device() as other:
            await other.send({"type": "stream.resume", "id": "r", "stream": stream})
            await other.frame(type="stream.started")
            talk.say("a", "b")
            talk.over.set()
            assert await kit.ended(stream) == await other.ended(stream)
            assert kit.events(stream) == other.events(stream)

    async def test_a_detached_stream_runs_on(
        self, kit: SessionKit, talk: Dictated, stream: str, script: Script
    ) -> None:
        await kit.frame(type="stream.started")
        await kit.send({"type": "stream.detach", "id": "d", "stream": stream})
        assert (await kit.frame(re="d"))["type"] == "accepted"
        assert (await kit.frame(type="stream.detached"))["last"] == 1
        talk.say("unheard")
        await kit.send({"type": "ping", "id": "p"})
        await kit.frame(re="p")
        assert [frame["n"] for frame in kit.events(stream)] == [1]
        await kit.send({"type": "stream.detach", "id": "d2", "stream": stream})
        assert (await kit.frame(re="d2"))["type"] == "accepted"
        await kit.send({"type": "stream.resume", "stream": stream, "after": 1})
        talk.over.set()
        await kit.ended(stream)
        assert kit.text(stream) == "unheard"

    @pytest.mark.parametrize("verb", ["resume", "cancel", "detach"])
    async def test_foreign_streams_look_unknown(self, kit: SessionKit, stream: str, verb: str) -> None:
        async with kit.device(Principal("eve")) as eve:
            foreign = await rejected(eve, {"type": f"stream.{verb}", "stream": stream})
            unknown = await rejected(eve, {"type": f"stream.{verb}", "stream": "s_none"})
            assert str(foreign).replace(stream, "s_none") == str(unknown)
        assert kit.supervisor.running == 1

    async def test_a_number_beyond_the_end_is_named(self, kit: SessionKit, talk: Dictated, stream: str) -> None:
        error = await rejected(kit, {"type": "stream.resume", "stream": stream, "after": 99})
        assert (error["code"], error["field"]) == ("invalid_request", "after")
        assert "has number 1, so none comes after 99" in error["message"]

    async def test_an_ended_stream_is_replayed(self, kit: SessionKit, talk: Dictated, stream: str) -> None:
        talk.say("a")
        talk.over.set()
        await kit.ended(stream)
        async with kit.device() as late:
            await late.send({"type": "stream.resume", "stream": stream})
            await late.ended(stream)
            assert late.events(stream) == kit.events(stream)

    async def test_an_expired_stream_without_a_row_is_not_found(
        self, kit: SessionKit, talk: Dictated, stream: str
    ) -> None:
        talk.over.set()
        await kit.ended(stream)
        await asyncio.sleep(301)
        assert (await rejected(kit, {"type": "stream.resume", "stream": stream}))["code"] == "stream_not_found"

    async def test_what_fell_off_the_tail_is_told_as_a_whole(self, script: Script) -> None:
        script.work = talk = Dictated()
        bus = Bus(clock=asyncio.get_running_loop().time, stream_bytes=5000)
        async with SessionKit(command(script), supervisor=Supervisor(bus)) as kit:
            stream = await kit.start(SEND)
            await talk.begun.wait()
            await kit.hang_up()
            talk.say(*(f"word{n} " for n in range(200)))
            async with kit.device() as back:
                await back.send({"type": "stream.resume", "id": "r", "stream": stream, "after": 1})
                assert (await back.frame(re="r"))["recovered"] is False
                snapshot = await back.frame(type="stream.snapshot")
                talk.say("end")
                talk.over.set()
                await back.ended(stream)
                assert [frame["n"] for frame in back.events(stream)] == [201, 202, 203]
                assert snapshot["text"] == "".join(f"word{n} " for n in range(200))
                assert back.text(stream) == snapshot["text"] + "end"

    async def test_join_and_lanes_are_configured_for_the_session(self, kit: SessionKit, script: Script) -> None:
        async def work(stream: Writer) -> None:
            for piece in "abc":
                stream.text(piece)
            async with stream.lane("speech") as speech:
                speech.audio(b"pcm")

        script.work = work
        await kit.send({"type": "session.configure", "id": "c", "join": True, "lanes": []})
        assert (await kit.frame(re="c"))["type"] == "accepted"
        stream = await kit.start(SEND)
        await kit.ended(stream)
        assert [(frame.get("prev"), frame["n"]) for frame in kit.events(stream)] == [(None, 1), (1, 4), (4, 8)]
        assert not kit.peer.binaries
        await kit.send({"type": "session.configure", "join": False, "lanes": None})
        await kit.start({**SEND, "id": "all"})
        await kit.frame(type="lane.ended")
        assert len(kit.peer.binaries) == 1


async def test_a_session_that_leaves_disturbs_no_other(kit: SessionKit, script: Script) -> None:
    script.work = talk = Dictated()
    async with kit.device() as other:
        stream = await other.start(SEND)
        await talk.begun.wait()
        await kit.hang_up()
        talk.say("on")
        talk.over.set()
        await other.ended(stream)
        assert other.text(stream) == "on"


class Large:
    """Stands for what a start worked on."""


async def test_nothing_of_a_command_that_is_cut_waits_for_the_collector(kit: SessionKit, script: Script) -> None:
    held: list[weakref.ref[Large]] = []
    preparing = asyncio.Event()

    async def prepared() -> None:
        large = Large()
        held.append(weakref.ref(large))
        preparing.set()
        await asyncio.Event().wait()

    script.prepared = prepared
    gc.disable()
    try:
        await kit.send(SEND, SEND, SEND)
        await preparing.wait()
        starter = next(task for task in asyncio.all_tasks() if task.get_name() == f"starts of {kit.session.id}")
        await kit.hang_up()
        await asyncio.wait((starter,))
        del starter
        assert [each() for each in held] == [None]
    finally:
        gc.enable()


async def test_a_session_that_is_over_keeps_no_command_that_waited(kit: SessionKit, script: Script) -> None:
    preparing = asyncio.Event()

    async def prepared() -> None:
        preparing.set()
        await asyncio.Event().wait()

    script.prepared = prepared
    await kit.send(SEND, SEND, SEND)
    await preparing.wait()
    starter = next(task for task in asyncio.all_tasks() if task.get_name() == f"starts of {kit.session.id}")
    await kit.hang_up()
    await asyncio.wait((starter,))
    assert kit.session.waiting == 0
    assert script.prepares == 1


async def test_large_commands_that_wait_are_few_and_all_are_started(script: Script) -> None:
    going_on, preparing = asyncio.Event(), asyncio.Event()

    async def prepared() -> None:
        preparing.set()
        await going_on.wait()

    script.prepared = prepared
    large = json.dumps({**SEND, "input": "x" * 1_500})
    async with SessionKit(command(script), settings=SessionSettings(version="test", max_frame=2_000)) as kit:
        await kit.send(large)
        await preparing.wait()
        sent = 1
        while kit.session.try_post(TextFrame(large)):
            sent += 1
            await asyncio.sleep(0)
        assert kit.session.waiting == 4  # two that wait to be taken up, one that waits to be started, one that is
        assert sent == 5  # the session has one in its hands
        going_on.set()
        for _ in range(sent):
            await kit.frame(type="stream.ended")
    assert script.runs == sent
