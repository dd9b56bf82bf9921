"""One table on its way into its model: references resolved, variables of the vendors' SDKs filled in."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from engine.config.errors import ConfigError
from engine.config.keys import KeyPath, key_text
from engine.config.layers import Layers, parse_text
from engine.config.references import UnresolvedReference, resolve
from engine.config.schema import env_names, fields_of, table_model


class Draft:
    """The values of one table; paths are relative to it."""

    def __init__(self, table: KeyPath, values: dict[str, Any], layers: Layers, environ: Mapping[str, str]) -> None:
        self.table = table
        self.problems: list[ConfigError] = []
        self.hidden: set[KeyPath] = set()
        self._layers = layers
        self._environ = environ
        self._sdk_origins: dict[KeyPath, str] = {}
        skip = len(table)
        self._texts = {path[skip:]: text for path, text in layers.texts.items() if path[:skip] == table}
        self.values: dict[str, Any] = self._resolved(values, ())

    def fill_from_sdk_environment(self, model: type[BaseModel]) -> None:
        """Give each key that is not set the value of the first variable its field names, if that is set."""
        self._fill(model, self.values, ())

    def spell_as_text(self, paths: Iterable[KeyPath]) -> bool:
        """Put back the text of variables that were read as JSON; whether there was any at these paths.

        A password of digits is a number to JSON, and only the model knows that a text was due.
        """
        texts = [path for path in paths if path in self._texts]
        for path in texts:
            *parents, key = path
            table: Any = self.values
            for step in parents:
                table = table[step]
            table[key] = self._texts.pop(path)
        return bool(texts)

    def origin(self, path: KeyPath) -> str | None:
        """Where the value comes from, or else the closest table around it."""
        whole = (*self.table, *path)
        for length in range(len(whole), 0, -1):
            found = self._sdk_origins.get(whole[len(self.table) : length]) or self._layers.origins.get(whole[:length])
            if found:
                return found
        return None

    def value(self, path: KeyPath) -> Any:
        """What was given at the path, None if nothing was."""
        value: Any = self.values
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def text(self, path: KeyPath) -> str:
        return key_text((*self.table, *path))

    def _fill(self, model: type[BaseModel], values: dict[str, Any], at: KeyPath) -> None:
        for key, field in fields_of(model).items():
            inner = table_model(field)
            if inner and isinstance(values.get(key, {}), dict):
                self._fill_nested(inner, values, (*at, key))
            name = next((name for name in env_names(field) if self._environ.get(name)), None)
            if name and key not in values:
                values[key] = parse_text(self._environ[name])
                self._texts[*at, key] = self._environ[name]
                self._sdk_origins[*at, key] = f"environment variable {name}"

    def _fill_nested(self, model: type[BaseModel], values: dict[str, Any], at: KeyPath) -> None:
        inner = dict(values.get(str(at[-1]), {}))
        self._fill(model, inner, at)
        if inner:
            values[str(at[-1])] = inner

    def _resolved(self, value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: self._resolved(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, (*path, index)) for index, item in enumerate(value)]
        return self._resolved_text(value, path) if isinstance(value, str) else value

    def _resolved_text(self, text: str, path: KeyPath) -> str:
        try:
            value = resolve(text, self._environ)
        except UnresolvedReference as error:
            self.problems.append(
                ConfigError(
                    key=self.text(path),
                    origin=self.origin(path),
                    message=str(error),
                    public=error.public,
                    path=(*self.table, *path),
                )
            )
            return text
        if value != text:
            self.hidden.add(path)
        return value
