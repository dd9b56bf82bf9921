"""What plugins share: a resource is opened once, by the first who asks, and closed with the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from engine.loader.context import SharedResources


class Client:
    """Counts the clients that were opened and those that are open."""

    opened = 0
    open = 0


@pytest.fixture
def client() -> type[Client]:
    return type("Client", (Client,), {})


async def test_two_who_ask_at_once_get_one_resource(client: type[Client]) -> None:
    may_open = asyncio.Event()

    @asynccontextmanager
    async def factory() -> AsyncIterator[object]:
        client.opened += 1
        await may_open.wait()
        client.open += 1
        yield object()
        client.open -= 1

    resources = SharedResources()
    asking = [asyncio.ensure_future(resources.of(factory).get()) for _ in range(3)]
    may_open.set()
    found = await asyncio.gather(*asking)
    assert found[0] is found[1] is found[2]
    assert (client.opened, client.open) == (1, 1)

    await resources.close()
    assert client.open == 0


async def test_a_resource_that_did_not_open_is_tried_again(client: type[Client]) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[str]:
        client.opened += 1
        if client.opened == 1:
            raise OSError("no route")
        yield "open"

    shared = SharedResources().of(factory)
    with pytest.raises(OSError, match="no route"):
        await shared.get()
    assert await shared.get() == "open"


async def test_nothing_is_opened_before_it_is_asked_for(client: type[Client]) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[str]:
        client.opened += 1
        yield "open"

    resources = SharedResources()
    resources.of(factory)
    await resources.close()
    assert client.opened == 0
