"""What is known of models: entries of files and plugins under their ids and aliases."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType

from msgspec import structs

from engine.api.providers import ModelInfo
from engine.config.errors import ConfigError, ConfigErrors
from engine.providers.catalogue_file import read_catalogue


class CatalogueClash(ValueError):
    """Raised when two plugins bring one model name; the message names both."""


class Catalogue:
    """Models by name. Immutable; replaced whole at a switch."""

    def __init__(self, entries: Iterable[ModelInfo] = ()) -> None:
        self._entries = {entry.id: entry for entry in entries}
        self._names: dict[str, ModelInfo] = {}
        self._by_vendor: dict[tuple[str, str], ModelInfo] = {}
        for entry in self._entries.values():
            for name in (*entry.aliases, entry.id):
                self._names.setdefault(name, entry)
            # The vendor's own name may belong to several entries; the one whose id it is comes first.
            for name in (entry.id, entry.vendor_model, *entry.aliases):
                key = (entry.provider, name)
                if name == entry.id or key not in self._by_vendor:
                    self._by_vendor[key] = entry
        self._names.update(self._entries)

    @property
    def entries(self) -> Mapping[str, ModelInfo]:
        """Every entry by id."""
        return MappingProxyType(self._entries)

    @property
    def names(self) -> Sequence[str]:
        """Every id and alias."""
        return tuple(self._names)

    @property
    def providers(self) -> frozenset[str]:
        """The providers that entries belong to, whether they are on or not."""
        return frozenset(entry.provider for entry in self._entries.values())

    def find(self, name: str) -> ModelInfo | None:
        """The entry with this id or alias."""
        return self._names.get(name)

    def of(self, provider: str, model: str) -> ModelInfo | None:
        """The entry of one provider by id, alias or the vendor's own name."""
        return self._by_vendor.get((provider, model))


def load_catalogue(files: Sequence[Path], contributed: Iterable[tuple[str, ModelInfo]] = ()) -> Catalogue:
    """Read files and add what plugins bring, each entry with the plugin's name.

    A name that a file holds wins over a plugin's. Raises `ConfigErrors` where two entries of files share an id or
    alias, and `CatalogueClash` where two plugins do.
    """
    entries, held = _from_files(files)
    plugins: dict[str, str] = {}
    for owner, entry in contributed:
        if entry.id in held:
            continue
        for name in dict.fromkeys((entry.id, *entry.aliases)):
            if plugins.setdefault(name, owner) != owner:
                raise CatalogueClash(f"plugins {plugins[name]!r} and {owner!r} both bring the model {name!r}")
        entries.append(structs.replace(entry, aliases=tuple(name for name in entry.aliases if name not in held)))
    return Catalogue(entries)


def is_retired(entry: ModelInfo, today: date) -> bool:
    """True from the day on which the vendor closes the model."""
    return entry.retires_on is not None and entry.retires_on <= today


def _from_files(files: Sequence[Path]) -> tuple[list[ModelInfo], frozenset[str]]:
    """The entries of all files, and every name that they hold."""
    entries: list[ModelInfo] = []
    holders: dict[str, tuple[Path, ModelInfo]] = {}
    problems: list[ConfigError] = []
    for path in files:
        for entry in read_catalogue(path):
            entries.append(entry)
            for name in dict.fromkeys((entry.id, *entry.aliases)):
                if name in holders:
                    problems.append(_duplicate(path, entry, name, *holders[name]))
                holders.setdefault(name, (path, entry))
    if problems:
        raise ConfigErrors(problems)
    return entries, frozenset(holders)


def _duplicate(path: Path, entry: ModelInfo, name: str, holder: Path, held: ModelInfo) -> ConfigError:
    what = "the id" if name == entry.id else f"the alias {name!r}"
    return ConfigError(
        key=f"models.{entry.id}", origin=str(path), message=f"{what} is taken by the model {held.id!r} of {holder}"
    )
