"""Rows handed to the writer are committed in order, in groups, and each group stands or falls as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable, InvalidRequest
from engine.db.databases import Database
from engine.db.errors import DatabaseOverloaded, RowConflict, RowRefused
from engine.db.link import Link
from engine.db.writer import Writer
from tests.engine.db.tables import create_tables, messages, metadata, turns


@pytest.fixture(autouse=True)
async def tables(database: Database) -> None:
    await create_tables(database)


def turn(id: str, **values: Any) -> Write:
    return Write(turns, "insert", {"id": id, "status": "running", **values})


def message(id: str, turn: str, text: str = "hello") -> Write:
    return Write(messages, "insert", {"id": id, "turn": turn, "text": text})


async def rows(database: Database, *columns: Any) -> Sequence[Any]:
    async with database.read() as connection:
        return (await connection.execute(select(*columns).order_by(columns[0]))).all()


async def test_rows_can_be_read_when_their_future_is_done(database: Database) -> None:
    at = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    await database.submit([turn("a", usage={"tokens": [1, None]}, text="ä😀", at=at)])
    found = await rows(database, turns.c.id, turns.c.spent, turns.c.usage, turns.c.text, turns.c.at)
    assert found == [("a", 0, {"tokens": [1, None]}, "ä😀", at)]


async def test_ids_that_differ_in_case_are_different_rows(database: Database) -> None:
    await database.submit([turn("a"), turn("A")])
    assert len(await rows(database, turns.c.id)) == 2


async def test_a_group_is_written_in_its_order(database: Database) -> None:
    await database.submit(
        [
            turn("a"),
            Write(turns, "update", {"status": "completed"}, {"id": "a", "status": "running"}),
            turn("b"),
            Write(turns, "delete", {}, {"id": "b"}),
            turn("b", text="second"),
        ]
    )
    assert await rows(database, turns.c.id, turns.c.status, turns.c.text) == [
        ("a", "completed", None),
        ("b", "running", "second"),
    ]


async def test_a_conditional_update_that_matches_no_row_is_no_error(database: Database) -> None:
    await database.submit([turn("a")])
    await database.submit([Write(turns, "update", {"status": "failed"}, {"id": "a", "status": "completed"})])
    assert await rows(database, turns.c.id, turns.c.status) == [("a", "running")]


async def test_an_empty_condition_value_matches_null(database: Database) -> None:
    await database.submit([turn("a"), turn("b", text="x")])
    await database.submit([Write(turns, "update", {"status": "empty"}, {"text": None})])
    assert await rows(database, turns.c.id, turns.c.status) == [("a", "empty"), ("b", "running")]


async def test_an_upsert_inserts_and_then_replaces_only_its_columns(database: Database) -> None:
    await database.submit([Write(turns, "upsert", {"id": "a", "status": "running", "spent": 7}, {"id": "a"})])
    await database.submit([Write(turns, "upsert", {"id": "a", "status": "completed"}, {"id": "a"})])
    assert await rows(database, turns.c.id, turns.c.status, turns.c.spent) == [("a", "completed", 7)]


async def test_an_expression_is_computed_by_the_database(database: Database) -> None:
    await database.submit([turn("a", spent=5)])
    add = Write(turns, "update", {"spent": turns.c.spent + 3}, {"id": "a"})
    await asyncio.gather(*(database.submit([add]) for _ in range(4)))
    assert await rows(database, turns.c.spent) == [(17,)]


async def test_many_submissions_become_one_transaction_and_one_statement_per_table(database: Database) -> None:
    statements: list[str] = []

    def note(statement: str) -> None:
        statements.append(statement.partition(" (")[0])

    def listen(connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            driver: Any = connection.connection.dbapi_connection
            driver.set_trace_callback(note)  # tells a statement anew for each of its rows
        else:
            event.listen(connection.engine, "before_cursor_execute", lambda c, cursor, told, *rest: note(told))
            event.listen(connection.engine, "commit", lambda _: note("COMMIT"))

    await database.run(listen)
    await asyncio.gather(*(database.submit([turn(f"t{n}"), message(f"m{n}", f"t{n}")]) for n in range(50)))
    assert [line for line, _ in groupby(statements) if not line.startswith("BEGIN")] == [
        "INSERT INTO turns",
        "INSERT INTO messages",
        "COMMIT",
    ]
    assert len(await rows(database, messages.c.id)) == 50


@pytest.mark.parametrize("rows_per_submission", [1, 60, 150])
async def test_submissions_of_any_size_are_committed_whole(database: Database, rows_per_submission: int) -> None:
    groups = [[turn(f"{group}.{n}") for n in range(rows_per_submission)] for group in range(5)]
    await asyncio.gather(*(database.submit(group) for group in groups))
    assert len(await rows(database, turns.c.id)) == 5 * rows_per_submission


async def test_only_the_guilty_submission_fails_and_leaves_nothing(database: Database) -> None:
    await database.submit([turn("taken")])
    futures = [
        database.submit([turn("a")]),
        database.submit([turn("b"), turn("taken")]),
        database.submit([turn("c")]),
    ]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), RowConflict, type(None)]
    assert await rows(database, turns.c.id) == [("a",), ("c",), ("taken",)]


async def test_a_conflict_names_table_and_rule_but_no_value(database: Database) -> None:
    await database.submit([turn("a", key="my-secret")])
    with pytest.raises(RowConflict) as caught:
        await database.submit([turn("b", key="my-secret")])
    assert caught.value.table == "turns"
    assert "key" in caught.value.constraint
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "write",
    [
        Write(turns, "insert", {"id": "x", "status": "running", "no_such_column": 1}),
        Write(turns, "insert", {"id": "x", "status": "running", "at": datetime(2026, 1, 1)}),
        Write(turns, "insert", {"id": "x", "status": "running", "usage": object()}),
        Write(turns, "insert", {"id": "x", "status": "running", "spent": 2**70}),
        Write(turns, "update", {"status": "x"}, {}),
        Write(turns, "delete", {}, {}),
        Write(turns, "upsert", {"id": "x", "status": "running"}, {}),
        Write(metadata.tables["turns"].to_metadata(type(metadata)(), name="nowhere"), "insert", {"id": "x"}),
    ],
    ids=["column", "naive time", "no json", "number", "update all", "delete all", "upsert without key", "table"],
)
async def test_rows_that_can_never_be_written_are_refused_alone(database: Database, write: Write) -> None:
    before, bad, after = database.submit([turn("a")]), database.submit([write]), database.submit([turn("b")])
    with pytest.raises(RowRefused):
        await bad
    await asyncio.gather(before, after)
    assert await rows(database, turns.c.id) == [("a",), ("b",)]


async def test_an_empty_submission_is_done_after_those_before_it(database: Database) -> None:
    first, fence = database.submit([turn("a")]), database.submit([])
    await fence
    assert first.done()


async def test_a_cancelled_waiter_takes_no_rows_back(database: Database) -> None:
    database.submit([turn("a")]).cancel()
    assert await database.writer.drain(timeout=10)
    assert await rows(database, turns.c.id) == [("a",)]


async def test_a_very_large_group_keeps_nobody_elses_rows_out(database: Database) -> None:
    writer = Writer(_link(database), max_queued_rows=400)
    large = writer.submit([turn(f"l{at}") for at in range(1_000)])
    second = writer.submit([turn(f"m{at}") for at in range(1_000)])
    small = [writer.submit([turn(f"s{at}")]) for at in range(300)]
    assert isinstance(second.exception(), DatabaseOverloaded)
    await asyncio.gather(large, *small)
    assert writer.queued_rows == 0
    assert len(await rows(database, turns.c.id)) == 1_300
    await writer.submit([turn(f"n{at}") for at in range(1_000)])


async def test_a_full_queue_refuses_at_once_and_takes_rows_again_later(database: Database) -> None:
    writer = Writer(_link(database), max_queued_rows=3)
    kept = writer.submit([turn("a"), turn("b"), turn("c")])
    refused = writer.submit([turn("d")])
    assert refused.done()
    assert isinstance(refused.exception(), DatabaseOverloaded)
    await kept
    await writer.submit([turn("d")])
    assert writer.queued_rows == 0
    assert len(await rows(database, turns.c.id)) == 4


async def test_the_writers_task_ends_when_it_is_idle(database: Database) -> None:
    await database.submit([turn("a")])
    assert await database.writer.drain(timeout=10)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "database writer"]


async def test_closing_commits_what_is_queued_and_then_takes_nothing(database: Database) -> None:
    writer = Writer(_link(database))
    queued = [writer.submit([turn(f"t{n:03}")]) for n in range(250)]
    await writer.close()
    assert all(future.done() and future.exception() is None for future in queued)
    assert isinstance(writer.submit([turn("late")]).exception(), DatabaseUnavailable)
    assert len(await rows(database, turns.c.id)) == 250


async def test_a_delete_that_cascades_is_not_overtaken_by_later_inserts(database: Database) -> None:
    await database.submit([turn("a"), turn("b")])
    results = await asyncio.gather(
        database.submit([message("m1", "b")]),
        database.submit([Write(turns, "delete", {}, {"id": "a"})]),
        database.submit([message("m2", "a")]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), type(None), RowConflict]
    assert await rows(database, messages.c.id) == [("m1",)]


def _link(database: Database) -> Link:
    return database._opened()


async def test_rows_that_linger_go_with_the_next_that_is_in_a_hurry(database: Database) -> None:
    lingering = database.submit([turn("a")], linger=3600)
    assert await rows(database, turns.c.id) == []
    await database.submit([turn("b")])
    assert lingering.done()
    assert await rows(database, turns.c.id) == [("a",), ("b",)]


async def test_a_group_without_rows_calls_those_that_linger(database: Database) -> None:
    lingering = database.submit([turn("a")], linger=3600)
    await database.submit([])
    assert lingering.done()
    assert await rows(database, turns.c.id) == [("a",)]


async def test_rows_that_linger_go_alone_when_nobody_comes(database: Database) -> None:
    async with asyncio.timeout(5):
        await database.submit([turn("a")], linger=0.01)
    assert await rows(database, turns.c.id) == [("a",)]


async def test_rows_that_linger_are_committed_before_the_writer_closes(database: Database) -> None:
    lingering = database.submit([turn("a")], linger=3600)
    assert await database.writer.drain(timeout=5)
    assert lingering.done()
    assert await rows(database, turns.c.id) == [("a",)]


async def test_a_group_that_relies_on_a_row_fails_alone_where_it_is_gone(database: Database) -> None:
    await database.submit([turn("a"), turn("b"), turn("c")])
    gone = InvalidRequest("b is not there any more")

    def told(id: str) -> list[Write]:
        return [Write(turns, "update", {"status": "told"}, {"id": id}, gone), message(f"m-{id}", id)]

    removal = database.submit([Write(turns, "delete", {}, {"id": "b"})])
    groups = [database.submit(told(id)) for id in ("a", "b", "c")]
    await removal
    assert await asyncio.gather(*groups, return_exceptions=True) == [None, gone, None]
    assert await rows(database, messages.c.id) == [("m-a",), ("m-c",)]


async def test_a_row_that_is_found_may_stay_as_it_is(database: Database) -> None:
    await database.submit([turn("a")])
    same = Write(turns, "update", {"status": "running"}, {"id": "a"}, InvalidRequest("it is there"))
    await database.submit([same, message("m", "a")])
    assert await rows(database, messages.c.id) == [("m",)]
