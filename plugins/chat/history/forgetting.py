"""What is deleted from the history is deleted from the records of the turns, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from sqlalchemy import Connection, select

from engine.api.data import Write
from engine.api.identity import Principal
from engine.api.streams import Said
from plugins.chat.history.tables import messages

Forget = Callable[[Principal, Mapping[str, Said]], Awaitable[list[Write]]]
"""`engine.api.Commands.forget`."""


async def nothing_to_forget(principal: Principal, left: Mapping[str, Said]) -> list[Write]:
    """For a history without an engine, which has no records of turns."""
    return []


def emptied(streams: Iterable[str | None]) -> dict[str, Said]:
    """Each of the streams once, with nothing left of it."""
    return {stream: Said() for stream in streams if stream is not None}


def streams_of(connection: Connection, principal: str, conversation: str) -> list[str]:
    """The streams of the turns whose messages stand in a principal's conversation."""
    mine = messages.c.conversation == conversation, messages.c.principal == principal
    found = select(messages.c.stream).distinct().where(*mine, messages.c.stream.is_not(None))
    return list(connection.execute(found).scalars())
