"""A turn is written down at its accept and at its end, and says honestly whether that was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from engine.api.commands import Closing
from engine.api.data import Write
from engine.api.errors import InvalidRequest, LimitExceeded
from engine.api.events import MessageSaved
from engine.api.identity import LOCAL, Principal
from engine.api.streams import Writer
from engine.bus.bus import Bus
from engine.sessions.ledger import LEASE, RENEWALS, Ledger
from engine.sessions.supervisor import TICK, Limits, Supervisor
from engine.sessions.table import CommandTable
from engine.testing.session import SessionKit
from tests.engine.sessions.commands import Dictated, Script, command, echo, forever
from tests.engine.sessions.memory_database import MemoryDatabase

Quiet = Callable[[], Awaitable[None]]
notes = Table("notes", MetaData(), Column("id", Integer, primary_key=True))
SEND = {"type": "chat.send", "input": "hello"}
KEYED = {**SEND, "key": "k1"}


@pytest.fixture
def rows() -> Iterator[MemoryDatabase]:
    database = MemoryDatabase(notes.metadata)
    yield database
    database.close()


@pytest.fixture
async def kit(script: Script, rows: MemoryDatabase) -> AsyncIterator[SessionKit]:
    supervisor = Supervisor(
        Bus(clock=asyncio.get_running_loop().time), ledger=Ledger(rows, "this process", embedded=True)
    )
    async with SessionKit(command(script), echo(), supervisor=supervisor) as kit:
        await supervisor.open()
        yield kit
        await supervisor.close()


async def test_the_end_says_that_it_was_saved_and_the_row_agrees(kit: SessionKit, rows: MemoryDatabase) -> None:
    stream = await kit.start(SEND)
    assert (await kit.ended(stream))["saved"] is True
    (row,) = rows.rows()
    assert (row["stream"], row["status"], row["n"]) == (stream, "completed", 3)
    assert (row["said"]["text"], row["ended"]["saved"]) == ("hello", True)


async def test_what_is_saved_is_told_after_the_commit_and_before_the_end(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = talk = Dictated()
    script.closing = lambda _: Closing(event=MessageSaved(conversation="c", message="m"))
    stream = await kit.start(SEND)
    await quiet()
    rows.held = True
    talk.over.set()
    await quiet()
    assert [event["type"] for event in kit.events(stream)] == ["stream.started"]
    assert script.released == 0
    rows.release()
    await kit.ended(stream)
    assert [event["type"] for event in kit.events(stream)][1:] == ["message.saved", "stream.ended"]
    assert script.released == 1
    assert rows.rows()[0]["n"] == 3


async def test_the_end_waits_five_seconds_for_its_commit_and_then_says_so(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.closing = lambda _: Closing(event=MessageSaved(conversation="c", message="m"))
    rows.held = True
    stream = await kit.start(SEND)
    ended = await kit.ended(stream)
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.01)
    assert (ended["status"], ended["saved"]) == ("completed", False)
    assert "message.saved" not in [event["type"] for event in kit.events(stream)]
    assert script.released == 1
    rows.release()
    rows.release()
    await quiet()
    assert rows.rows()[0]["status"] == "completed"
    assert kit.events(stream)[-1] is ended
    assert script.released == 1


async def test_a_commit_that_fails_is_tried_again_until_the_database_is_back(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = talk = Dictated()
    stream = await kit.start(SEND)
    await quiet()
    talk.say("hello")
    rows.away = True
    talk.over.set()
    assert (await kit.ended(stream))["saved"] is False
    await asyncio.sleep(30)
    assert rows.rows()[0]["status"] == "running"
    rows.away = False
    await asyncio.sleep(2)
    (row,) = rows.rows()
    assert (row["status"], row["said"]["text"]) == ("completed", "hello")


async def test_an_accept_that_failed_is_written_with_the_end(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = talk = Dictated()
    rows.away = True
    stream = await kit.start(SEND)
    await quiet()
    assert not rows.rows()
    rows.away = False
    talk.say("hello")
    talk.over.set()
    assert (await kit.ended(stream))["saved"] is True
    (row,) = rows.rows()
    assert (row["status"], row["said"]["text"]) == ("completed", "hello")


async def test_a_turn_whose_accept_was_refused_is_not_told_as_saved(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = talk = Dictated()
    rows.refusing = True
    stream = await kit.start(SEND)
    await quiet()
    rows.refusing = False
    talk.over.set()
    assert (await kit.ended(stream))["saved"] is False
    await quiet()
    (row,) = rows.rows()
    assert (row["status"], row["ended"]["saved"]) == ("completed", False)


async def test_a_command_whose_rows_are_refused_costs_the_turn_no_row_of_its_own(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    twice = Write(notes, "insert", {"id": 1})
    script.closing = lambda _: Closing(rows=[twice, twice], event=MessageSaved(conversation="c", message="m"))
    stream = await kit.start(SEND)
    ended = await kit.ended(stream)
    assert (ended["saved"], ended["n"]) == (False, 4)
    assert kit.events(stream)[2] | {"stage": "not_saved", "detail": "row_conflict"} == kit.events(stream)[2]
    await quiet()
    (row,) = rows.rows()
    assert (row["status"], row["n"], row["said"]["text"]) == ("completed", 4, "hello")
    assert "saved" not in row["said"] or row["said"]["saved"] is None


async def test_starts_that_wait_for_the_database_count_like_turns_that_run(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    kit.supervisor.limits = Limits(principal_streams=3)
    script.work = forever
    rows.held = True
    starts = [
        asyncio.create_task(kit.supervisor.start(LOCAL, "chat.send", {"input": "hello"}, key=f"k{at}"))
        for at in range(20)
    ]
    await quiet()
    refused = [start.exception() for start in starts if start.done()]
    assert [type(error) for error in refused] == [LimitExceeded] * 17
    rows.release()
    await quiet()
    assert kit.supervisor.running == 3
    with pytest.raises(LimitExceeded):
        await kit.supervisor.start(LOCAL, "chat.send", {"input": "hello"}, key="late")
    kit.supervisor.hurry()


async def test_a_start_that_was_refused_no_longer_counts(kit: SessionKit, script: Script, quiet: Quiet) -> None:
    kit.supervisor.limits = Limits(principal_streams=1)

    async def refuse() -> None:
        raise InvalidRequest("no")

    script.prepared = refuse
    for _ in range(3):
        with pytest.raises(InvalidRequest):
            await kit.supervisor.start(LOCAL, "chat.send", {"input": "hello"})
    script.prepared = None
    await kit.ended(await kit.start(SEND))


async def test_what_is_said_is_kept_once_a_second(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = talk = Dictated()
    await kit.start(SEND)
    await talk.begun.wait()
    talk.say("Hel")
    await asyncio.sleep(1.1)
    (row,) = rows.rows()
    assert (row["status"], row["n"], row["said"]["text"]) == ("running", 2, "Hel")
    before = row["lease_until"]
    await asyncio.sleep(LEASE.total_seconds() / RENEWALS + TICK)
    (row,) = rows.rows()
    assert (row["n"], row["lease_until"] > before) == (2, True)
    talk.over.set()


async def test_a_turn_that_keeps_nothing_has_its_row_without_words(
    kit: SessionKit, script: Script, rows: MemoryDatabase
) -> None:
    async def work(stream: Writer) -> None:
        stream.text("secret")
        await asyncio.sleep(3)

    script.work, script.keep = work, False
    await kit.ended(await kit.start(SEND))
    assert all("secret" not in str(writes) for writes in rows.submitted)
    assert rows.rows()[0]["status"] == "completed"


class TestKeys:
    """A key makes a retry safe."""

    async def test_the_same_key_and_body_answer_the_same_stream(self, kit: SessionKit, script: Script) -> None:
        script.work = talk = Dictated()
        stream = await kit.start(KEYED)
        assert await kit.start({**KEYED, "id": "again"}) == stream
        async with kit.device() as other:
            assert await other.start(KEYED) == stream
        talk.over.set()
        await kit.ended(stream)
        assert await kit.start({**KEYED, "id": "after the end"}) == stream
        assert (script.runs, script.prepares) == (1, 1)

    async def test_accepted_waits_for_the_commit(self, kit: SessionKit, script: Script, rows: MemoryDatabase) -> None:
        rows.held = True
        await kit.send({**KEYED, "id": "c"})
        await asyncio.sleep(3)
        assert not [frame for frame in kit.frames if frame.get("re") == "c"]
        assert script.runs == 0
        rows.release()
        await kit.ended((await kit.frame(re="c"))["stream"])
        assert script.runs == 1

    async def test_another_body_under_the_key_is_a_conflict(self, kit: SessionKit) -> None:
        stream = await kit.start(KEYED)
        for _ in range(2):
            await kit.send({**KEYED, "id": "c", "input": "other"})
            error = (await kit.frame(type="rejected", re="c"))["error"]
            assert (error["code"], error["field"]) == ("idempotency_conflict", "key")
            await kit.frame(stream=stream)

    async def test_keys_belong_to_their_principal(self, kit: SessionKit, script: Script) -> None:
        async with kit.device(Principal("ann")) as ann:
            assert await kit.start(KEYED) != await ann.start({**KEYED, "input": "other"})

    async def test_a_second_start_waits_while_the_first_is_prepared(
        self, kit: SessionKit, script: Script, quiet: Quiet
    ) -> None:
        ready = asyncio.Event()

        async def prepared() -> None:
            await ready.wait()

        script.prepared = prepared
        async with kit.device() as other:
            await kit.send({**KEYED, "id": "c"})
            await quiet()
            await other.send({**KEYED, "id": "c"})
            await quiet()
            ready.set()
            assert (await kit.frame(re="c"))["stream"] == (await other.frame(re="c"))["stream"]
        assert script.prepares == 1

    async def test_a_key_whose_first_start_was_rejected_is_free_again(
        self, kit: SessionKit, script: Script, quiet: Quiet
    ) -> None:
        ready = asyncio.Event()

        async def fails_once() -> None:
            await ready.wait()
            script.prepared = None
            raise RuntimeError("not this time")

        script.prepared = fails_once
        async with kit.device() as other:
            await kit.send({**KEYED, "id": "c"})
            await quiet()
            await other.send({**KEYED, "id": "c"})
            await quiet()
            ready.set()
            assert (await kit.frame(re="c"))["type"] == "rejected"
            assert (await other.frame(re="c"))["type"] == "accepted"

    async def test_a_start_whose_commit_fails_is_rejected_and_leaves_nothing(
        self, kit: SessionKit, script: Script, rows: MemoryDatabase
    ) -> None:
        await kit.frame(type="session.ready")
        rows.held = True
        await kit.send({**KEYED, "id": "c"})
        await asyncio.sleep(0.5)
        rows.away = True
        rows.release()
        error = (await kit.frame(type="rejected", re="c"))["error"]
        assert (error["code"], error["retryable"]) == ("database_unavailable", True)
        assert (script.runs, script.released, kit.supervisor.running) == (0, 1, 0)
        rows.away = False
        await kit.ended(await kit.start({**KEYED, "id": "again"}))
        assert len(rows.rows()) == 1

    async def test_a_caller_who_leaves_during_the_commit_finds_its_turn_at_the_retry(
        self, kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
    ) -> None:
        rows.held = True
        await kit.send({**KEYED, "id": "c"})
        await quiet()
        await kit.hang_up()
        rows.release()
        await quiet()
        async with kit.device() as back:
            stream = await back.start(KEYED)
            assert (await back.ended(stream))["status"] == "completed"
            assert back.text(stream) == "hello"
        assert script.runs == 1
        assert [row["status"] for row in rows.rows()] == ["completed"]

    async def test_without_a_database_a_key_is_known_while_its_stream_is_held(self, script: Script) -> None:
        async with SessionKit(command(script)) as kit:
            stream = await kit.start(KEYED)
            await kit.ended(stream)
            assert await kit.start({**KEYED, "id": "again"}) == stream
            await asyncio.sleep(301)
            assert await kit.start({**KEYED, "id": "much later"}) != stream


class TestAfterTheLogIsGone:
    """A resume is answered from the turn's row."""

    async def test_an_ended_turn_is_told_as_a_whole_with_its_end(
        self, kit: SessionKit, script: Script, rows: MemoryDatabase
    ) -> None:
        script.closing = lambda _: Closing(event=MessageSaved(conversation="c", message="m"))
        stream = await kit.start(SEND)
        before = await kit.ended(stream)
        await asyncio.sleep(301)
        async with kit.device() as late:
            await late.send({"type": "stream.resume", "id": "r", "stream": stream, "after": 1})
            assert (await late.frame(re="r"))["recovered"] is False
            assert await late.ended(stream) == before
            kinds = [(frame["n"], frame["type"]) for frame in late.events(stream)]
            assert kinds == [(2, "stream.snapshot"), (3, "message.saved"), (4, "stream.ended")]
            assert late.text(stream) == "hello"

    async def test_whoever_saw_the_end_gets_nothing_again(self, kit: SessionKit) -> None:
        stream = await kit.start(SEND)
        await kit.ended(stream)
        await asyncio.sleep(301)
        async with kit.device() as late:
            await late.send({"type": "stream.resume", "id": "r", "stream": stream, "after": 3})
            assert (await late.frame(re="r"))["recovered"] is True
            await late.send({"type": "stream.resume", "id": "r2", "stream": stream, "after": 4})
            assert (await late.frame(re="r2"))["error"]["field"] == "after"
            assert not late.events(stream)

    async def test_a_killed_turn_is_closed_by_the_next_process_with_what_it_had_said(
        self, kit: SessionKit, script: Script, rows: MemoryDatabase
    ) -> None:
        script.work = talk = Dictated()
        stream = await kit.start(KEYED)
        await talk.begun.wait()
        talk.say("Hel")
        await asyncio.sleep(1.1)
        talk.say("lo, which nobody kept")
        next_process = Supervisor(
            Bus(clock=asyncio.get_running_loop().time), ledger=Ledger(rows, "the next process", embedded=True)
        )
        other = Script(forever)
        async with SessionKit(command(other), supervisor=next_process) as back:
            await next_process.open()
            (row,) = rows.rows()
            assert (row["status"], row["ended"]["reason"], row["said"]["text"]) == ("failed", "owner_lost", "Hel")
            assert await back.start(KEYED) == stream
            ended = await back.ended(stream)
            assert (ended["reason"], ended["usage"]["estimated"], back.text(stream)) == ("owner_lost", True, "Hel")
            assert other.runs == 0
            await back.send({"type": "stream.resume", "id": "ahead", "stream": stream, "after": 3})
            assert (await back.frame(re="ahead"))["recovered"] is False
            snapshot = await back.frame(type="stream.snapshot", text="Hel")
            assert snapshot["n"] > 3
            await next_process.close()
        talk.over.set()
        await kit.ended(stream)

    async def test_a_command_that_cannot_recover_its_turns_does_not_stop_the_start(
        self, kit: SessionKit, script: Script, rows: MemoryDatabase
    ) -> None:
        script.work = talk = Dictated()
        await kit.start(KEYED)

        def recover(lost: object) -> Closing:
            raise RuntimeError("broken plugin")

        next_process = Supervisor(
            Bus(clock=asyncio.get_running_loop().time), ledger=Ledger(rows, "the next process", embedded=True)
        )
        async with SessionKit(command(Script(), recover=recover), supervisor=next_process):
            await next_process.open()
            assert rows.rows()[0]["status"] == "failed"
            await next_process.close()
        talk.over.set()


