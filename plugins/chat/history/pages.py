"""Pages of lists that are sorted by their last change, newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Table, and_, or_

from engine.api.errors import InvalidRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = 253_402_300_799_999_999


MARK = r"^[0-9]{1,17}\.[0-9A-Za-z_-]+$"
"""The form of a mark, for descriptions."""


def mark(updated_at: datetime, id: str) -> str:
    """Where a page ends: what `older_than` goes on from."""
    return f"{(updated_at - _EPOCH) // _MICROSECOND}.{id}"


def older_than(table: Table, before: str) -> ColumnElement[bool]:
    """The rows after the mark `before`; raises `InvalidRequest` for what is no mark."""
    moment, _, id = before.partition(".")
    if not (moment.isascii() and moment.isdecimal() and id) or len(moment) > 18 or int(moment) > _LAST:
        raise InvalidRequest("before is the `next` of an earlier page, as it was told", field="before")
    at = _EPOCH + int(moment) * _MICROSECOND
    updated = table.c.updated_at
    return or_(updated < at, and_(updated == at, table.c.id < id))
