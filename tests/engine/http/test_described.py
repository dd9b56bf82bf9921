"""Documents about the server are made once for each table, while the event loop serves others."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from engine.http.described import Described


class Table:
    """Stands for a table of routes or commands: only which one it is matters."""

    def __init__(self, name: str) -> None:
        self.name = name


class Describing:
    """Describes a table when it is let; counts how often, and in which threads."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.begun = threading.Event()
        self.threads: list[int] = []
        self.fails = False

    def __call__(self, table: Table) -> Any:
        self.threads.append(threading.get_ident())
        self.begun.set()
        assert self.let.wait(30)
        if self.fails:
            raise RuntimeError("no schema")
        return {"name": table.name}


async def name(described: Described[Table], table: Table) -> Any:
    answer = await described.answer(table)
    return json.loads(answer.body)["name"]


async def begun(describing: Describing) -> None:
    """Return, in a loop that is not held, once a description is being made."""
    async with asyncio.timeout(30):
        await asyncio.to_thread(describing.begun.wait)


async def test_whoever_asks_while_a_document_is_made_waits_for_that_one() -> None:
    describing, table = Describing(), Table("a")
    described = Described(describing)
    asking = [asyncio.create_task(name(described, table)) for _ in range(20)]
    await begun(describing)
    assert not any(each.done() for each in asking)
    describing.let.set()
    assert await asyncio.gather(*asking, name(described, table)) == ["a"] * 21
    assert await name(described, table) == "a"
    assert len(describing.threads) == 1
    assert describing.threads[0] != threading.get_ident()


async def test_another_table_is_described_anew_and_those_who_asked_before_get_theirs() -> None:
    describing, first, second = Describing(), Table("a"), Table("b")
    described = Described(describing)
    before = asyncio.create_task(name(described, first))
    await begun(describing)
    after = asyncio.create_task(name(described, second))
    describing.let.set()
    assert (await before, await after) == ("a", "b")
    assert await name(described, second) == "b"
    assert len(describing.threads) == 2


async def test_a_caller_who_leaves_takes_the_document_from_nobody() -> None:
    describing, table = Describing(), Table("a")
    described = Described(describing)
    leaving, staying = (asyncio.create_task(name(described, table)) for _ in range(2))
    await begun(describing)
    leaving.cancel()
    await asyncio.wait([leaving])
    describing.let.set()
    assert await staying == "a"
    assert len(describing.threads) == 1


async def test_a_document_that_could_not_be_made_is_tried_again() -> None:
    describing, table = Describing(), Table("a")
    described = Described(describing)
    describing.let.set()
    describing.fails = True
    with pytest.raises(RuntimeError, match="no schema"):
        await described.answer(table)
    describing.fails = False
    assert await name(described, table) == "a"
