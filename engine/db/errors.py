"""What can be wrong with a database or with the rows handed to it."""

from __future__ import annotations

from engine.api.errors import DatabaseUnavailable, EngineError, Overloaded


class DatabaseUrlInvalid(EngineError):
    """Raised when a configured database address cannot be used; `field` names its setting."""

    code = "database_url_invalid"


class DatabaseInUse(EngineError):
    """Raised when another process has the embedded database open."""

    code = "database_in_use"
    status = 503


class DatabaseNotReady(DatabaseUnavailable):
    """Raised at the start when a database cannot be opened; says which setting or command puts it right."""

    retryable = False


class DriverMissing(DatabaseNotReady):
    """Raised when the library is not installed that a database's address needs; says what installs it."""


class DatabaseOverloaded(Overloaded):
    """So many rows wait for a database that it takes no more for now."""


class RowConflict(EngineError):
    """A row breaks a rule of its table: a unique or foreign key, or a column that may not be empty.

    `table` is the table's name; `constraint` is what the database calls the rule, or empty where it does not say.
    """

    code = "row_conflict"
    status = 409

    def __init__(self, table: str, constraint: str) -> None:
        rule = f" ({constraint})" if constraint else ""
        super().__init__(f"A row for table {table} breaks one of its rules{rule}; nothing of its group was written.")
        self.table = table
        self.constraint = constraint


class RowRefused(EngineError):
    """Rows that the database can never take: a value of the wrong type or length, an unknown table or column."""

    code = "row_refused"


class MigrationHistoryInvalid(EngineError):
    """Raised when the revisions of an owner do not form one line, or do not fit what the database has seen."""

    code = "migration_history_invalid"


class MigrationFailed(EngineError):
    """Raised when a revision raised; on SQLite nothing of it stands, on MySQL it may be half done and can be run again."""

    code = "migration_failed"


class MigrationsPending(EngineError):
    """Raised when tables are older than this version where only the operator upgrades them."""

    code = "migrations_pending"
