"""Every body that a client may send, and what bounds its texts, lists and objects."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

import engine
import plugins
from engine.api import Body
from plugins.openai_api.realtime_bodies import Part

LISTS = ("list", "tuple", "set", "frozenset")
LENGTHS = ("max_length",)


class Bounded(NamedTuple):
    """A list, an object or a text in a field of a body; `most` is None where nothing bounds it."""

    model: type[BaseModel]
    field: str
    kind: str
    most: int | None

    @property
    def place(self) -> str:
        return f"{self.model.__module__}.{self.model.__name__}.{self.field}"


@cache
def bodies() -> tuple[type[BaseModel], ...]:
    """The bodies of commands, routes, dialects and events of calls, all files of the product loaded."""
    for package in (engine, plugins):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("_child"):
                importlib.import_module(found.name)
    ours = [model for root in (Body, Part) for model in _below(root)]
    return tuple(sorted(set(ours), key=lambda model: (model.__module__, model.__name__)))


def bounded() -> Iterator[Bounded]:
    """What each field of each body holds."""
    for model in bodies():
        if model.__module__.split(".")[0] in ("engine", "plugins"):
            yield from fields_of(model)


def fields_of(model: type[BaseModel]) -> Iterator[Bounded]:
    """What each field of a body holds."""
    model.model_rebuild()
    longest = model.model_config.get("str_max_length")
    for field, schema in _fields(model.__pydantic_core_schema__, model):
        for kind, most in _inside(schema):
            yield Bounded(model, field, kind, longest if kind == "str" and most is None else most)


def _below(root: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in root.__subclasses__():
        yield child
        yield from _below(child)


def _fields(schema: Any, model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """The fields of the model itself, wherever its schema stands among those of others."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "model" and schema["cls"] is model:
            yield from _members(schema["schema"])
            return
        children: Any = schema.values()
    else:
        children = schema if isinstance(schema, list | tuple) else ()
    for child in children:
        found = list(_fields(child, model))
        if found:
            yield from found
            return


def _members(schema: Any) -> Iterator[tuple[str, Any]]:
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    for name, field in schema["fields"].items():
        yield name, field["schema"]


def _inside(schema: Any) -> Iterator[tuple[str, int | None]]:
    """The lists, objects and texts of a field, down to the next model, which is looked at for itself."""
    if isinstance(schema, list | tuple):
        for child in schema:
            yield from _inside(child)
    elif isinstance(schema, Mapping):
        kind = schema.get("type")
        if kind in ("model", "definition-ref"):
            return
        if kind in LISTS:
            yield "list", schema.get("max_length")
        elif kind in ("dict", "str"):
            yield kind, schema.get("max_length")
        for name, child in schema.items():
            if name not in ("metadata", "serialization", "default"):
                yield from _inside(child)
