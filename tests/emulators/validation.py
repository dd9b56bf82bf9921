"""Request checks from the official SDKs' own parameter types, as strict as the vendors are."""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator

BRANCH_TAGS = frozenset({"role", "type"})
TYPE_NAMES = frozenset({"bool", "dict", "float", "int", "list", "none", "str"})


class Invalid(Exception):
    """A body that the SDK itself would not send; `param` is the dotted place, `reason` the sentence."""

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(f"{param}: {reason}" if param else reason)
        self.param = param
        self.reason = reason


class RequestCheck:
    """Holds JSON bodies to an SDK `TypedDict`: unknown fields anywhere and strings for numbers are errors.

    Where the SDK has a type for streaming and one for not, give it the latter; `"stream": true` passes with it.
    """

    def __init__(self, params: Any, extra_fields: Iterable[str] = ()) -> None:
        """`extra_fields` names top-level fields that the vendor takes and the SDK's type does not know."""
        self._validator = SchemaValidator(_strict(TypeAdapter(params).core_schema))
        self._extra_fields = frozenset(extra_fields)

    def __call__(self, body: Any) -> None:
        """Raises Invalid for the most telling error."""
        if not isinstance(body, dict):
            raise Invalid("", "the request body must be a JSON object")
        known = {name: value for name, value in body.items() if name not in self._extra_fields}
        if known.get("stream") is True:
            # The SDKs type the two ways to answer apart; as a union, each error would be told once for the other.
            del known["stream"]
        try:
            self._validator.validate_json(_json(known), strict=True)
        except ValidationError as failure:
            raise most_telling(failure) from None


def most_telling(failure: ValidationError) -> Invalid:
    """The deepest error, leaving aside union branches whose "role" or "type" shows that they were never meant."""
    errors = failure.errors(include_url=False, include_context=False, include_input=False)
    foreign = [error["loc"][:-1] for error in errors if _is_branch_tag(error)]
    meant = [error for error in errors if not any(error["loc"][: len(branch)] == branch for branch in foreign)]
    candidates = meant or [error for error in errors if _is_branch_tag(error)]
    error = max(candidates, key=lambda each: len(each["loc"]))
    return Invalid(".".join(_place(error["loc"])), error["msg"])


def _is_branch_tag(error: ErrorDetails) -> bool:
    """A tag is told apart by a word that a branch does not know, or by its absence."""
    return error["type"] in ("literal_error", "missing") and error["loc"][-1] in BRANCH_TAGS


def _place(location: tuple[int | str, ...]) -> Iterable[str]:
    """Drop the names of union branches, which pydantic puts between the keys of the body."""
    return (str(key) for key in location if isinstance(key, int) or not _is_branch(key))


def _is_branch(key: str) -> bool:
    return not key.isidentifier() or key[0].isupper() or key in TYPE_NAMES


def _json(body: Any) -> bytes:
    return TypeAdapter(Any).dump_json(body)


def _strict(schema: Any) -> Any:
    """Copy a core schema with closed objects, and with lists where the SDK's `Iterable` would be read lazily."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if isinstance(schema, tuple):
        return tuple(_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return schema
    copy = {name: _strict(value) for name, value in schema.items()}
    match copy.get("type"):
        case "typed-dict":
            return {**copy, "extra_behavior": "forbid"}
        case "generator":
            return {**copy, "type": "list"}
    return copy
