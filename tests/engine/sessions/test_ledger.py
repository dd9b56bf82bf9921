"""The turn's row on real databases: accepted, kept, ended, and closed for a process that died."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from engine.api.commands import Closing, Serve
from engine.api.data import Write
from engine.api.errors import EngineError
from engine.api.events import (
    Cost,
    MessageSaved,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.api.identity import LOCAL, Principal
from engine.api.streams import Writer
from engine.bus.bus import Bus
from engine.bus.stream import Token
from engine.db.databases import Database
from engine.db.errors import RowConflict
from engine.db.schema import budgets, metadata, turn_parts, turns
from engine.sessions.ledger import LEAP, Ledger, body_hash
from engine.sessions.owners import owner_name
from tests.engine.sessions.leases import Hand
from tests.engine.sessions.test_owners import name_of_a_dead_process

DONE = StreamEnded(
    status="completed", reason="done", usage=Usage(input_tokens=3, output_tokens=2), cost=Cost(amount="0.000123")
)
HASH = body_hash("chat.send", {"input": "hello"})


async def work(stream: Writer) -> None:
    """Never run here: the ledger writes down what the stream says."""


def in_transaction(connection: Connection, work: Callable[[Connection], None]) -> None:
    with connection.begin():
        work(connection)


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[Database]:
    await database.run(partial(in_transaction, work=metadata.create_all))
    yield database


@pytest.fixture
def ledger(rows: Database) -> Ledger:
    return Ledger(rows, "this process", embedded=rows.embedded)


@pytest.fixture
def token() -> Token:
    token = Bus(clock=lambda: 0.0).open(LOCAL, "chat.send")
    for event in (TextDelta("Héllo 漢😀"), ToolCall(call_id="c", name="add", arguments="{}")):
        token.stream.publish(token, event)
    return token


async def accept(ledger: Ledger, token: Token, key: str | None = None, **serve: Any) -> None:
    ready = Serve(serve=work, model="m", detail={"conversation": "c1"}, **serve)
    await ledger.accept(token.stream.id, LOCAL, "chat.send", ready, key=key, hashed=HASH)


async def row(rows: Database, token: Token) -> dict[str, Any]:
    async with rows.read() as connection:
        found = await connection.execute(select(turns).where(turns.c.stream == token.stream.id))
        return dict(found.mappings().one())


async def parts(rows: Database) -> list[dict[str, Any]]:
    async with rows.read() as connection:
        return list((await connection.execute(select(turn_parts.c.said).order_by(turn_parts.c.part))).scalars())


async def test_accept_writes_a_running_turn_under_a_lease(ledger: Ledger, rows: Database, token: Token) -> None:
    await accept(ledger, token, "k")
    written = await row(rows, token)
    assert (written["status"], written["owner"], written["n"], written["model"]) == ("running", "this process", 0, "m")
    assert (written["key"], written["body_hash"], written["detail"]) == ("k", HASH, {"conversation": "c1"})
    assert timedelta(seconds=5) < written["lease_until"] - datetime.now(UTC) < timedelta(seconds=16)


async def test_a_checkpoint_keeps_what_was_said_and_renews_the_lease(
    ledger: Ledger, rows: Database, token: Token
) -> None:
    await accept(ledger, token)
    before = (await row(rows, token))["lease_until"]
    done = ledger.checkpoint([(token.stream, True)])
    assert done is not None
    await done
    written = await row(rows, token)
    assert written["n"] == 2
    assert [part["text"] for part in await parts(rows)] == ["Héllo 漢😀"]
    assert written["lease_until"] > before


async def checkpoint(ledger: Ledger, token: Token) -> None:
    done = ledger.checkpoint([(token.stream, True)])
    assert done is not None
    await done


async def test_a_checkpoint_writes_only_the_output_since_the_last_one(
    ledger: Ledger, rows: Database, token: Token
) -> None:
    await accept(ledger, token)
    await checkpoint(ledger, token)
    for event in (ReasoningDelta("Hm."), TextDelta(" more"), TextDelta("other", 1)):
        token.stream.publish(token, event)
    await checkpoint(ledger, token)
    token.stream.publish(token, StatusChanged(stage="loading"))
    await checkpoint(ledger, token)  # an event without output moves the number alone
    first, second = await parts(rows)
    assert (first["text"], len(first["tool_calls"])) == ("Héllo 漢😀", 1)
    assert (second["text"], second["choices"], second["reasoning"]) == (" more", [" more", "other"], "Hm.")
    assert second["tool_calls"] == []
    assert (await row(rows, token))["n"] == 6
    record = await ledger.by_stream(LOCAL, token.stream.id)
    assert record is not None
    assert record.said == token.stream.said


async def test_a_checkpoint_that_failed_is_written_with_the_next_one(
    ledger: Ledger, rows: Database, token: Token
) -> None:
    await accept(ledger, token)
    await rows.run(partial(in_transaction, work=turn_parts.drop))
    with pytest.raises(EngineError):
        await checkpoint(ledger, token)
    await rows.run(partial(in_transaction, work=turn_parts.create))
    token.stream.publish(token, TextDelta("!"))
    await checkpoint(ledger, token)
    assert [part["text"] for part in await parts(rows)] == ["Héllo 漢😀!"]


async def test_the_parts_of_a_turn_are_removed_after_its_end(ledger: Ledger, rows: Database, token: Token) -> None:
    await accept(ledger, token)
    await checkpoint(ledger, token)
    await ledger.end(token.stream, True, DONE, Closing(), 3)
    done = ledger.checkpoint([])
    assert done is not None
    await done
    assert await parts(rows) == []
    assert (await row(rows, token))["said"]["text"] == "Héllo 漢😀"
    assert ledger.checkpoint([], renew=False) is None


async def test_the_end_is_read_back_as_it_was_told(ledger: Ledger, rows: Database, token: Token) -> None:
    await accept(ledger, token, "k")
    saved = MessageSaved(conversation="c1", message="m1")
    await ledger.end(token.stream, True, DONE, Closing(event=saved), 4)
    record = await ledger.by_key(LOCAL, "k")
    assert record is not None
    assert (record.stream, record.status, record.ended, record.last) == (token.stream.id, "completed", DONE, 4)
    assert (record.said.text, record.said.saved) == ("Héllo 漢😀", saved)
    assert record.said.tool_calls == (ToolCall(call_id="c", name="add", arguments="{}"),)
    written = await row(rows, token)
    assert (written["input_tokens"], written["cost"], written["currency"]) == (3, "0.000123", "USD")


async def test_a_turn_that_keeps_nothing_has_no_words_in_its_row(ledger: Ledger, rows: Database, token: Token) -> None:
    await accept(ledger, token, keep=False)
    await ledger.checkpoint([(token.stream, False)])  # type: ignore[misc]
    assert (await row(rows, token))["said"] is None
    assert await parts(rows) == []
    await ledger.end(token.stream, False, DONE, Closing(), 3)
    assert "Héllo" not in str(await row(rows, token))


async def test_a_turn_is_found_by_its_principal_alone(ledger: Ledger, token: Token) -> None:
    await accept(ledger, token, "k")
    for who, found in ((LOCAL, True), (Principal("eve"), False)):
        assert (await ledger.by_key(who, "k") is not None) is found
        assert (await ledger.by_stream(who, token.stream.id) is not None) is found
    assert await ledger.by_key(LOCAL, "K") is None


async def test_a_key_names_one_turn_whoever_writes_it(ledger: Ledger, rows: Database, token: Token) -> None:
    await accept(ledger, token, "k")
    other = Ledger(rows, "another process", embedded=rows.embedded)
    with pytest.raises(RowConflict):
        await accept(other, Bus(clock=lambda: 0.0).open(LOCAL, "chat.send"), "k")


async def patient(rows: Database, name: str) -> Ledger:
    """The ledger of a process that every other has had the time to renew its leases for."""
    hand = Hand()
    ledger = Ledger(rows, name, embedded=rows.embedded, clock=hand)
    await hand.wait(ledger)
    return ledger


class TestAfterAKill:
    """The next owner closes what the one before left running."""

    @pytest.fixture
    async def heir(self, rows: Database) -> Ledger:
        """A process that the database has answered for as long as a lease lasts."""
        return await patient(rows, "the next process")

    async def killed(self, ledger: Ledger, rows: Database, token: Token) -> None:
        """Leave a checkpointed turn behind, its lease run out."""
        await accept(ledger, token, "k")
        await ledger.checkpoint([(token.stream, True)])  # type: ignore[misc]
        past = datetime.now(UTC) - timedelta(seconds=1)
        await rows.submit([Write(turns, "update", {"lease_until": past}, {"stream": token.stream.id})])

    async def test_it_ends_with_what_was_kept_and_an_estimate(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)
        assert await heir.reap(lambda _: None) == 1
        record = await heir.by_key(LOCAL, "k")
        assert record is not None
        assert record.ended is not None
        assert (record.ended.status, record.ended.reason, record.ended.saved) == ("failed", "owner_lost", True)
        assert (record.said.text, record.last) == ("Héllo 漢😀", 2 + LEAP + 2)
        assert record.ended.usage == Usage(output_tokens=6, estimated=True)
        assert await heir.reap(lambda _: None) == 0
        assert await parts(rows) == []

    async def test_a_process_that_is_dead_for_certain_has_no_lease(self, rows: Database, token: Token) -> None:
        gone = Ledger(rows, name_of_a_dead_process(), embedded=False)
        await accept(gone, token, key="k")
        heir = Ledger(rows, "this process", embedded=False)
        record = await heir.by_key(LOCAL, "k")
        assert record is not None
        assert heir.is_lost(record)
        assert await heir.reap(lambda _: None) == 1

    async def test_its_command_adds_the_rows_that_close_it(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)
        lost = await heir.by_stream(LOCAL, token.stream.id)
        told = []

        def recover(lost: Any) -> Closing:
            told.append((lost.stream, lost.principal, lost.detail, lost.ending.said.text))
            change = Write(turns, "update", {"model": "recovered"}, {"stream": lost.stream})
            return Closing(rows=[change], event=MessageSaved(conversation="c1", message="m1"))

        await heir.reap(lambda name: recover if name == "chat.send" else None)
        assert told == [(token.stream.id, LOCAL.id, {"conversation": "c1"}, "Héllo 漢😀")]
        assert (await row(rows, token))["model"] == "recovered"
        record = await heir.by_stream(LOCAL, token.stream.id)
        assert record is not None
        assert (record.last, record.said.saved) == (2 + LEAP + 2, MessageSaved(conversation="c1", message="m1"))
        assert lost is not None and (lost.ended, lost.last) == (None, record.last)

    @pytest.mark.parametrize("broken", ["raises", "refused"])
    async def test_a_recovery_that_fails_closes_the_turn_all_the_same(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token, broken: str
    ) -> None:
        await self.killed(ledger, rows, token)

        def recover(lost: Any) -> Closing:
            if broken == "raises":
                raise RuntimeError("a bug")
            return Closing(rows=[Write(turns, "insert", {"stream": lost.stream})])

        assert await heir.reap(lambda _: recover) == 1
        assert (await row(rows, token))["status"] == "failed"

    async def test_of_two_that_close_it_at_once_one_adds_the_rows_of_its_command(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)
        subjects = itertools.count()

        def recover(lost: Any) -> Closing:
            values = {"subject": f"{lost.stream} {next(subjects)}", "period": "day", "unit": "tokens", "amount": "1"}
            return Closing(rows=[Write(budgets, "insert", values)])

        other = await patient(rows, "another process")
        await asyncio.gather(*(each.reap(lambda _: recover) for each in (heir, other)))
        added = select(func.count()).select_from(budgets).where(budgets.c.subject.startswith(token.stream.id))
        async with rows.read() as connection:
            assert await connection.scalar(added) == 1

    async def test_a_live_process_keeps_its_turns_where_several_share_a_database(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await accept(ledger, token)
        taken = await heir.reap(lambda _: None)
        assert taken == (1 if rows.embedded else 0)

    async def test_a_lease_is_not_relied_on_before_its_process_had_the_time_to_renew_it(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)
        hand = Hand()
        new = Ledger(rows, "one that has just begun", embedded=False, clock=hand)
        record = await new.by_stream(LOCAL, token.stream.id)
        assert record is not None and new.runs_elsewhere(record)
        assert (new.is_patient, new.is_lost(record), await new.reap(lambda _: None)) == (True, False, 0)
        await hand.wait(new)
        assert (new.is_patient, new.is_lost(record)) == (False, True)
        hand.now += 10
        assert (new.is_patient, new.is_lost(record), await new.reap(lambda _: None)) == (True, False, 0)
        await hand.wait(new)
        assert await new.reap(lambda _: None) == 1

    async def test_a_lease_that_was_renewed_since_it_was_read_holds(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)

        def recover(lost: Any) -> Closing:
            ledger.checkpoint([(token.stream, True)], renew=True)
            return Closing()

        await heir.reap(lambda _: recover)
        record = await heir.by_stream(LOCAL, token.stream.id)
        assert record is not None and (record.status, record.ended) == ("running", None)
        assert not rows.embedded or heir.is_lost(record)

    async def test_a_process_of_this_machine_that_lives_has_no_need_of_a_lease(
        self, rows: Database, token: Token
    ) -> None:
        hand = Hand()
        heir = Ledger(rows, "another process", embedded=False, clock=hand)
        await hand.wait(heir)
        await self.killed(Ledger(rows, owner_name(), embedded=False), rows, token)
        record = await heir.by_stream(LOCAL, token.stream.id)
        assert record is not None and not heir.is_lost(record)
        assert await heir.reap(lambda _: None) == 0

    async def test_an_end_goes_over_that_of_a_process_that_took_this_one_for_dead(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)
        assert await heir.reap(lambda _: None) == 1
        await ledger.checkpoint([(token.stream, True)], renew=True)  # type: ignore[misc]
        assert (await row(rows, token))["status"] == "failed"
        token.stream.publish(token, TextDelta(" and more"))
        taken = Write(turns, "update", {"model": "as if alone"}, {"stream": token.stream.id})
        over = Write(turns, "update", {"model": "over"}, {"stream": token.stream.id})
        await ledger.end(token.stream, True, DONE, Closing(rows=[taken], over=lambda: [over]), 4)
        record = await heir.by_stream(LOCAL, token.stream.id)
        assert record is not None
        assert (record.status, record.said.text, record.model) == ("completed", "Héllo 漢😀 and more", "over")

    async def test_an_end_that_came_first_is_not_reaped(
        self, ledger: Ledger, heir: Ledger, rows: Database, token: Token
    ) -> None:
        await self.killed(ledger, rows, token)

        def recover(lost: Any) -> Closing:
            ledger.end(token.stream, True, DONE, Closing(), 3)
            return Closing(rows=[Write(turns, "update", {"model": "lost"}, {"stream": lost.stream})])

        await heir.reap(lambda _: recover)
        record = await heir.by_stream(LOCAL, token.stream.id)
        assert record is not None and (record.status, record.model) == ("completed", "m")

    async def test_no_process_reaps_its_own(self, ledger: Ledger, rows: Database, token: Token) -> None:
        await self.killed(ledger, rows, token)
        assert await ledger.reap(lambda _: None) == 0


async def test_a_turn_that_no_model_answered_keeps_the_one_that_it_asked_for(
    ledger: Ledger, rows: Database, token: Token
) -> None:
    await accept(ledger, token)
    ended = StreamEnded(status="failed", reason="provider_error", usage=Usage(), cost=Cost(amount="0"))
    await ledger.end(token.stream, True, ended, Closing(), 2)
    assert (await row(rows, token))["model"] == "m"
