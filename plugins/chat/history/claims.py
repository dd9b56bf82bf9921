"""Which conversation is taken by which stream: in this process, and on all servers of one database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import select

from engine.api.data import Database, Write
from engine.api.errors import Conflict
from engine.api.identity import Principal
from plugins.chat.history.errors import ConversationNotFound
from plugins.chat.history.records import Conversation
from plugins.chat.history.tables import conversations

ConversationT = TypeVar("ConversationT", bound=Conversation)

IsOpen = Callable[[Principal, str], Awaitable[bool | None]]
"""`engine.api.Commands.is_open`."""

Act = Callable[[Mapping[str, None], Conflict | None], Awaitable[None]]

UNWRITTEN = timedelta(seconds=15)
"""For how long a claim holds whose turn has no row: its server writes that next, or has died in between."""

ATTEMPTS = 5
"""How often a claim is tried that another one let go of in the meantime."""


async def nothing_is_open(principal: Principal, stream: str) -> bool:
    """For a history without an engine, which has no turns."""
    return False


class Here:
    """Streams by principal and conversation: whoever names a conversation of another takes nothing of theirs."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], str] = {}

    def running(self, principal: Principal, conversation: str) -> str | None:
        """The stream of the principal's turn that this process runs in a conversation."""
        return self._streams.get((principal.id, conversation))

    def take(self, principal: Principal, conversation: str, stream: str) -> None:
        """Take a conversation in this process; raises `Conflict` while another turn runs in it."""
        if (running := self.running(principal, conversation)) is not None:
            raise _taken(running)
        self._streams[principal.id, conversation] = stream

    def leave(self, principal: Principal, conversation: str, stream: str) -> None:
        """Let go of what `take` took."""
        if self.running(principal, conversation) == stream:
            del self._streams[principal.id, conversation]


@asynccontextmanager
async def turns_here() -> AsyncIterator[Here]:
    """To be shared: when the plugin is put in its own place, turns of the former one run on."""
    yield Here()


def _always(here: Here) -> Callable[[], Awaitable[Here]]:
    async def get() -> Here:
        return here

    return get


class Claims:
    """Conversations in which a turn runs.

    Where several servers may have the database, a claim is a column of the conversation: set before the turn reads the
    history, emptied with the transaction that writes the turn's end. The turn's own row says whether its server lives, so
    that a claim ends with the lease of a dead one. The embedded database has one process, whose memory is enough.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        is_open: IsOpen = nothing_is_open,
        here: Callable[[], Awaitable[Here]] | None = None,
    ) -> None:
        self._database = database
        self._now = now
        self._is_open = is_open
        self._everywhere = database.dialect != "sqlite"
        self.here = here or _always(Here())

    async def shown(self, principal: Principal, conversation: ConversationT) -> ConversationT:
        """The conversation with the stream that runs in it."""
        here = await self.here()
        running = here.running(principal, conversation.id) or conversation.running_stream
        return msgspec.structs.replace(conversation, running_stream=running)

    async def take(self, principal: Principal, conversation: str, stream: str) -> None:
        """Take a conversation for a turn on all servers; raises `Conflict` while another one runs there."""
        if not self._everywhere:
            return None
        there: str | None = None
        for _ in range(ATTEMPTS):
            mine = {"id": conversation, "principal": principal.id, "running_stream": there}
            with suppress(Conflict):
                return await self._database.submit(
                    [Write(conversations, "update", self.columns(stream), mine, _taken(there or stream))]
                )
            there, at = await self._claim(principal, conversation)
            if there == stream:
                return None
            if there is not None and await self._holds(principal, there, at):
                raise _taken(there)
        raise _taken(there or stream)

    async def check(self, principal: Principal, conversation: str) -> None:
        """Raise `Conflict` while a turn runs, here or elsewhere: its end would write after what is taken away."""
        here = await self.here()
        if (running := here.running(principal, conversation)) is not None:
            raise _taken(running)
        if not self._everywhere:
            return
        there, at = await self._claim(principal, conversation)
        if there is None:
            return
        if await self._holds(principal, there, at):
            raise _taken(there)
        await self._database.submit(self.freed(conversation, there))

    def leave(self, conversation: str, stream: str) -> None:
        """Give back what `take` took for a turn that did not begin."""
        if self._everywhere:
            self._database.submit(self.freed(conversation, stream))

    def columns(self, stream: str) -> Mapping[str, Any]:
        """The columns of a conversation that a turn has taken."""
        return {"running_stream": stream, "taken_at": self._now()} if self._everywhere else {}

    def freed(self, conversation: str, stream: str) -> list[Write]:
        """The rows that end a turn's claim, to be written with its end."""
        if not self._everywhere:
            return []
        return [
            Write(conversations, "update", {"running_stream": None}, {"id": conversation, "running_stream": stream})
        ]

    @property
    def untaken(self) -> Mapping[str, None]:
        """What a statement asks of a conversation that it must find without a turn."""
        return {"running_stream": None} if self._everywhere else {}

    async def unless_taken(self, principal: Principal, conversation: str, act: Act) -> None:
        """Do what must not happen while a turn runs; raises `Conflict` then.

        `act` gets what its statement asks of the conversation, and the error of a statement that does not find it so.
        """
        for _ in range(ATTEMPTS):
            await self.check(principal, conversation)
            if not self._everywhere:
                return await act(self.untaken, None)
            changed = Conflict("something is being said in this conversation; try again when it is over")
            with suppress(Conflict):
                return await act(self.untaken, changed)
        raise changed

    async def _claim(self, principal: Principal, conversation: str) -> tuple[str | None, datetime | None]:
        columns = select(conversations.c.running_stream, conversations.c.taken_at)
        mine = (conversations.c.id == conversation, conversations.c.principal == principal.id)
        async with self._database.read() as connection:
            row = (await connection.execute(columns.where(*mine))).first()
        if row is None:
            raise ConversationNotFound("conversation")
        return row.running_stream, row.taken_at

    async def _holds(self, principal: Principal, stream: str, at: datetime | None) -> bool:
        known = await self._is_open(principal, stream)
        return known if known is not None else at is not None and self._now() - at < UNWRITTEN


def _taken(stream: str) -> Conflict:
    return Conflict(
        f"a turn of this conversation runs as stream {stream}; wait for its end, or cancel it", field="conversation"
    )
