"""Documents about the server are made once for each table, while the event loop serves others."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest

from engine.api.errors import Internal
from engine.http.described import TRY_AGAIN, Described
from engine.testing.clock import virtual_time


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
    answer = await described.answer(table, {})
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


def test_a_document_that_could_not_be_made_is_tried_again_only_later() -> None:
    describing, table = Describing(), Table("a")
    describing.let.set()
    describing.fails = True

    async def ask() -> None:
        described = Described(describing)
        for _ in range(3):
            with pytest.raises(Internal, match="could not be made") as refused:
                await described.answer(table, {})
            assert refused.value.retry_after == TRY_AGAIN
        assert len(describing.threads) == 1
        describing.fails = False
        await asyncio.sleep(TRY_AGAIN)
        assert await name(described, table) == "a"

    with virtual_time() as runner:
        runner.run(ask())


async def test_another_table_is_described_though_that_of_the_one_before_failed() -> None:
    describing = Describing()
    described = Described(describing)
    describing.let.set()
    describing.fails = True
    with pytest.raises(Internal):
        await described.answer(Table("a"), {})
    describing.fails = False
    assert await name(described, Table("b")) == "b"


async def test_a_caller_who_has_the_document_is_sent_nothing() -> None:
    describing, table = Describing(), Table("a")
    described = Described(describing)
    describing.let.set()
    etag = (await described.answer(table, {})).headers["ETag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = await described.answer(table, {"if-none-match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, None, etag)
    other = await described.answer(Table("b"), {"if-none-match": etag})
    assert (other.status, json.loads(other.body)) == (200, {"name": "b"})


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=1.0", True),
        ("", False),
        ("br", False),
        ("gzip; q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
    ],
)
async def test_a_document_is_compressed_for_who_takes_that(accepted: str, packed: bool) -> None:
    describing, table = Describing(), Table("a")
    described = Described(describing)
    describing.let.set()

    answer = await described.answer(table, {"accept-encoding": accepted})

    assert ("Content-Encoding" in answer.headers) is packed
    assert json.loads(gzip.decompress(answer.body) if packed else answer.body) == {"name": "a"}
    assert "Accept-Encoding" in answer.headers["Vary"]
