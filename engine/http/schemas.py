"""JSON schemas of pydantic models and msgspec structs under one roof of names, for OpenAPI and AsyncAPI."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from pydantic import TypeAdapter

from engine.log import get_logger

log = get_logger(__name__)

Json: TypeAlias = dict[str, Any]
Mode: TypeAlias = Literal["validation", "serialization"]

PREFIX = "#/components/schemas/"


class Schemas:
    """The schemas of all the types that a document speaks of.

    `mode` is pydantic's: `validation` for what comes in, `serialization` for what goes out. Two types of one name and
    different shape get different names, in a way that does not depend on the order.
    """

    def __init__(self, types: Iterable[tuple[Any, Mode]]) -> None:
        wanted = list(dict.fromkeys(types))
        structs = [kind for kind, _ in wanted if _is_struct(kind)]
        models = [(kind, mode) for kind, mode in wanted if not _is_struct(kind)]
        self._by_type: dict[tuple[Any, Mode], Json] = {}
        self.components: Json = {}
        try:
            self._add(models, structs)
        except Exception:
            # One type of a plugin that has no schema must not cost the document of all others.
            self._add(
                [each for each in models if self._is_described(each, _describe_model)],
                [each for each in structs if self._is_described((each, "serialization"), _describe_struct)],
            )

    def _add(self, models: list[tuple[Any, Mode]], structs: list[Any]) -> None:
        self.components = self._add_models(models)
        self._add_structs(structs)

    def _is_described(self, wanted: tuple[Any, Mode], describe: Callable[[Any, Mode], object]) -> bool:
        """Whether a type has a schema; one that has none is anything at all in the document, and is logged."""
        try:
            describe(*wanted)
        except Exception as error:
            log.error("type_has_no_schema", type=repr(wanted[0]), reason=str(error).partition("\n")[0])
            self._by_type[wanted] = {"description": "This type cannot be described."}
            return False
        return True

    def schema(self, kind: Any, mode: Mode = "serialization") -> Json:
        """The schema of a type, as a reference to `components` where it has a name."""
        return copy.deepcopy(self._by_type[kind, "serialization" if _is_struct(kind) else mode])

    def inline(self, kind: Any, mode: Mode = "serialization") -> Json:
        """The schema of a type with its own properties in sight, to add to."""
        schema = self.schema(kind, mode)
        while "$ref" in schema:
            schema = copy.deepcopy(self.components[schema["$ref"].removeprefix(PREFIX)])
        return schema

    def _add_models(self, models: list[tuple[Any, Mode]]) -> dict[str, Json]:
        keyed = [(str(at), mode, TypeAdapter(kind)) for at, (kind, mode) in enumerate(models)]
        schemas, shared = TypeAdapter.json_schemas(keyed, ref_template=PREFIX + "{model}")
        for at, (kind, mode) in enumerate(models):
            self._by_type[kind, mode] = dict(schemas[str(at), mode])
        return dict(shared.get("$defs", {}))

    def _add_structs(self, structs: list[Any]) -> None:
        schemas, components = msgspec.json.schema_components(structs, ref_template=PREFIX + "{name}")
        clashes = {name for name, schema in components.items() if self.components.get(name, schema) != schema}
        for name, schema in components.items():
            schema = dict(schema)
            if "description" in schema:
                schema["description"] = inspect.cleandoc(schema["description"])
            self.components[_apart(name, clashes)] = _renamed(schema, clashes)
        for kind, schema in zip(structs, schemas, strict=True):
            self._by_type[kind, "serialization"] = _renamed(schema, clashes)


def prune(document: Json) -> None:
    """Take away the schemas that nothing in the document refers to."""
    schemas: dict[str, Json] = document["components"]["schemas"]
    rest = {key: value for key, value in document.items() if key != "components"}
    others = {key: value for key, value in document["components"].items() if key != "schemas"}
    used: set[str] = set()
    waiting = list(_references([rest, others]))
    while waiting:
        name = waiting.pop()
        if name not in used and name in schemas:
            used.add(name)
            waiting.extend(_references(schemas[name]))
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}


def _describe_model(kind: Any, mode: Mode) -> object:
    return TypeAdapter(kind).json_schema(mode=mode)


def _describe_struct(kind: Any, mode: Mode) -> object:
    return msgspec.json.schema(kind)


def _is_struct(kind: Any) -> bool:
    """True for msgspec's own types, also inside a list or a union."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return True
    return any(_is_struct(each) for each in get_args(kind))


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(PREFIX)
            else:
                yield from _references(value)
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _references(each)


def _apart(name: str, clashes: set[str]) -> str:
    return f"{name}Struct" if name in clashes else name


def _renamed(part: Any, clashes: set[str]) -> Any:
    """The schema with references to clashing names turned to the structs' own."""
    if isinstance(part, Mapping):
        return {
            key: PREFIX + _apart(value.removeprefix(PREFIX), clashes)
            if key == "$ref" and isinstance(value, str)
            else _renamed(value, clashes)
            for key, value in part.items()
        }
    if isinstance(part, list | tuple):
        return [_renamed(each, clashes) for each in part]
    return part
