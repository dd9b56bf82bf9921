"""The output of running turns in the database: each checkpoint appends what came since the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from engine.api.data import Write
from engine.api.streams import Said
from engine.bus.stream import Mark, Stream
from engine.db.schema import turn_parts, turns


class _Kept(msgspec.Struct):
    """What of a stream is committed: so many parts, up to event `n` and output `mark`."""

    part: int = 0
    n: int = 0
    mark: Mark = Mark()


class Checkpoints:
    """Builds the rows of the next checkpoint. A part counts as kept when its commit is known; until then the next
    checkpoint writes it again under the same number, with what came since."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._removed: dict[str, None] = {}

    def rows(self, stream: Stream, owner: str) -> list[Write]:
        """The rows that bring a running stream up to date; none when nothing has come."""
        kept = self._kept.setdefault(stream.id, _Kept())
        if kept.n == stream.n:
            return []
        mine = {"stream": stream.id, "owner": owner, "status": "running"}
        rows = [Write(turns, "update", {"n": stream.n}, mine)]
        if stream.mark != kept.mark:
            key = {"stream": stream.id, "part": kept.part}
            rows.append(Write(turn_parts, "upsert", {**key, "said": stream.said_since(kept.mark)}, key))
        return rows

    def committing(self, streams: Sequence[Stream], done: asyncio.Future[None]) -> None:
        """Note what a checkpoint brings once it is committed."""
        marks = [(stream.id, stream.n, stream.mark) for stream in streams]
        done.add_done_callback(partial(self._committed, marks))

    def _committed(self, marks: Sequence[tuple[str, int, Mark]], done: asyncio.Future[None]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        for stream, n, mark in marks:
            kept = self._kept.get(stream)
            if kept is not None:
                kept.part, kept.n, kept.mark = kept.part + (mark != kept.mark), n, mark

    def end(self, stream: str) -> None:
        """A stream has ended: its row gets the whole output, and its parts are to be removed."""
        if self._kept.pop(stream, None) is not None:
            self._removed[stream] = None

    def removals(self) -> list[Write]:
        """Rows that remove the parts of streams that have ended since the last time.

        They go with a later checkpoint and not with the end itself: a delete keeps ends from sharing a statement.
        """
        removed, self._removed = self._removed, {}
        return [Write(turn_parts, "delete", {}, {"stream": stream}) for stream in removed]


def with_parts(row: Mapping[str, Any], parts: Sequence[Any]) -> dict[str, Any]:
    """The row of a running turn with its output as far as it was kept."""
    said = msgspec.convert(row["said"] or {}, Said)
    for part in parts:
        said = _joined(said, msgspec.convert(part, Said))
    return {**row, "said": msgspec.to_builtins(said)}


def read_turns(connection: Connection, condition: Any, limit: int) -> list[dict[str, Any]]:
    """Turns with their output, those that run with what was kept of it."""
    rows = connection.execute(select(turns).where(condition).limit(limit)).mappings().all()
    return [_whole(connection, dict(row)) if row["status"] == "running" else dict(row) for row in rows]


def _whole(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    mine = select(turn_parts.c.said).where(turn_parts.c.stream == row["stream"]).order_by(turn_parts.c.part)
    return with_parts(row, connection.execute(mine).scalars().all())


def leftovers(connection: Connection) -> list[str]:
    """Streams that have parts and do not run: their process died between their end and the removal."""
    running = select(turns.c.stream).where(turns.c.status == "running")
    found = select(turn_parts.c.stream).distinct().where(turn_parts.c.stream.not_in(running))
    return list(connection.execute(found).scalars())


def _joined(one: Said, other: Said) -> Said:
    return Said(
        text=one.text + other.text,
        choices=_choices(one, other),
        reasoning=one.reasoning + other.reasoning,
        tool_calls=one.tool_calls + other.tool_calls,
        citations=one.citations + other.citations,
        logprobs=None if one.logprobs is other.logprobs is None else (one.logprobs or ()) + (other.logprobs or ()),
    )


def _choices(one: Said, other: Said) -> tuple[str, ...]:
    first, second = one.choices or (one.text,), other.choices or (other.text,)
    if len(first) == len(second) == 1:
        return ()
    count = max(len(first), len(second))
    padded = (list(texts) + [""] * (count - len(texts)) for texts in (first, second))
    return tuple(a + b for a, b in zip(*padded, strict=True))
