"""JSON schemas in words, for tables that people read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

Json = Mapping[str, Any]


def model_schema(model: type[BaseModel]) -> tuple[Json, Mapping[str, Json]]:
    """The schema of a body, and the schemas that it speaks of by their names."""
    schema = model.model_json_schema(by_alias=True)
    return schema, schema.get("$defs", {})


def struct_schema(struct: type[msgspec.Struct]) -> tuple[Json, Mapping[str, Json]]:
    """The schema of an event or a frame, and the schemas that it speaks of by their names."""
    schema = msgspec.json.schema(struct)
    definitions: dict[str, Json] = schema["$defs"]
    return definitions[struct.__name__], definitions


def type_text(schema: Json) -> str:
    """A type in words; null is told by the field's being optional."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return " or ".join(code(value) for value in schema["enum"] if value is not None)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return " or ".join(dict.fromkeys(type_text(each) for each in branches if each.get("type") != "null"))
    match schema.get("type"):
        case "array":
            inner = type_text(schema.get("items", {}))
            return f"list of ({inner})" if " or " in inner else f"list of {inner}"
        case "object":
            inner = type_text(values) if isinstance(values := schema.get("additionalProperties"), Mapping) else ""
            return f"object of {inner}" if inner and inner != "anything" else "object"
        case "number":
            return "number"
        case str() as kind:
            return kind
    return "anything"


def code(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def field_rows(schema: Json, *, leave_out: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str]]:
    """Name, type and description of each field; an optional one tells its default where that is not null."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if name in leave_out:
            continue
        told = [field.get("description", ""), bounds(field)]
        default = field.get("default")
        if name in required:
            told.append("Required.")
        elif default not in (None, "", [], {}):
            told.append(f"Default {code(default)}.")
        yield f"`{name}`", type_text(field), " ".join(part for part in told if part)


def bounds(field: Json) -> str:
    """The limits of a value that a schema names, also where it may be null."""
    for each in (field, *field.get("anyOf", ())):
        low, high = each.get("minimum"), each.get("maximum")
        if low is not None and high is not None:
            return f"{low:g} to {high:g}."
        if low is not None:
            return f"{low:g} or more."
        if "maxLength" in each:
            return f"At most {each['maxLength']} characters."
    return ""


def description(schema: Json) -> str:
    """What a type says of itself, on one line."""
    return " ".join(inspect.cleandoc(schema.get("description", "")).split())


def table(*columns: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; pipes inside cells are kept from ending them."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def fenced(value: object, info: str = "json") -> str:
    """A value as a JSON block; short ones on one line, as frames go over the wire."""
    line = json.dumps(value, ensure_ascii=False)
    text = line if len(line) <= 110 else json.dumps(value, ensure_ascii=False, indent=2)
    return f"```{info}\n{text}\n```"