async def test_a_cancel_of_an_ended_turn_is_accepted_and_changes_nothing(kit: SessionKit, rows: MemoryDatabase) -> None:
    stream = await kit.start(SEND)
    await kit.ended(stream)
    await asyncio.sleep(301)
    await kit.send({"type": "stream.cancel", "id": "late", "stream": stream})
    assert (await kit.frame(re="late"))["type"] == "accepted"
    assert rows.rows()[0]["status"] == "completed"


async def quicker(rows: MemoryDatabase, input: str) -> Script:
    """Another process on the same database that starts a turn under the key first."""
    script = Script()
    other = Supervisor(Bus(clock=asyncio.get_running_loop().time), ledger=Ledger(rows, "that process", embedded=False))
    other.table = CommandTable([("test", command(script))])
    await other.start(LOCAL, "chat.send", {"input": input}, key="k1")
    await other.drain(5)
    return script


async def test_a_key_that_another_process_was_quicker_with_answers_its_turn(
    kit: SessionKit, script: Script, rows: MemoryDatabase
) -> None:
    async def overtaken() -> None:
        await quicker(rows, "hello")

    script.prepared = overtaken
    await kit.send({**KEYED, "id": "a"})
    accepted = await kit.frame(type="accepted", re="a")
    (row,) = rows.rows()
    assert (accepted["stream"], script.runs, script.released) == (row["stream"], 0, 1)


