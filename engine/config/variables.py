"""Environment variables that look like settings and are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from engine.config.keys import nearest
from engine.config.layers import PREFIX
from engine.config.raw import RawConfig
from engine.config.references import referenced_variables
from engine.config.schema import env_names, fields_of, table_model

SHORT_PREFIX = "BETTERAI_"

OWN = frozenset(("BETTERAI_CONFIG", "BETTERAI_SERVER", "BETTERAI_KEY", "BETTERAI_URL", "BETTERAI_HTTP_URL"))
"""Variables of the program that are no settings."""

LIKENESS = 0.9
"""So alike must a name be to a setting's. Kubernetes sets BETTERAI_SERVICE_HOST for a service of our name: not alike enough."""


def ignored_variables(raw: RawConfig, tables: Mapping[str, type[BaseModel]]) -> dict[str, str]:
    """Variables such as BETTERAI_SERVER_PORT, which set nothing, each with the variable that was meant.

    A name that the configuration takes by `${env:NAME}` is in use, and a name that is like no setting belongs to somebody else.
    """
    meant: dict[str, str] = {}
    used = set(OWN)
    for table, model in tables.items():
        for path, names in _settings(model, (table,)):
            key = ".".join(path).replace(".", "__").upper()
            meant[key.replace("__", "_")] = f"{PREFIX}{key}"
            used.update(names)
    used.update(_referenced(raw.layers.values))
    found: dict[str, str] = {}
    for name in sorted(raw.environ):
        short = name.upper().removeprefix(SHORT_PREFIX)
        if name.upper() in used or short == name.upper() or "__" in name:
            continue
        if (near := nearest(short, meant, LIKENESS)) is not None:
            found[name] = meant[near]
    return found


def _settings(model: type[BaseModel], at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The path of every setting of a table, and the other variables that it is taken from."""
    for key, field in fields_of(model).items():
        inner = table_model(field)
        if inner is not None:
            yield from _settings(inner, (*at, key))
        else:
            yield (*at, key), env_names(field)


def _referenced(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _referenced(item)
    elif isinstance(value, str):
        yield from referenced_variables(value)
