"""What pydantic found wrong with a body, a query or a frame, as one error in the words of its sender."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.api.errors import InvalidRequest
from engine.wire.places import Path, Place, locate

_MOST_EXPLAINED = 200
"""Past this many mistakes none is looked at one by one: a hostile body must not hold the loop."""
_MOST_TOLD = 4
_LONGEST_VALUE = 40
_LONGEST_NAME = 80


class _Mistake(NamedTuple):
    """One error of pydantic's at the path where its sender made it."""

    path: Path
    details: ErrorDetails
    place: Place


_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
_SHOULD = ("Input should ", "String should ")
_ABSENT = ("missing", "union_tag_not_found")
_BOUNDS = {
    "greater_than": "be more than {gt}",
    "greater_than_equal": "be {ge} or more",
    "less_than": "be less than {lt}",
    "less_than_equal": "be {le} or less",
    "multiple_of": "be a multiple of {multiple_of}",
    "string_too_short": "have at least {min_length} characters",
    "string_too_long": "have at most {max_length} characters",
    "too_short": "have at least {min_length} items",
    "too_long": "have at most {max_length} items",
}

_AT_LEAST_ONE = ("string_too_short", "too_short")

_MOST = {
    "less_than": "lt",
    "less_than_equal": "le",
    "string_too_long": "max_length",
    "too_long": "max_length",
    "too_many_values": "most",
    "too_deep": "most",
}
"""Where a mistake of pydantic's names the bound that was passed."""


def explain(error: ValidationError, model: type[BaseModel], *, what: str = "body") -> InvalidRequest:
    """One `InvalidRequest` for all that was wrong: `field` is the dotted path of the first mistake.

    The message says what would be right, names the nearest field for an unknown one, and adds further mistakes up to
    four in all. `what` is the noun for the whole ("body", "frame", "query"). `limit` is the bound that the first mistake
    passed. Never shows a string that was no choice or number.
    """
    count = error.error_count()
    if count > _MOST_EXPLAINED:
        return InvalidRequest(f"the {what} has {count} mistakes, too many to name them")
    mistakes = _by_path(error, model)
    told = itertools.islice(mistakes.items(), _MOST_TOLD)
    message = "; ".join(_sentence(path, found, what) for path, found in told)
    if len(mistakes) > _MOST_TOLD:
        message += f"; and {len(mistakes) - _MOST_TOLD} more"
    first = next(iter(mistakes))
    return InvalidRequest(message, field=dotted(first) or None, limit=_limit(mistakes[first]))


