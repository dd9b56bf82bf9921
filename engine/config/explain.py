"""What pydantic found wrong with a table, in the words an operator needs."""

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.config.draft import Draft
from engine.config.errors import ConfigError
from engine.config.keys import KeyPath, nearest
from engine.config.schema import is_secret, keys_beside
from engine.config.secrecy import MASK, mask_text
from engine.wire.validation import right

_LONGEST_SHOWN = 80


def explain(error: ValidationError, draft: Draft, model: type[BaseModel]) -> list[ConfigError]:
    """One ConfigError per key, in pydantic's order; the branches of a union are joined by "or"."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_path.setdefault(path_of(details, draft.values), []).append(details)
    return [_explain_key(path, found, draft, model) for path, found in by_path.items()]


def path_of(details: ErrorDetails, values: dict[str, Any]) -> KeyPath:
    """Where in the table the error is: pydantic also names the branches of unions, which no operator wrote."""
    path: list[str | int] = []
    value: Any = values
    for step in details["loc"]:
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int)
        if inside:
            path.append(step)
            value = value[step]
    if details["type"] == "missing":
        path.append(details["loc"][-1])
    return tuple(path)


def _explain_key(path: KeyPath, found: list[ErrorDetails], draft: Draft, model: type[BaseModel]) -> ConfigError:
    key, origin, whole = draft.text(path), draft.origin(path), (*draft.table, *path)
    if found[0]["type"] == "extra_forbidden":
        return _unknown_key(path, draft, model)
    if found[0]["type"] == "missing":
        return ConfigError(key=key, origin=origin, message="is required and has no default", path=whole)
    secret = path in draft.hidden or is_secret(model, path)
    rights = dict.fromkeys(_what_is_right(details, secret) for details in found)
    due = " or ".join(rights)
    message = due + _given(draft.value(path), secret)
    return ConfigError(key=key, origin=origin, message=message, public=due, path=whole)


def _unknown_key(path: KeyPath, draft: Draft, model: type[BaseModel]) -> ConfigError:
    valid = keys_beside(model, path)
    guess = nearest(str(path[-1]), valid)
    message = "unknown key" if guess or not valid else f"unknown key; valid keys here: {', '.join(sorted(valid))}"
    return ConfigError(
        key=draft.text(path),
        origin=draft.origin(path),
        message=message,
        nearest=draft.text((*path[:-1], guess)) if guess else None,
        path=(*draft.table, *path),
    )


def _what_is_right(details: ErrorDetails, secret: bool) -> str:
    known = right(details)
    if known is not None:
        message = f"must {known.replace('an object', 'a table')}"
    else:
        message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    given = details["input"]
    if secret and isinstance(given, str) and given:
        message = message.replace(given, MASK)
    return mask_text(message)


def _given(value: Any, secret: bool) -> str:
    """What was there instead; of a secret nothing, and of a table or list only that it is one."""
    if secret or value is None:
        return ""
    if isinstance(value, dict | list):
        return f", but is a {'table' if isinstance(value, dict) else 'list'}"
    shown = mask_text(repr(value) if isinstance(value, str) else str(value).lower())
    return f", but is {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '…'}"
