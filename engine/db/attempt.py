"""One try to commit what several callers handed over, as one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ClauseElement, Connection, Select, and_, literal, select

from engine.api.data import Write
from engine.db.statements import Statements


class Attempt:
    """A piece of work for `Link.run`; what it notes down tells, after an error, how far it came."""

    def __init__(self, statements: Statements, groups: Sequence[Sequence[Write]]) -> None:
        self._statements = statements
        self._groups = groups
        self._proof: Select[int] | None = None
        self._committing = False
        self.table = ""

    def after(self, earlier: Attempt) -> Attempt:
        """This attempt, made aware of an earlier one with the same groups or more, whose outcome may be unknown.

        A connection that is lost during COMMIT leaves that open. A row which the earlier attempt inserted then proves
        that all of it stands. Where it inserted none, its rows are written again; a value that is an SQL expression
        may then be applied twice, so such a row goes together with an insert.
        """
        self._proof = earlier._evidence() if earlier._committing else earlier._proof
        return self

    def __call__(self, connection: Connection) -> None:
        if self._proof is not None and self._stands(connection, self._proof):
            return
        self._proof = None
        steps = self._statements.plan(self._groups)
        driver = connection.connection.dbapi_connection
        with connection.begin():
            for step in steps:
                self.table = step.table.name
                if step.compiled is None:
                    found = connection.execute(step.statement, step.rows).rowcount
                else:
                    found = cast("Any", driver).executemany(step.compiled.sql, step.compiled.values(step.rows)).rowcount
                if step.must and found < len(step.must):
                    raise step.must[0]
            self._committing = True

    def _stands(self, connection: Connection, proof: Select[int]) -> bool:
        found = connection.execute(proof).first() is not None
        connection.rollback()
        return found

    def _evidence(self) -> Select[int] | None:
        writes = [write for group in self._groups for write in group]
        deletes = [write for write in writes if write.kind == "delete"]
        for write in writes:
            if write.kind == "insert" and all(_spares(delete, write) for delete in deletes):
                given = {column: write.values.get(column.name) for column in write.table.primary_key.columns}
                if given and not any(value is None or isinstance(value, ClauseElement) for value in given.values()):
                    return select(literal(1)).where(and_(*(column == value for column, value in given.items())))
        return None


def _spares(delete: Write, insert: Write) -> bool:
    """Whether a delete certainly leaves an inserted row alone, by itself and by cascading."""
    if delete.table is not insert.table:
        return not insert.table.foreign_keys
    keys = {column.name for column in insert.table.primary_key.columns}
    return any(name in keys and value != insert.values.get(name) for name, value in delete.where.items())
