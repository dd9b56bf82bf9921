"""The layers of the configuration, laid over each other, each value with its origin."""

import copy
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config.errors import ConfigError
from engine.config.keys import KeyPath, key_text
from engine.config.locate import locate

PREFIX = "BETTERAI__"


@dataclass(slots=True)
class Layers:
    """The merged values, where each came from, and the spelling of those that came as text."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict, repr=False)

    def put(self, path: KeyPath, value: Any, origin: str) -> None:
        """Lay one value over what is there: tables are merged, anything else is replaced."""
        table = self._table_of(path, origin)
        key = path[-1]
        if isinstance(value, dict) and isinstance(table.get(key, {}), dict):
            table.setdefault(key, {})
            self.origins.setdefault(path, origin)
            for name, item in value.items():
                self.put((*path, name), item, origin)
        else:
            self._forget(path)
            table[key] = value
            self.origins[path] = origin

    def drop(self, path: KeyPath) -> None:
        """Take away what stands at a path, if anything does."""
        table: Any = self.values
        for step in path[:-1]:
            inside = step in table if isinstance(table, dict) else isinstance(table, list) and isinstance(step, int)
            if not inside:
                return
            table = table[step]
        if isinstance(table, dict):
            table.pop(path[-1], None)
            self._forget(path)

    def copy(self) -> "Layers":
        return Layers(copy.deepcopy(self.values), dict(self.origins), dict(self.texts))

    def _table_of(self, path: KeyPath, origin: str) -> dict[str | int, Any]:
        table: Any = self.values
        for depth, key in enumerate(path[:-1], start=1):
            table = table.setdefault(key, {})
            self.origins.setdefault(path[:depth], origin)
            if not isinstance(table, dict):
                message = f"{key_text(path[:depth])} is not a table, so it has no key {key_text(path[depth:])}"
                raise ConfigError(key=key_text(path), origin=origin, message=message)
        return table  # type: ignore[no-any-return]  # a TOML table, whose keys are checked one by one

    def _forget(self, path: KeyPath) -> None:
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]
            self.texts.pop(known, None)


def read_file(path: Path) -> Layers:
    """The file's tables; each key's origin is `file:line`. A file that cannot be read is a ConfigError."""
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        values = tomllib.loads(text)
        lines = locate(text)
    except OSError as error:
        raise ConfigError(key="", origin=str(path), message=f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(key="", origin=f"{path}:{line}", message="is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from None
    except RecursionError:
        raise ConfigError(key="", origin=str(path), message="is nested too deeply") from None
    return Layers(values, {key: f"{path}:{line}" for key, line in lines.items()})


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    reason, _, place = message.rpartition(" (at ")
    words = place.rstrip(")").replace(",", " ").split()
    line = words[1] if words[:1] == ["line"] else str(text.count("\n") + 1)
    column = f", column {words[3]}" if words[2:3] == ["column"] else ""
    return ConfigError(key="", origin=f"{path}:{line}{column}", message=f"is not valid TOML: {reason or message}")


def overlay_environment(layers: Layers, environ: Mapping[str, str]) -> list[ConfigError]:
    """Lay `BETTERAI__TABLE__KEY=value` over the layers below, shallow names first; returns what is wrong."""
    problems: list[ConfigError] = []
    seen: dict[KeyPath, str] = {}
    for name, steps in sorted(_names(environ), key=lambda item: (len(item[1]), item[0])):
        origin = f"environment variable {name}"
        path = _existing_spelling(layers.values, steps)
        try:
            _refuse_malformed(name, path, origin, seen)
            _put_text(layers, path, environ[name], origin)
        except ConfigError as error:
            problems.append(error)
        seen[path] = name
    return problems


def _names(environ: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The variables that are meant for us, with their steps; one leading underscore is taken for a slip."""
    ours = [name for name in environ if name.upper().startswith("BETTERAI_") and "__" in name]
    return [(name, name[len("BETTERAI") :].removeprefix("_").removeprefix("_").lower().split("__")) for name in ours]


def _refuse_malformed(name: str, path: KeyPath, origin: str, seen: Mapping[KeyPath, str]) -> None:
    if not name.upper().startswith(PREFIX):
        right = PREFIX + "__".join(str(step) for step in path).upper()
        raise ConfigError(key=key_text(path), origin=origin, message="starts with one underscore", nearest=right)
    if "" in path:
        message = "has an empty part; write BETTERAI__TABLE__KEY"
        raise ConfigError(key="", origin=origin, message=message)
    if path in seen:
        raise ConfigError(key=key_text(path), origin=origin, message=f"is also given by {seen[path]}")


def _existing_spelling(values: Mapping[str, Any], steps: list[str]) -> KeyPath:
    """The path with each step spelt as the file spells it: names of variables say nothing about case."""
    path: KeyPath = ()
    table: Any = values
    for step in steps:
        known = {key.lower(): key for key in table} if isinstance(table, dict) else {}
        key = known.get(step, step)
        table = table.get(key) if isinstance(table, dict) else None
        path = (*path, key)
    return path


def _put_text(layers: Layers, path: KeyPath, text: str, origin: str) -> None:
    value = parse_text(text)
    layers.put(path, value, origin)
    if not isinstance(value, str | dict | list):
        layers.texts[path] = text


def parse_text(text: str) -> Any:
    """A JSON table, list, number, boolean or null as such; any other text as it is."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
