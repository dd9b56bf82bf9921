"""Settings tables that stand without what is wrong in them, where their plugin can work without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from engine.api.plugin import SettingsTable
from engine.config import ConfigError, ConfigErrors, RawConfig
from engine.config.keys import KeyPath, split_key

S = TypeVar("S", bound=SettingsTable)


def salvaged(config: RawConfig, name: str, model: type[S], errors: Sequence[ConfigError]) -> S | None:
    """The table without what the errors name, and with `faults` that says so; None where they cost the plugin."""
    if model.wrong_costs == "plugin":
        return None
    entries = _entries(split_key(name), model, errors)
    if entries is not None:
        try:
            return config.table(name, model, list(entries)).with_faults(_sentences(entries))
        except ConfigErrors:
            pass  # the table itself is wrong, too
    return model().with_faults({"": "; ".join(error.public for error in errors)})


def _entries(
    table: KeyPath, model: type[SettingsTable], errors: Sequence[ConfigError]
) -> dict[KeyPath, list[str]] | None:
    """The wrong entries of the table's mapping; None where something else in the table is wrong."""
    found: dict[KeyPath, list[str]] = {}
    for error in errors:
        path = error.path[len(table) :]
        if len(path) < 2 or path[0] != model.wrong_costs:
            return None
        found.setdefault(path[:2], []).append(error.public)
    return found


def _sentences(entries: dict[KeyPath, list[str]]) -> dict[str, str]:
    return {str(path[-1]): "; ".join(reasons) for path, reasons in entries.items()}
