"""What the tests of turns and sessions share: virtual time, except where a real database works in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from engine.testing.clock import VirtualTimeLoop
from engine.testing.session import SessionKit
from tests.databases import database, database_url, mysql_url
from tests.engine.sessions.commands import Script, command, echo

__all__ = ("database", "database_url", "mysql_url")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in ("test_budgets.py", "test_database_away.py", "test_ledger.py", "test_usage.py"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def script() -> Script:
    """What the next turns of `chat.send` do."""
    return Script()


@pytest.fixture
async def kit(script: Script) -> AsyncIterator[SessionKit]:
    """A device at a server that answers `chat.send` by the script, and `tool.echo` at once."""
    async with SessionKit(command(script), echo()) as kit:
        yield kit


@pytest.fixture
def quiet() -> Callable[[], Any]:
    """Await until nothing is left to do but wait for time or for the test: virtual time moves only then."""

    async def settle() -> None:
        await asyncio.sleep(1e-6)

    return settle
