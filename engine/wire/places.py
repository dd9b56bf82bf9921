"""Where in a JSON document a validation error is, told without pydantic's names for the branches of unions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel

Path: TypeAlias = tuple[str | int, ...]
Schema: TypeAlias = Mapping[str, Any]
Definitions: TypeAlias = dict[str, Schema]

_UNIONS = ("union", "tagged-union")


class Place(NamedTuple):
    """A spot in a document: the steps that its sender would take to it.

    `fields` are the names that may stand at the last step. Where the way led through a union, `union` is the place of the
    first one and `branch` pydantic's name for the branch that was tried.
    """

    path: Path
    fields: frozenset[str]
    union: Path | None = None
    branch: str | int = ""


def locate(model: type[BaseModel], loc: Sequence[str | int]) -> Place:
    """The place that pydantic's `loc` means. A step that the model does not explain is taken as written."""
    definitions: Definitions = {}
    here = [_open(model.__pydantic_core_schema__, definitions)]
    path: list[str | int] = []
    fields: frozenset[str] = frozenset()
    union: Path | None = None
    branch: str | int = ""
    for step in loc:
        children = [child for schema in here for child in _children(schema, step)]
        if not children and any(schema["type"] in _UNIONS for schema in here):
            here = [_open(choice, definitions) for schema in here for choice in _branch(schema, step)]
            if union is None:
                union, branch = tuple(path), step
        elif step != "[key]":  # pydantic's mark for a mistake in the key itself
            fields = frozenset(name for schema in here for name in _names(schema))
            here = [_open(child, definitions) for child in children]
            path.append(step)
    return Place(tuple(path), fields, union, branch)


def _open(schema: Schema, definitions: Definitions) -> Schema:
    """The schema inside its wrappers: defaults, nullables, functions, models, references."""
    while True:
        match schema["type"]:
            case "definitions":
                definitions.update({each["ref"]: each for each in schema["definitions"]})
                schema = schema["schema"]
            case "definition-ref":
                schema = definitions[schema["schema_ref"]]
            case "lax-or-strict":
                schema = schema["lax_schema"]
            case "json-or-python":
                schema = schema["json_schema"]
            case _ if isinstance(inner := schema.get("schema"), dict):
                schema = inner
            case _:
                return schema


def _children(schema: Schema, step: str | int) -> Iterator[Schema]:
    kind = schema["type"]
    if kind in ("model-fields", "typed-dict"):
        for name, field in schema["fields"].items():
            if step == _spelling(name, field):
                yield field["schema"]
    elif kind == "dict" and "values_schema" in schema:
        yield schema["values_schema"]
    elif isinstance(step, int) and "items_schema" in schema:
        items = schema["items_schema"]
        yield from items if isinstance(items, list) else (items,)


def _branch(schema: Schema, label: str | int) -> Iterator[Schema]:
    """The branches of a union that `label` can mean."""
    if schema["type"] == "tagged-union":
        if label in schema["choices"]:
            yield schema["choices"][label]
    elif schema["type"] == "union":
        choices = [choice if isinstance(choice, tuple) else (choice, _label(choice)) for choice in schema["choices"]]
        named = [choice for choice, name in choices if str(label).startswith(name)]
        yield from named or [choice for choice, _ in choices]


def _label(schema: Schema) -> str:
    """The start of pydantic's name for a branch."""
    return str(schema["cls"].__name__ if schema["type"] == "model" else schema["type"])


def _names(schema: Schema) -> Iterator[str]:
    if schema["type"] in ("model-fields", "typed-dict"):
        for name, field in schema["fields"].items():
            yield _spelling(name, field)


def _spelling(name: str, field: Schema) -> str:
    alias = field.get("validation_alias")
    return alias if isinstance(alias, str) else name
