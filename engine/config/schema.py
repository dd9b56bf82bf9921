"""What a settings model says about its keys: their names, nested tables, secrets, other variable names."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from engine.config.keys import KeyPath
from engine.config.secrecy import names_secret


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by the key that an operator writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def env_names(field: FieldInfo) -> tuple[str, ...]:
    """Other variables a value may come from, `Field(json_schema_extra={"env": ["OPENAI_API_KEY"]})`."""
    extra = field.json_schema_extra
    names = extra.get("env") if isinstance(extra, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def table_model(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is one table, neither optional nor repeated."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The first model inside an annotation: `Voice`, `Voice | None`, `list[Voice]`, `dict[str, Voice]`."""
    return next((part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def is_secret(model: type[BaseModel], path: KeyPath) -> bool:
    """Whether the value at this path inside the model's table must not be shown."""
    annotation: Any = model
    for step in path:
        if isinstance(step, str) and names_secret(step):
            return True
        inner = nested_model(annotation)
        field = fields_of(inner).get(step) if inner and isinstance(step, str) else None
        # A step into a list or a free table stays at the same annotation.
        annotation = field.annotation if field else annotation
    return any(part in (SecretStr, SecretBytes) for part in _parts(annotation))


def keys_beside(model: type[BaseModel], path: KeyPath) -> tuple[str, ...]:
    """The valid keys of the table in which the last step of the path stands."""
    current: type[BaseModel] | None = model
    for step in path[:-1]:
        field = fields_of(current).get(step) if current and isinstance(step, str) else None
        current = nested_model(field.annotation) if field else current
    return tuple(fields_of(current)) if current else ()


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)
