"""The plugin's migrations build exactly the tables that its code describes, and its rows are kept on either database."""

from __future__ import annotations

import time

import pytest

from engine.api.identity import Principal
from engine.bus.bus import Bus
from engine.db.databases import Database
from engine.db.history import Migrations
from engine.sessions.supervisor import InProcessCommands, Supervisor
from engine.testing.migrations import migration_differences
from plugins.openai_api.response import Asked, response_id
from plugins.openai_api.responses_store import TABLES, ResponseNotFound, Responses
from tests.databases import database, database_url, mysql_url

__all__ = ("database", "database_url", "mysql_url")

HISTORY = Migrations("openai_api", TABLES.metadata, TABLES.migrations)
ANN, BOB = Principal("ann"), Principal("bob")
ASKED = Asked(model="v/m", created_at=1795428000, told={"instructions": "Be brief. 🙂", "tools": []})


async def test_the_migrations_build_exactly_the_described_tables(database: Database) -> None:
    assert await migration_differences(database, HISTORY) == []


async def test_what_a_response_was_asked_is_its_principals_until_it_is_deleted(database: Database) -> None:
    await migration_differences(database, HISTORY)
    commands = InProcessCommands(Supervisor(Bus(clock=time.monotonic)))
    stored = Responses(lambda: database, commands)
    items = [{"type": "message", "role": "user", "content": "x" * 100_000}]
    await stored.keep(ANN, "s_1", ASKED, items)
    id = response_id("s_1")
    found = await stored.find(ANN, id)
    assert (found.stream, found.asked, found.input) == ("s_1", ASKED, [{"id": "in_s_1_0", **items[0]}])
    for wrong in (stored.find(BOB, id), stored.delete(BOB, id), stored.find(ANN, "s_1"), stored.find(ANN, "resp_s_2")):
        with pytest.raises(ResponseNotFound):
            await wrong
    await stored.delete(ANN, id)
    with pytest.raises(ResponseNotFound):
        await stored.find(ANN, id)