async def test_who_waits_for_a_key_that_was_lost_to_another_body_is_refused_too(
    kit: SessionKit, script: Script, rows: MemoryDatabase
) -> None:
    async def overtaken() -> None:
        script.prepared = None
        await quicker(rows, "something else")

    script.prepared = overtaken
    async with kit.device(LOCAL) as other:
        await kit.send({**KEYED, "id": "a"})
        await other.send({**KEYED, "id": "b"})
        for device, id in ((kit, "a"), (other, "b")):
            assert (await device.frame(type="rejected", re=id))["error"]["code"] == "idempotency_conflict"
    assert script.runs == 0


async def test_a_start_that_waits_for_the_database_is_waited_for_when_the_server_stops(
    kit: SessionKit, script: Script, rows: MemoryDatabase, quiet: Quiet
) -> None:
    script.work = forever
    rows.held = True
    start = asyncio.create_task(kit.supervisor.start(LOCAL, "chat.send", {"input": "hello"}, key="k1"))
    await quiet()
    drain = asyncio.create_task(kit.supervisor.drain(1))
    await asyncio.sleep(2)
    assert not drain.done()
    rows.release()
    await drain
    assert start.done()
    (row,) = rows.rows()
    assert (row["status"], row["ended"]["reason"]) == ("cancelled", "shutdown")
