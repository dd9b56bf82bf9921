"""The settings as documentation: a row per key for the docs, a commented table for the configuration file."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from engine.config.keys import key_text, split_key
from engine.config.layers import PREFIX
from engine.config.schema import env_names, fields_of, table_model

_NAMES: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    SecretStr: "secret string",
    SecretBytes: "secret string",
}
_WIDTH = 118


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDoc:
    """One key: `default` is written as TOML, empty where nothing is set; `env` names every variable it is read from."""

    key: str
    type: str
    default: str
    description: str
    env: tuple[str, ...]


def describe(tables: Mapping[str, type[BaseModel]]) -> list[SettingDoc]:
    """Every key of the tables, nested ones too, in the order of their models."""
    return [doc for name, model in tables.items() for doc in _describe_table(name, model)]


def render(name: str, model: type[BaseModel]) -> str:
    """The table as it stands in the configuration file: each key with its default, under its description.

    Keys without a default, and those that a vendor's variable may set, are commented out:
    a value in the file would win over the variable.
    """
    lines = [f"[{name}]"]
    nested: list[str] = []
    for key, field in fields_of(model).items():
        if inner := table_model(field):
            nested += ["", render(f"{name}.{key}", inner)]
            continue
        off = "" if _default(field) and not env_names(field) else "# "
        lines += [f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH)]
        lines += [f"{off}{key_text((key,))} = {_default(field) or _example(field)}".rstrip()]
    return "\n".join([*lines, *nested])


def _describe_table(name: str, model: type[BaseModel]) -> Iterator[SettingDoc]:
    for key, field in fields_of(model).items():
        path = (*split_key(name), key)
        if inner := table_model(field):
            yield from _describe_table(key_text(path), inner)
            continue
        variable = PREFIX + "__".join(str(step) for step in path).upper()
        yield SettingDoc(
            key=key_text(path),
            type=type_text(field.annotation),
            default=_default(field),
            description=field.description or "",
            env=(variable, *env_names(field)),
        )


def type_text(annotation: Any) -> str:
    """A type in words: `integer`, `"a" or "b"`, `list of string`, `table of string`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return " or ".join(_toml(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_text(part) for part in arguments if part is not NoneType)
    if origin is not None and issubclass(origin, Mapping):
        return f"table of {type_text(arguments[1])}"
    if origin is not None:
        return f"list of {type_text(arguments[0])}"
    return _NAMES.get(annotation, "table" if _is_model(annotation) else "any")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _default(field: FieldInfo) -> str:
    value = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    # A secret has no default worth showing.
    return "" if value is None or isinstance(value, SecretStr | SecretBytes) else _toml(value)


def _example(field: FieldInfo) -> str:
    """What stands in for a default that is none: the field's first example, or the shape of its value."""
    if field.examples:
        return _toml(field.examples[0])
    kind = type_text(field.annotation)
    return {"integer": "100", "number": "1.0", "boolean": "true", "secret string": '"${env:NAME}"'}.get(kind, '"…"')


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_text((str(key),))} = {_toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)