def dotted(path: Path) -> str:
    """A path as `field` carries it: `input.0.text`. What a sender made overlong is cut."""
    return _cut(".".join(str(step) for step in path), _LONGEST_NAME)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` was most likely meant to be, or None where none is like it."""
    if len(word) > _LONGEST_NAME:
        return None
    matches = difflib.get_close_matches(word, list(candidates), n=1)
    return matches[0] if matches else None


def _by_path(error: ValidationError, model: type[BaseModel]) -> dict[Path, list[_Mistake]]:
    """Mistakes by their place, in pydantic's order; of a union only those of the branch that was meant."""
    mistakes = []
    for details in error.errors(include_url=False):
        place = locate(model, details["loc"])
        mistakes.append(_Mistake(_path_of(details, place), details, place))
    by_path: dict[Path, list[_Mistake]] = {}
    for mistake in _meant(mistakes):
        by_path.setdefault(mistake.path, []).append(mistake)
    deeper = {path[:length] for path in by_path for length in range(len(path))}
    kept = {path: found for path, found in by_path.items() if found[0].place.union is None or path not in deeper}
    return kept or by_path


def _meant(mistakes: Sequence[_Mistake]) -> Iterable[_Mistake]:
    """The mistakes without those of branches that the sender hardly meant.

    A branch whose bound was passed was meant. One that was followed into its parts was meant rather than one of another
    type; among several, the one that misses the fewest fields.
    """
    followed: dict[Path, dict[str | int, list[_Mistake]]] = {}
    for mistake in mistakes:
        union = mistake.place.union
        if union is not None and len(mistake.path) > len(union):
            followed.setdefault(union, {}).setdefault(mistake.place.branch, []).append(mistake)
    meant = {union: min(branches, key=lambda each: _unlikeness(branches[each])) for union, branches in followed.items()}
    # What is too long for a branch is of its type.
    meant |= {
        mistake.place.union: mistake.place.branch
        for mistake in mistakes
        if mistake.place.union == mistake.path and mistake.details["type"] in ("too_long", "string_too_long")
    }
    for mistake in mistakes:
        place = mistake.place
        if place.union is None or meant.get(place.union, place.branch) == place.branch:
            yield mistake


def _unlikeness(mistakes: Sequence[_Mistake]) -> tuple[int, int]:
    absent = sum(mistake.details["type"] in _ABSENT for mistake in mistakes)
    return absent, len(mistakes)


def _path_of(details: ErrorDetails, place: Place) -> Path:
    """The place at fault; a union without a usable tag is at fault in the field that carries the tag."""
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        name: str = details["ctx"]["discriminator"]
        if name.startswith("'"):
            return (*place.path, name.strip("'"))
    return place.path


def _sentence(path: Path, found: Sequence[_Mistake], what: str) -> str:
    _, details, place = found[0]
    name = dotted(path) or f"the {what}"
    match details["type"]:
        case "json_invalid":
            return f"the {what} is not valid JSON: {details['ctx']['error']}"
        case kind if kind in _ABSENT:
            return f"{name} is required"
        case "extra_forbidden":
            return _unknown(name, path, place)
        case "value_error" | "assertion_error":
            reason = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            return f"{name}: {reason}" if path else reason
    kinds = dict.fromkeys(_KINDS[each.details["type"]] for each in found if each.details["type"] in _KINDS)
    rights = [f"be {' or '.join(kinds)}"] if kinds else []
    rights += dict.fromkeys(right for each in found if (right := _right(each.details)))
    return f"{name} must {' or must '.join(rights)}{_given(details)}" if rights else f"{name}: {details['msg']}"


def _limit(found: Sequence[_Mistake]) -> float | None:
    """The most that is taken, where there was more."""
    for _, details, _ in found:
        name = _MOST.get(details["type"])
        bound = details.get("ctx", {}).get(name) if name is not None else None
        if isinstance(bound, int | float):
            return _plain(bound)
    return None


def _unknown(name: str, path: Path, place: Place) -> str:
    guess = nearest(str(path[-1]), place.fields)
    if guess:
        return f"unknown field {name}; did you mean {dotted((*path[:-1], guess))}?"
    return f"unknown field {name}; valid here: {', '.join(sorted(place.fields)) or 'none'}"


def right(details: ErrorDetails) -> str | None:
    """What would be right, as the rest of a sentence that begins with "must"; None where pydantic says it otherwise."""
    kind = _KINDS.get(details["type"])
    return f"be {kind}" if kind is not None else _right(details)


def _right(details: ErrorDetails) -> str | None:
    """The same beside the kind of value, of which a field of several kinds has more than one."""
    context: Mapping[str, Any] = details.get("ctx", {})
    message = details["msg"]
    match details["type"]:
        case kind if kind in _KINDS:
            return None
        case "literal_error" | "enum":
            return f"be {context['expected']}"
        case "union_tag_invalid":
            return f"be one of {context['expected_tags']}"
        case kind if kind in _BOUNDS:
            if kind in _AT_LEAST_ONE and context["min_length"] == 1:
                return "not be empty"
            return _BOUNDS[kind].format_map({name: _plain(bound) for name, bound in context.items()})
    return next((message.removeprefix(start) for start in _SHOULD if message.startswith(start)), None)


@overload
def _plain(bound: float) -> float: ...
@overload
def _plain(bound: object) -> object: ...
def _plain(bound: object) -> object:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _given(details: ErrorDetails) -> str:
    """What was there instead: of a wrong type its kind, of a wrong length the length, of a wrong choice or number itself."""
    kind, value = details["type"], details["input"]
    if kind.endswith("_type") or kind == "none_required":
        return f", not {_kind_of(value)}"
    if kind.endswith(("too_short", "too_long")):
        return f", not {len(value)}" if value else ""
    if kind == "union_tag_invalid":
        value = details["ctx"]["tag"]
    elif kind not in _BOUNDS and kind not in _KINDS and kind not in ("literal_error", "enum"):
        return ""
    if isinstance(value, list | dict):
        return f", not {_kind_of(value)}"
    return f", not {_cut(json.dumps(value, ensure_ascii=False, default=str), _LONGEST_VALUE)}"


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return "a number"
        case str() | bytes():
            return "a string"
        case Mapping():
            return "an object"
    return "a list"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"
