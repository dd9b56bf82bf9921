"""Whatever is submitted and whatever fails, the outcome is that of running the submissions one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, create_engine, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import StaticPool

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable
from engine.db.errors import DatabaseOverloaded, RowConflict
from engine.db.statements import Statements
from engine.db.writer import Writer

T = TypeVar("T")
Fault = Literal["none", "before", "during", "after"]

metadata = MetaData()
parents = Table("parents", metadata, Column("id", Integer, primary_key=True), Column("value", Integer))
children = Table(
    "children",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", ForeignKey("parents.id", ondelete="CASCADE"), nullable=False),
    Column("value", Integer),
)
journal = Table("journal", metadata, Column("entry", String(20), primary_key=True))


class Lost(Exception):
    """The fault that tests inject: the database may work again at the next attempt."""


class FaultyLink:
    """A private in-memory database whose work fails as told: before it, in its midst, or after it was committed."""

    dialect = "sqlite"

    def __init__(self, faults: list[Fault]) -> None:
        self._faults: Iterator[Fault] = iter(faults)
        self._failing = False
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        event.listen(self._engine, "connect", _prepare)
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        event.listen(self._engine, "commit", self._on_commit)
        with self._engine.begin() as connection:
            metadata.create_all(connection)

    async def run(self, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        fault = next(self._faults, "none")
        await asyncio.sleep(0)
        if fault == "before":
            raise Lost
        self._failing = fault == "during"
        with self._engine.connect() as connection:
            try:
                done = work(connection)
            finally:
                self._failing = False
        if fault == "after":
            raise Lost
        return done

    def passing(self, error: Exception, *, reading: bool = False) -> bool:
        return isinstance(error, Lost)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        raise NotImplementedError

    async def look(self, work: Callable[[Connection], T]) -> T:
        raise NotImplementedError

    async def close(self) -> None:
        self._engine.dispose()

    def content(self) -> dict[str, list[Any]]:
        with self._engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
                for table in metadata.sorted_tables
            }

    def _on_commit(self, connection: Connection) -> None:
        if self._failing:
            raise Lost


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON").close()


@dataclass(frozen=True)
class Outcome:
    committed: tuple[bool, ...]
    content: dict[str, list[Any]]


ids = st.integers(0, 3)
values = st.integers(0, 9)
child = st.builds(
    lambda id, parent, value: Write(children, "upsert", {"id": id, "parent": parent, "value": value}, {"id": id}),
    ids,
    ids,
    values,
)
# Hardly any of these conflict with each other, so that large groups stay together.
peaceful = st.one_of(
    st.builds(lambda id, value: Write(parents, "upsert", {"id": id, "value": value}, {"id": id}), ids, values),
    st.builds(lambda id, value: Write(parents, "update", {"value": value}, {"id": id}), ids, values),
    st.builds(lambda old, new: Write(parents, "update", {"value": new}, {"value": old}), values, values),
    st.builds(lambda id: Write(parents, "update", {"value": parents.c.value + 1}, {"id": id}), ids),
    st.builds(lambda id, value: Write(children, "update", {"value": value}, {"id": id}), ids, values),
    st.builds(lambda parent: Write(children, "delete", {}, {"parent": parent}), ids),
    child,
)
writes = st.one_of(
    peaceful,
    st.builds(lambda id, value: Write(parents, "insert", {"id": id, "value": value}), ids, values),
    st.builds(lambda id: Write(parents, "delete", {}, {"id": id}), ids),
    st.builds(lambda id, parent: Write(children, "insert", {"id": id, "parent": parent, "value": 0}), ids, ids),
)
seed = [Write(parents, "upsert", {"id": id, "value": id}, {"id": id}) for id in range(4)]
submissions = st.sampled_from([peaceful, writes]).flatmap(
    lambda kind: st.lists(st.lists(kind, max_size=4), min_size=1, max_size=12).map(lambda groups: [seed, *groups])
)
faults = st.lists(st.sampled_from(["none", "before", "during", "after"]), max_size=5)


def entries(groups: list[list[Write]]) -> list[list[Write]]:
    """Each group with a row of its own, as every turn has one."""
    return [[*group, Write(journal, "insert", {"entry": f"{n}"})] for n, group in enumerate(groups)]


async def one_after_another(groups: list[list[Write]]) -> Outcome:
    link, committed = FaultyLink([]), []
    statements = Statements("sqlite")
    for group in groups:

        def work(connection: Connection, group: list[Write] = group) -> None:
            with connection.begin():
                for write in group:
                    (step,) = statements.plan([[write]])
                    connection.execute(step.statement, step.rows)

        try:
            await link.run(work)
            committed.append(True)
        except IntegrityError:
            committed.append(False)
    outcome = Outcome(tuple(committed), link.content())
    await link.close()
    return outcome


async def through_the_writer(groups: list[list[Write]], faults: list[Fault], bursts: list[bool]) -> Outcome:
    link = FaultyLink(faults)
    writer = Writer(link)
    settled: list[int] = []
    futures = []
    for n, group in enumerate(groups):
        futures.append(writer.submit(group, deadline=60))
        futures[-1].add_done_callback(lambda _, n=n: settled.append(n))  # type: ignore[misc]
        if bursts[n % len(bursts)]:
            await asyncio.sleep(0)
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert all(result is None or isinstance(result, RowConflict) for result in results), results
    assert settled == list(range(len(groups)))
    assert await writer.drain(timeout=10)
    assert writer.queued_rows == 0
    outcome = Outcome(tuple(result is None for result in results), link.content())
    await link.close()
    return outcome


@settings(max_examples=100, deadline=None)
@given(submissions, faults, st.lists(st.booleans(), min_size=1, max_size=4))
def test_grouping_and_retrying_cannot_be_told_from_running_in_order(
    groups: list[list[Write]], faults: list[Fault], bursts: list[bool]
) -> None:
    groups = entries(groups)
    assert asyncio.run(through_the_writer(groups, faults, bursts)) == asyncio.run(one_after_another(groups))


@settings(max_examples=50, deadline=None)
@given(submissions, st.integers(0, 12), st.integers(1, 8))
def test_every_future_resolves_once_when_the_database_never_works(
    groups: list[list[Write]], expired: int, limit: int
) -> None:
    async def run() -> None:
        link = FaultyLink(["before"] * 1000)
        writer = Writer(link, max_queued_rows=limit)
        futures = [writer.submit(group, deadline=0 if n < expired else 60) for n, group in enumerate(entries(groups))]
        await asyncio.sleep(0)
        await writer.close(timeout=0)
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(result, DatabaseUnavailable | DatabaseOverloaded) for result in results)
        assert writer.queued_rows == 0
        assert not any(link.content().values())
        await link.close()

    asyncio.run(run())
