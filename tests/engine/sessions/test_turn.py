"""Every way in which a turn can end: exactly one terminal event, last, with its reason."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable

import pytest

from engine.api.commands import Closing, Command, Request, Serve
from engine.api.errors import (
    ContextTooLong,
    EngineError,
    Internal,
    LogUnavailable,
    ModelUnavailable,
    ProviderTimeout,
    ProviderUnavailable,
)
from engine.api.events import Cost, MessageSaved, Usage
from engine.api.identity import LOCAL
from engine.api.streams import Ending, Writer, parse_on_disconnect
from engine.bus.stream import Stream
from engine.testing.session import Json, SessionKit
from tests.engine.sessions.commands import Dictated, Script, Send, forever

Quiet = Callable[[], Awaitable[None]]
SEND = {"type": "chat.send", "input": "hello"}


async def run(kit: SessionKit) -> tuple[Json, list[Json]]:
    """One turn to its end: the terminal event, and all numbered frames."""
    stream = await kit.start(SEND)
    ended = await kit.ended(stream)
    events = kit.events(stream)
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1] is ended
    assert kit.supervisor.running == 0
    return ended, events


async def test_a_turn_that_says_its_text_is_completed(kit: SessionKit, script: Script) -> None:
    ended, events = await run(kit)
    assert [event["type"] for event in events] == ["stream.started", "text.delta", "stream.ended"]
    assert events[0]["model"] == "test-model"
    assert (ended["status"], ended["reason"], "error" in ended) == ("completed", "done", False)
    assert script.released == len(script.endings) == 1


async def test_usage_and_finish_reason_are_what_was_metered_however_the_turn_ends(
    kit: SessionKit, script: Script
) -> None:
    async def work(stream: Writer) -> None:
        stream.meter(model="vendor/model", usage=Usage(input_tokens=3, output_tokens=2), cost=Cost(amount="0.1"))
        stream.finish("length")
        stream.extra({"fingerprint": "f"})
        raise ProviderUnavailable("cut off")

    script.work = work
    ended, _ = await run(kit)
    assert (ended["model"], ended["finish_reason"], ended["extra"]) == ("vendor/model", "length", {"fingerprint": "f"})
    assert ended["usage"]["input_tokens"] == 3
    assert ended["cost"]["amount"] == "0.1"


@pytest.mark.parametrize("said", ["", "Hel"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ProviderUnavailable("cut off"), "provider_error"),
        (ProviderTimeout("silence"), "provider_error"),
        (ContextTooLong("too long"), "provider_error"),
        (ModelUnavailable("no key"), "internal"),
        (Internal("broken"), "internal"),
        (LogUnavailable("away"), "log_unavailable"),
    ],
)
async def test_an_error_of_ours_is_told_with_its_code(
    kit: SessionKit, script: Script, error: EngineError, reason: str, said: str
) -> None:
    async def work(stream: Writer) -> None:
        if said:
            stream.text(said)
        raise error

    script.work = work
    ended, events = await run(kit)
    assert (ended["status"], ended["reason"]) == ("failed", reason)
    assert (ended["error"]["code"], ended["error"]["message"]) == (error.code, error.message)
    assert ended["error"]["retryable"] is error.retryable
    assert len(events) == (3 if said else 2)
    assert script.released == len(script.endings) == 1
    assert script.endings[0].said.text == said


async def test_a_bug_is_told_without_its_detail(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        raise RuntimeError("the password is hunter2")

    script.work = work
    ended, _ = await run(kit)
    assert (ended["status"], ended["reason"], ended["error"]["code"]) == ("failed", "internal", "internal")
    assert "hunter2" not in str(kit.frames)


class Large:
    """Stands for what a turn worked on."""


@pytest.mark.parametrize("kind", [ProviderUnavailable, RuntimeError])
async def test_nothing_of_a_failed_turn_waits_for_the_collector(
    kit: SessionKit, script: Script, kind: type[Exception]
) -> None:
    held: list[weakref.ref[Large]] = []

    async def work(stream: Writer) -> None:
        large = Large()
        held.append(weakref.ref(large))
        failed: Exception | None = None
        try:
            raise kind("away")
        except kind as error:
            failed = error
        raise failed

    script.work = work
    gc.disable()
    try:
        await run(kit)
        assert held[0]() is None
    finally:
        gc.enable()


async def test_work_that_is_stopped_from_within_has_failed(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        raise asyncio.CancelledError

    script.work = work
    ended, _ = await run(kit)
    assert (ended["status"], ended["reason"]) == ("failed", "internal")


async def test_work_that_is_no_coroutine_fails_as_any_bug_does() -> None:
    def serve(stream: Writer) -> Awaitable[None]:
        raise RuntimeError("no coroutine")

    async def prepare(request: Request[Send]) -> Serve:
        return Serve(serve=serve)

    async with SessionKit(Command(name="chat.send", body=Send, prepare=prepare)) as kit:
        ended, _ = await run(kit)
        assert (ended["status"], ended["reason"]) == ("failed", "internal")


async def test_what_cannot_be_encoded_fails_the_turn_that_said_it_alone(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        stream.text("Hel")
        stream.text("\ud83d")

    script.work = work
    ended, _ = await run(kit)
    assert (ended["status"], ended["reason"]) == ("failed", "internal")
    script.work = None
    assert (await run(kit))[0]["status"] == "completed"


async def test_an_end_that_cannot_be_encoded_is_told_without_what_has_no_json(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        stream.meter(usage=Usage(output_tokens=7))
        stream.extra({"handle": object()})

    script.work = work
    ended, _ = await run(kit)
    assert (ended["status"], ended["usage"]["output_tokens"], "extra" in ended) == ("completed", 7, False)


async def test_cancel_before_the_first_step_ends_the_stream_and_never_runs_the_work(
    kit: SessionKit, script: Script
) -> None:
    stream = await kit.supervisor.start(LOCAL, "chat.send", {})
    assert isinstance(stream, Stream)
    await kit.supervisor.cancel(LOCAL, stream.id)
    await kit.send({"type": "stream.resume", "stream": stream.id})
    ended = await kit.ended(stream.id)
    assert (ended["status"], ended["reason"], ended["n"]) == ("cancelled", "client_cancel", 2)
    assert (script.runs, script.released) == (0, 1)


async def test_cancel_in_the_middle_keeps_what_was_said(kit: SessionKit, script: Script) -> None:
    script.work = forever
    stream = await kit.start(SEND)
    await kit.frame(type="text.delta")
    await kit.send({"type": "stream.cancel", "id": "c", "stream": stream})
    ended = await kit.ended(stream)
    assert (ended["status"], ended["reason"], "error" in ended) == ("cancelled", "client_cancel", False)
    assert kit.text(stream) == "Hel"
    assert script.endings[0].said.text == "Hel"
    assert script.released == 1


async def test_a_second_cancel_changes_nothing(kit: SessionKit, script: Script) -> None:
    script.work = forever
    stream = await kit.start(SEND)
    cancel = {"type": "stream.cancel", "stream": stream}
    await kit.send({**cancel, "id": "c1"}, {**cancel, "id": "c2"})
    await kit.ended(stream)
    await kit.send({**cancel, "id": "c3"})
    for id in ("c1", "c2", "c3"):
        assert (await kit.frame(re=id))["type"] == "accepted"
    assert sum(frame["type"] == "stream.ended" for frame in kit.frames) == 1


async def test_work_that_ignores_its_cancel_is_left_behind_after_five_seconds(
    kit: SessionKit, script: Script, quiet: Quiet
) -> None:
    freed = asyncio.Event()
    errors: list[BaseException] = []

    async def work(stream: Writer) -> None:
        while not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue
        try:
            stream.text("too late")
        except EngineError as error:
            errors.append(error)
            raise

    script.work = work
    stream = await kit.start(SEND)
    loop = asyncio.get_running_loop()
    await kit.send({"type": "stream.cancel", "stream": stream})
    before = loop.time()
    ended = await kit.ended(stream)
    assert loop.time() - before == pytest.approx(5.0, abs=0.1)
    assert (ended["status"], ended["reason"]) == ("cancelled", "client_cancel")
    freed.set()
    await quiet()
    assert [type(error).__name__ for error in errors] == ["NotOwner"]
    assert kit.events(stream)[-1] is ended


@pytest.mark.parametrize("raised", [None, ProviderUnavailable("closed"), RuntimeError("closed")])
async def test_work_that_comes_out_otherwise_when_cancelled_is_cancelled_all_the_same(
    kit: SessionKit, script: Script, raised: Exception | None
) -> None:
    async def work(stream: Writer) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if raised is not None:
                raise raised from None

    script.work = work
    stream = await kit.start(SEND)
    await script.running.wait()
    await kit.send({"type": "stream.cancel", "stream": stream})
    ended = await kit.ended(stream)
    assert (ended["status"], ended["reason"], "error" in ended) == ("cancelled", "client_cancel", False)


async def test_a_cancel_that_comes_when_the_work_is_done_is_too_late(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        turn = kit.supervisor.turn(LOCAL, stream.id)
        assert turn is not None
        asyncio.get_running_loop().call_soon(turn.cancel, "client_cancel")

    script.work = work
    ended, _ = await run(kit)
    assert ended["status"] == "completed"


async def test_a_closing_that_raises_loses_its_rows_and_nothing_else(kit: SessionKit, script: Script) -> None:
    def closing(ending: Ending) -> Closing:
        raise RuntimeError("the password is hunter2")

    script.closing = closing
    ended, events = await run(kit)
    assert (ended["status"], len(events)) == ("completed", 3)
    assert script.released == 1


async def test_a_closing_event_that_cannot_be_published_is_left_out(kit: SessionKit, script: Script) -> None:
    script.closing = lambda _: Closing(event=MessageSaved(conversation="\ud83d", message="m"))
    ended, events = await run(kit)
    assert (ended["status"], len(events)) == ("completed", 3)


async def test_an_event_that_the_closing_brings_comes_before_the_end(kit: SessionKit, script: Script) -> None:
    script.closing = lambda _: Closing(event=MessageSaved(conversation="c", message="m"))
    _, events = await run(kit)
    assert [event["type"] for event in events][-2:] == ["message.saved", "stream.ended"]


async def test_a_released_that_raises_does_not_keep_the_end_back() -> None:
    def released() -> None:
        raise RuntimeError("broken")

    async def serve(stream: Writer) -> None:
        stream.text("hello")

    async def prepare(request: Request[Send]) -> Serve:
        return Serve(serve=serve, released=released)

    async with SessionKit(Command(name="chat.send", body=Send, prepare=prepare)) as kit:
        assert (await run(kit))[0]["status"] == "completed"


async def test_lanes_that_are_open_at_the_end_are_ended_first(kit: SessionKit, script: Script) -> None:
    async def work(stream: Writer) -> None:
        async with stream.lane("speech") as speech:
            speech.audio(b"pcm")
            await asyncio.Event().wait()

    script.work = work
    stream = await kit.start(SEND)
    await kit.frame(type="lane.started")
    await kit.send({"type": "stream.cancel", "stream": stream})
    await kit.ended(stream)
    assert [event["type"] for event in kit.events(stream)][-2:] == ["lane.ended", "stream.ended"]
    assert (await kit.frame(type="lane.ended"))["status"] == "cancelled"


async def test_a_lane_that_fails_says_so_and_its_stream_goes_on_if_the_work_does(
    kit: SessionKit, script: Script
) -> None:
    async def work(stream: Writer) -> None:
        for error in (ProviderUnavailable("no voice"), RuntimeError("hunter2")):
            try:
                async with stream.lane("speech"):
                    raise error
            except (ProviderUnavailable, RuntimeError):
                stream.text("no voice")

    script.work = work
    ended, events = await run(kit)
    lanes = [event for event in events if event["type"] == "lane.ended"]
    assert [lane["error"]["code"] for lane in lanes] == ["provider_unavailable", "internal"]
    assert ended["status"] == "completed"
    assert "hunter2" not in str(events)


class TestWhenNobodyWatches:
    """`on_disconnect` counts from the last watcher."""

    async def test_a_turn_goes_on_by_default(self, kit: SessionKit, script: Script, quiet: Quiet) -> None:
        script.work = talk = Dictated()
        stream = await kit.start(SEND)
        await kit.hang_up()
        await asyncio.sleep(3600)
        talk.say("after")
        talk.over.set()
        async with kit.device() as other:
            await other.send({"type": "stream.resume", "stream": stream})
            assert (await other.ended(stream))["status"] == "completed"
            assert other.text(stream) == "after"

    async def test_cancel_stops_it_when_the_last_watcher_leaves(
        self, kit: SessionKit, script: Script, quiet: Quiet
    ) -> None:
        script.work = forever
        stream = await kit.start({**SEND, "on_disconnect": "cancel"})
        async with kit.device() as other:
            await other.send({"type": "stream.resume", "stream": stream})
            await other.frame(type="text.delta")
            await kit.hang_up()
            await quiet()
            assert kit.supervisor.running == 1
        await quiet()
        assert kit.supervisor.running == 0
        assert [ending.reason for ending in script.endings] == ["disconnect"]
        assert script.released == 1

    async def test_cancel_after_counts_from_the_last_watcher(self, kit: SessionKit, script: Script) -> None:
        script.work = forever
        stream = await kit.start({**SEND, "on_disconnect": {"cancel_after": 10}})
        await kit.hang_up()
        await asyncio.sleep(9)
        async with kit.device() as other:
            await other.send({"type": "stream.resume", "stream": stream})
            await other.frame(type="text.delta")
            await asyncio.sleep(60)
        await asyncio.sleep(9.9)
        assert kit.supervisor.running == 1
        await asyncio.sleep(0.2)
        assert kit.supervisor.running == 0
        assert script.endings[0].reason == "disconnect"

    async def test_resuming_on_the_same_session_is_no_leaving(
        self, kit: SessionKit, script: Script, quiet: Quiet
    ) -> None:
        script.work = talk = Dictated()
        stream = await kit.start({**SEND, "on_disconnect": "cancel"})
        await talk.begun.wait()
        await kit.send({"type": "stream.resume", "id": "again", "stream": stream, "after": 1})
        await kit.frame(re="again")
        talk.say("on")
        talk.over.set()
        assert (await kit.ended(stream))["status"] == "completed"

    @pytest.mark.parametrize(("policy", "within"), [("cancel", 1.0), ({"cancel_after": 30}, 30.0)])
    async def test_a_turn_whose_caller_left_before_it_watched_stops_too(
        self, kit: SessionKit, script: Script, policy: object, within: float
    ) -> None:
        script.work = forever
        await kit.supervisor.start(LOCAL, "chat.send", {}, on_disconnect=parse_on_disconnect(policy))
        await asyncio.sleep(within - 0.1)
        assert kit.supervisor.running == 1
        await asyncio.sleep(0.2)
        assert kit.supervisor.running == 0


class TestShutdown:
    """A drain lets turns finish, then stops them."""

    async def test_turns_that_finish_in_time_are_completed(self, kit: SessionKit, script: Script) -> None:
        async def work(stream: Writer) -> None:
            await asyncio.sleep(5)
            stream.text("done")

        script.work = work
        stream = await kit.start(SEND)
        await kit.supervisor.drain(10)
        assert asyncio.get_running_loop().time() < 6
        assert (await kit.ended(stream))["status"] == "completed"

    async def test_turns_that_do_not_are_cancelled_for_the_shutdown(self, kit: SessionKit, script: Script) -> None:
        script.work = forever
        streams = [await kit.start(SEND) for _ in range(3)]
        await kit.supervisor.drain(10)
        assert 10 <= asyncio.get_running_loop().time() < 11
        for stream in streams:
            ended = await kit.ended(stream)
            assert (ended["status"], ended["reason"]) == ("cancelled", "shutdown")
        assert script.released == 3

    async def test_new_turns_are_refused_and_asked_to_come_back(self, kit: SessionKit) -> None:
        await kit.supervisor.drain(0)
        await kit.send({**SEND, "id": "c"})
        error = (await kit.frame(type="rejected", re="c"))["error"]
        assert (error["code"], error["retryable"], error["retry_after"]) == ("shutting_down", True, 1.0)

    async def test_a_start_that_is_still_prepared_is_refused_too(
        self, kit: SessionKit, script: Script, quiet: Quiet
    ) -> None:
        ready = asyncio.Event()

        async def prepared() -> None:
            await ready.wait()

        script.prepared = prepared
        await kit.send({**SEND, "id": "c"})
        await quiet()
        await kit.supervisor.drain(0)
        ready.set()
        assert (await kit.frame(type="rejected", re="c"))["error"]["code"] == "shutting_down"
        assert (script.runs, script.released) == (0, 1)


async def test_a_listener_that_raises_disturbs_no_turn(kit: SessionKit) -> None:
    class Listener:
        def __init__(self) -> None:
            self.facts: list[object] = []

        def handle(self, fact: object) -> None:
            self.facts.append(fact)
            raise RuntimeError("broken")

    listener = Listener()
    kit.supervisor.listeners = [("broken", listener)]  # type: ignore[list-item]
    assert (await run(kit))[0]["status"] == "completed"
    assert len(listener.facts) == 1


async def test_a_prepare_that_raises_is_rejected_and_no_stream_exists(kit: SessionKit, script: Script) -> None:
    async def refused() -> None:
        raise ContextTooLong("the input does not fit", field="input")

    script.prepared = refused
    await kit.send({**SEND, "id": "c"})
    rejected = await kit.frame(type="rejected", re="c")
    assert (rejected["error"]["code"], rejected["error"]["field"]) == ("context_too_long", "input")
    assert kit.supervisor.bus.held == (0, 0, 0)
