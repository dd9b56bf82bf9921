"""Says what a database had against rows, without the values in them."""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from engine.db.errors import RowConflict, RowRefused

# SQLite: "UNIQUE constraint failed: turns.key". MySQL: "Duplicate entry '<value>' for key 'key'", "Column 'key' cannot
# be null", "... CONSTRAINT `key` FOREIGN KEY ...".
_CONSTRAINT = re.compile(r"constraint failed: ([\w., ]+)$|for key '([^']+)'$|^Column '([^']+)'|CONSTRAINT `([^`]+)`")
_SUBJECT = re.compile(r"(?:column|field|table)(?: named)?:? '?([\w.]+)'?", re.IGNORECASE)


def refusal(error: Exception, table: str) -> Exception:
    """The error for whoever handed over the row that failed; errors that are no fault of the row stay as they are."""
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return RowConflict(table, _constraint(error))
    if isinstance(error, SQLAlchemyError | sqlite3.Error | ValueError | TypeError | KeyError | OverflowError):
        where = f" for table {table}" if table else ""
        return RowRefused(f"The database cannot take a row{where}: {reason(error)}.")
    return error


def reason(error: Exception) -> str:
    """A few words on an error, fit for a log: its kind, number and subject. Driver messages may quote values."""
    if not isinstance(error, DBAPIError | sqlite3.Error):
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
    told = original(error)
    number = told.args[0] if told.args and isinstance(told.args[0], int) else None
    code = getattr(told, "sqlite_errorname", number)
    subject = _SUBJECT.search(str(told.args[-1]) if told.args else "")
    parts = (type(told).__name__, str(code or ""), subject[1] if subject else "")
    return " ".join(part for part in parts if part)


def original(error: Exception) -> BaseException:
    """The driver's own error, whether SQLAlchemy has wrapped it or not."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _constraint(error: Exception) -> str:
    arguments = original(error).args
    found = _CONSTRAINT.search(str(arguments[-1])) if arguments else None
    return next((name for name in found.groups() if name), "") if found else ""
