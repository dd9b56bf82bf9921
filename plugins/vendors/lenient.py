"""JSON of vendors that differ from their own reference: what is not needed is left out, what changes the answer is an error."""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)

NEEDED = "NEEDED"
"""Name of a struct's class variable: its fields that hold a part of the answer. One of another type is an error."""

_MISFIT = object()


class Reader(Generic[T]):
    """Decodes one kind of document: strictly, which is quick, and leniently where that fails."""

    __slots__ = ("_fields", "_type", "strict")

    def __init__(self, type: type[T]) -> None:
        self._type = type
        self._fields: inspect.Type | None = None
        self.strict = msgspec.json.Decoder(type).decode

    def read(self, data: bytes | str) -> T:
        """The document, strictly or leniently; halves of characters in its texts become U+FFFD."""
        try:
            return self.strict(data)
        except (msgspec.MsgspecError, UnicodeError):
            return self._fitted(read_json(data))

    def leniently(self, data: bytes) -> T:
        """The document without the fields that do not fit. Halves of surrogate pairs stand in its texts.

        Raises `msgspec.DecodeError` for what is no JSON object, `msgspec.ValidationError` for a needed field that does not fit.
        """
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise msgspec.DecodeError("the document is no JSON") from None
        return self._fitted(value)

    def _fitted(self, value: Any) -> T:
        # A vendor that is odd once is so in every document.
        fields = self._fields = self._fields or inspect.type_info(self._type)
        found = _fit(value, fields, True)
        if found is _MISFIT:
            raise msgspec.ValidationError(f"a JSON object is due, not {type(value).__name__}")
        return found  # type: ignore[no-any-return]


def read_json(data: bytes | str) -> Any:
    """Any JSON document, also one of Python's own with NaN; halves of characters in it become U+FFFD.

    Raises `msgspec.DecodeError` for what is none.
    """
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise msgspec.DecodeError("the document is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        # What is no number is left out, as null is.
        value = json.loads(data, parse_constant=lambda _: None)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise msgspec.DecodeError("the document is no JSON") from None


def _fit(value: Any, kind: inspect.Type, needed: bool) -> Any:
    """The value as this type has it, or `_MISFIT`."""
    match kind:
        case inspect.AnyType():
            return value
        case inspect.RawType():
            return msgspec.Raw(json.dumps(value).encode())
        case inspect.NoneType():
            return None if value is None else _MISFIT
        case inspect.StrType():
            return value if isinstance(value, str) else _MISFIT
        case inspect.BytesType():
            return _bytes(value)
        case inspect.BoolType():
            return value if isinstance(value, bool) else _MISFIT
        case inspect.IntType():
            return whole_number(value)
        case inspect.FloatType():
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else _MISFIT
        case inspect.UnionType():
            fits = (_fit(value, each, needed) for each in kind.types)
            return next((each for each in fits if each is not _MISFIT), _MISFIT)
        case inspect.ListType():
            return _list(value, kind, needed)
        case inspect.DictType():
            return value if isinstance(value, dict) else _MISFIT
        case inspect.StructType():
            return _struct(value, kind, needed)
    return _MISFIT


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        return _MISFIT


def number(value: Any) -> float | None:
    """A number as vendors write it: 1.5 or "1.5"; None for what is none."""
    if isinstance(value, str) and len(value) < 20:
        try:
            value = float(value)
        except ValueError:
            return None
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if fits else None


def whole_number(value: Any) -> Any:
    """A count as vendors write it: 7, 7.0, 7.4 or "7"."""
    if isinstance(value, bool):
        return _MISFIT
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return round(value)
    return value if isinstance(value, int) else _MISFIT


def _list(value: Any, kind: inspect.ListType, needed: bool) -> Any:
    if not isinstance(value, list):
        return _MISFIT
    fits = [_fit(each, kind.item_type, needed) for each in value]
    if needed and any(each is _MISFIT for each in fits):
        raise msgspec.ValidationError("an item of a list is of another type")
    return [each for each in fits if each is not _MISFIT]


def _struct(value: Any, kind: inspect.StructType, needed: bool) -> Any:
    if not isinstance(value, dict):
        return _MISFIT
    of_answer = getattr(kind.cls, NEEDED, ())
    fields: dict[str, Any] = {}
    for field in kind.fields:
        given = value.get(field.encode_name)
        if given is None:
            continue
        found = _fit(given, field.type, needed and field.name in of_answer)
        if found is not _MISFIT:
            fields[field.name] = found
        elif needed and field.name in of_answer:
            raise msgspec.ValidationError(f"{field.encode_name} is of type {type(given).__name__}")
    try:
        return kind.cls(**fields)
    except TypeError:  # a field without a default is missing
        return _MISFIT
