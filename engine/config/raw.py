"""The configuration as it was written: merged, with origins, not yet typed."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from engine.config.draft import Draft
from engine.config.errors import ConfigError, ConfigErrors
from engine.config.explain import explain, path_of
from engine.config.keys import KeyPath, key_text, nearest, split_key
from engine.config.layers import Layers
from engine.config.schema import fields_of

M = TypeVar("M", bound=BaseModel)

# What pydantic finds where a text was due and a number came.
_TEXT_DUE = frozenset({"string_type", "bytes_type", "path_type", "url_type", "literal_error"})


@dataclass(frozen=True, slots=True)
class RawConfig:
    """File and environment in one; typed table by table, by whoever owns the table."""

    file: Path | None
    layers: Layers = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    source: Callable[[], "RawConfig"] | None = field(default=None, repr=False, compare=False)
    """Reads the file and the environment again."""
    set_over: tuple[tuple[str, Any, str], ...] = ()
    """What was set above file and environment for as long as the process lives, as by options of the command line."""

    def table(self, name: str, model: type[M], without: Collection[KeyPath] = ()) -> M:
        """The table as its model, defaults where nothing is set.

        Unknown keys are refused even if the model would ignore them, unless it allows extra keys. What stands at a path of
        `without` is left out. Raises ConfigErrors with everything that is wrong in this table.
        """
        draft = self._draft(name, model, without)
        settings, invalid = _validate(draft, model)
        reported = {problem.key for problem in draft.problems}
        problems = [*draft.problems, *(problem for problem in invalid if problem.key not in reported)]
        if problems or settings is None:
            raise ConfigErrors(problems)
        return settings

    def check(self, tables: Mapping[str, type[BaseModel]]) -> None:
        """Refuse what belongs to none of the known tables; raises ConfigErrors naming each with its nearest."""
        if problems := self.unknown_tables(tables):
            raise ConfigErrors(problems)

    def unknown_tables(self, tables: Mapping[str, type[BaseModel]]) -> list[ConfigError]:
        """What `check` would raise. Keys inside a known table are judged by `table`."""
        known = {split_key(name): model for name, model in tables.items()}
        return [self._unknown_table(path, known) for path in _strangers(self.layers.values, (), known)]

    def origin(self, key: str) -> str | None:
        """`file:line` or `environment variable NAME` of a key such as `server.port`; None for a default."""
        return self.layers.origins.get(split_key(key))

    def with_value(self, key: str, value: Any, origin: str) -> "RawConfig":
        """A copy in which the key is set, above file and environment: how a command line option gets in."""
        layers = self.layers.copy()
        layers.put(split_key(key), value, origin)
        return replace(self, layers=layers, set_over=(*self.set_over, (key, value, origin)))

    def without(self, paths: Collection[KeyPath]) -> "RawConfig":
        """A copy in which nothing stands at some paths."""
        layers = self.layers.copy()
        for path in paths:
            layers.drop(path)
        return replace(self, layers=layers)

    def read_again(self) -> "RawConfig":
        """The configuration as it stands in the file now, under the same options; raises ConfigErrors."""
        read = self.source() if self.source is not None else self
        for key, value, origin in self.set_over if self.source is not None else ():
            read = read.with_value(key, value, origin)
        return read

    def _draft(self, name: str, model: type[BaseModel], without: Collection[KeyPath] = ()) -> Draft:
        path = split_key(name)
        values: Any = self.layers.values
        for depth, step in enumerate(path, start=1):
            values = values.get(step, {})
            if not isinstance(values, dict):
                place = path[:depth]
                message = f"must be a table, [{key_text(place)}]"
                raise ConfigErrors(
                    [
                        ConfigError(
                            key=key_text(place), origin=self.layers.origins.get(place), message=message, path=place
                        )
                    ]
                )
        draft = Draft(path, _less(_own(values, model), without), self.layers, self.environ)
        draft.fill_from_sdk_environment(model)
        return draft

    def _unknown_table(self, path: KeyPath, known: Mapping[KeyPath, type[BaseModel]]) -> ConfigError:
        key = str(path[-1])
        depth = len(path) - 1
        siblings = {str(table[depth]) for table in known if len(table) > depth and table[:depth] == path[:depth]}
        guess = nearest(key, siblings)
        near = key_text((*path[:-1], guess)) if guess else _table_with_key(key, known)
        message = "unknown table" if isinstance(_at(self.layers.values, path), dict) else "stands in no table"
        if near is None:
            message += f"; known here: {', '.join(sorted(siblings))}" if siblings else ""
        return ConfigError(
            key=key_text(path), origin=self.layers.origins.get(path), message=message, nearest=near, path=path
        )


def _validate(draft: Draft, model: type[M]) -> tuple[M | None, list[ConfigError]]:
    # A model that allows extra keys means it; any other must not drop a typo silently.
    extra: Literal["forbid"] | None = None if model.model_config.get("extra") == "allow" else "forbid"
    try:
        return model.model_validate(draft.values, extra=extra), []
    except ValidationError as error:
        text_due = [path_of(found, draft.values) for found in error.errors() if found["type"] in _TEXT_DUE]
        if not draft.spell_as_text(text_due):
            return None, explain(error, draft, model)
    return _validate(draft, model)


def _holds_tables(model: type[BaseModel]) -> bool:
    return bool(getattr(model, "holds_tables", False))


def _own(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The keys that are the model's to judge: not the tables of others inside its own."""
    if not _holds_tables(model):
        return values
    return {key: value for key, value in values.items() if not isinstance(value, dict) or key in fields_of(model)}


def _less(values: dict[str, Any], without: Collection[KeyPath]) -> dict[str, Any]:
    """The values without what stands at some paths."""
    if not without:
        return values
    below = {key: [path[1:] for path in without if path[0] == key and len(path) > 1] for key in values}
    gone = {path[0] for path in without if len(path) == 1}
    return {
        key: _less(value, below[key]) if isinstance(value, dict) else value
        for key, value in values.items()
        if key not in gone
    }


def _strangers(values: Any, at: KeyPath, known: Mapping[KeyPath, type[BaseModel]]) -> Iterator[KeyPath]:
    """The outermost paths that lead into no known table."""
    for key, value in values.items():
        path = (*at, key)
        parent = known.get(at)
        if any(table[: len(path)] == path for table in known):
            # `table` says that a known table must be one.
            yield from _strangers(value, path, known) if isinstance(value, dict) else ()
        elif parent is None or (_holds_tables(parent) and isinstance(value, dict) and key not in fields_of(parent)):
            yield path


def _table_with_key(key: str, known: Mapping[KeyPath, type[BaseModel]]) -> str | None:
    """A known table that has this key, for a key that stands above its table's header."""
    return next((key_text((*table, key)) for table, model in known.items() if key in fields_of(model)), None)


def _at(values: Any, path: KeyPath) -> Any:
    for step in path:
        values = values[step]
    return values
