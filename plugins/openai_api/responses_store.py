"""Stored responses: what each was asked. What came of it is known to its turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Column, Index, MetaData, Table, select

from engine.api.columns import Json, Key, UtcDateTime
from engine.api.commands import Commands
from engine.api.data import Database, Tables, Write
from engine.api.errors import EngineError, InvalidRequest, NotFound
from engine.api.identity import Principal
from engine.api.streams import Said
from plugins.openai_api.response import Asked, Item, response_id, stream_of

metadata = MetaData()

responses = Table(
    "openai_api_responses",
    metadata,
    Column("stream", Key(), primary_key=True),
    Column("principal", Key(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("asked", Json, nullable=False),
    Column("input", Json, nullable=False),
    Index("ix_openai_api_responses_principal", "principal"),
)

TABLES = Tables(metadata, Path(__file__).parent / "migrations")


class ResponseNotFound(NotFound):
    """Raised for the id of a response that is unknown, deleted, was not stored, or belongs to somebody else."""

    code = "response_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no response {id[:80]!r}; it was deleted, or not stored (store: false)")


class PreviousResponseNotFound(InvalidRequest):
    """Raised where a request goes on from a response that is not there any more."""

    code = "previous_response_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"there is no response {id[:80]!r} to go on from; it was deleted, or not stored (store: false)",
            field="previous_response_id",
        )


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A stored response."""

    stream: str
    asked: Asked
    input: list[dict[str, Any]]


class Responses:
    """The stored responses of all principals, each visible to its own."""

    def __init__(self, database: Callable[[], Database], commands: Commands) -> None:
        self._database = database
        self._commands = commands

    async def keep(self, principal: Principal, stream: str, asked: Asked, input: list[Item]) -> Asked:
        """Store what a response was asked; gives what was stored first, where that was done before.

        Raises `ResponseNotFound` where it was deleted since: a retry of its request does not bring it back.
        """
        row = {
            "stream": stream,
            "principal": principal.id,
            "created_at": datetime.fromtimestamp(asked.created_at, UTC),
            "asked": msgspec.to_builtins(asked),
            "input": [{"id": f"in_{stream}_{at}", **item} for at, item in enumerate(input)],
        }
        try:
            await self._database().submit([Write(responses, "insert", row)])
        except EngineError as error:
            if error.code != "row_conflict":
                raise
            return (await self.find(principal, response_id(stream))).asked
        return asked

    async def find(self, principal: Principal, id: str) -> Stored:
        """The caller's response of this id; raises `ResponseNotFound`."""
        stream = stream_of(id)
        if stream is None:
            raise ResponseNotFound(id)
        mine = (responses.c.stream == stream, responses.c.principal == principal.id)
        async with self._database().read() as connection:
            row = (await connection.execute(select(responses).where(*mine))).mappings().first()
        if row is None or not row["asked"]:
            raise ResponseNotFound(id)
        return Stored(stream=stream, asked=msgspec.convert(row["asked"], Asked), input=row["input"])

    async def delete(self, principal: Principal, id: str) -> None:
        """Forget a response and what its turn said, but for its id; raises `ResponseNotFound`."""
        stored = await self.find(principal, id)
        where = {"stream": stored.stream, "principal": principal.id}
        forgotten: dict[str, Any] = {"asked": {}, "input": []}
        await self._database().submit(
            [
                Write(responses, "update", forgotten, where),
                *await self._commands.forget(principal, {stored.stream: Said()}),
            ]
        )
