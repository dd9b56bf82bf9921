"""Says what a database had against rows, without the values in them."""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from engine.db.errors import RowConflict, RowRefused

# SQLite: "UNIQUE constraint failed: turns.key". MySQL: "Duplicate entry '<value>' for key 'key'", "Column 'key' cannot
# be null", "... CONSTRAINT `key` FOREIGN KEY ...".
_CONSTRAINT = re.compile(r"constraint failed: ([\w., ]+)$|for key '([^']+)'$|^Column '([^']+)'|CONSTRAINT `([^`]+)`")
_SUBJECT = re.compile(r"(?:column|field|table)(?: named)?:? '?([\w.]+)'?", re.IGNORECASE)


def refusal(error: Exception, table: str) -> Exception:
    """The error for whoever handed over the row that failed; errors that are no fault of the row stay as they are."""
    if isinstance(error, IntegrityError):
        return RowConflict(table, _constraint(error))
    if isinstance(error, SQLAlchemyError | ValueError | TypeError | KeyError | OverflowError):
        where = f" for table {table}" if table else ""
        return RowRefused(f"The database cannot take a row{where}: {reason(error)}.")
    return error


def reason(error: Exception) -> str:
    """A few words on an error, fit for a log: its kind, number and subject. Driver messages may quote values."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if not isinstance(error, DBAPIError):
        return f"{type(original).__name__}: {str(original).splitlines()[0] if str(original) else 'no details'}"
    number = original.args[0] if original.args and isinstance(original.args[0], int) else None
    code = getattr(original, "sqlite_errorname", number)
    subject = _SUBJECT.search(str(original.args[-1]) if original.args else "")
    parts = (type(original).__name__, str(code or ""), subject[1] if subject else "")
    return " ".join(part for part in parts if part)


def _constraint(error: IntegrityError) -> str:
    arguments = error.orig.args if error.orig is not None else ()
    found = _CONSTRAINT.search(str(arguments[-1])) if arguments else None
    return next((name for name in found.groups() if name), "") if found else ""
