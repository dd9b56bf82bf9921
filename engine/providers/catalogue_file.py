"""Files of the model catalogue: TOML read into `ModelInfo`, with errors that name file, line, entry and key."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from engine.api.providers import ModelInfo, Price
from engine.config.errors import ConfigError, ConfigErrors
from engine.config.keys import KeyPath, nearest
from engine.config.locate import locate

PACKAGED = Path(__file__).parents[1] / "config" / "data" / "models.toml"
CHECKOUT = Path(__file__).parents[2] / "config" / "models.toml"

CHAT_CAPABILITIES = frozenset(
    {"audio", "files", "images", "json_schema", "logprobs", "reasoning", "tools", "web_search"}
)

_KEYS = tuple(field.name for field in msgspec.structs.fields(ModelInfo))
_PRICE_KEYS = tuple(field.name for field in msgspec.structs.fields(Price))
_PLACE = re.compile(r" - at `\$\.?([^`]*)`$")


def shipped_catalogue() -> Path:
    """The catalogue that comes with the engine: inside an installed wheel, in `config/` of a checkout."""
    return PACKAGED if PACKAGED.exists() else CHECKOUT


def read_catalogue(path: Path) -> tuple[ModelInfo, ...]:
    """The entries of one file, in its order; raises `ConfigErrors` with every problem that it has."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        message = f"the model catalogue {path} cannot be read: {reason}"
        raise ConfigErrors([ConfigError(key="models.catalogue", origin=None, message=message)]) from None
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise _single(path, f"is not valid TOML: {error}") from None
    return _File(path, locate(text)).entries(document)


def _single(path: Path, message: str) -> ConfigErrors:
    return ConfigErrors([ConfigError(key="models.catalogue", origin=str(path), message=message)])


class _File:
    """One file being read; problems are collected so that the operator sees all of them at once."""

    def __init__(self, path: Path, lines: Mapping[KeyPath, int]) -> None:
        self._path = path
        self._lines = lines
        self._problems: list[ConfigError] = []

    def entries(self, document: dict[str, Any]) -> tuple[ModelInfo, ...]:
        for key in document:
            if key != "models":
                self._report((key,), key, "unknown key; a model catalogue holds [[models]] tables only", "models")
        tables = document.get("models", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self._report(("models",), "models", "must be a list of tables, each headed [[models]]")
            tables = []
        found = [entry for n, table in enumerate(tables) if (entry := self._entry(n, table)) is not None]
        if self._problems:
            raise ConfigErrors(self._problems)
        return tuple(found)

    def _entry(self, n: int, table: dict[str, Any]) -> ModelInfo | None:
        name = f"models.{table['id']}" if isinstance(table.get("id"), str) else f"models[{n}]"
        before = len(self._problems)
        price = table.get("price")
        self._check_keys(n, name, (), table, _KEYS)
        if isinstance(price, dict):
            self._check_keys(n, name, ("price",), price, _PRICE_KEYS)
        try:
            entry = msgspec.convert(table, ModelInfo)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            key = place[1] if place else ""
            message = _PLACE.sub("", str(error)).replace("Object missing", "missing").replace("`", "'")
            path: KeyPath = tuple(re.split(r"\.|\[", key)[:1]) if key else ()
            self._report(("models", n, *path), f"{name}.{key}" if key else name, message)
            return None
        for keys, message in _implausible(entry):
            self._report(("models", n, *keys), ".".join((name, *keys)), message)
        return entry if len(self._problems) == before else None

    def _check_keys(self, n: int, name: str, at: KeyPath, table: Mapping[str, Any], valid: tuple[str, ...]) -> None:
        for key in table:
            if key not in valid:
                guess = nearest(key, valid)
                message = "unknown key" if guess else f"unknown key; valid keys here: {', '.join(valid)}"
                self._report(("models", n, *at, key), ".".join(map(str, (name, *at, key))), message, guess)

    def _report(self, path: KeyPath, key: str, message: str, guess: str | None = None) -> None:
        known = next((self._lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self._lines), None)
        origin = f"{self._path}:{known}" if known else str(self._path)
        self._problems.append(ConfigError(key=key, origin=origin, message=message, nearest=guess))


def _implausible(entry: ModelInfo) -> Iterator[tuple[tuple[str, ...], str]]:
    """What has the right type and still cannot be meant."""
    for key in ("id", "provider"):
        if not getattr(entry, key).strip():
            yield (key,), "must not be empty"
    for key in ("context", "max_output"):
        value = getattr(entry, key)
        if value is not None and value <= 0:
            yield (key,), f"must be greater than 0, but is {value}"
    if entry.price is not None:
        for key in _PRICE_KEYS:
            value = getattr(entry.price, key)
            if value is not None and not (value.is_finite() and value >= 0):
                yield ("price", key), f"must be a number of dollars, 0 or more, but is {value}"
    if entry.role == "chat":
        for word in sorted(entry.capabilities - CHAT_CAPABILITIES):
            guess = nearest(word, CHAT_CAPABILITIES)
            hint = f"; did you mean {guess}?" if guess else f"; known are {', '.join(sorted(CHAT_CAPABILITIES))}"
            yield ("capabilities",), f"unknown capability {word!r}{hint}"
