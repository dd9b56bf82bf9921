"""Tables of the configuration that no plugin owns: a slip stops the start, what is merely off may stand there."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from engine.config import CORE_TABLES, ConfigError, ConfigErrors, RawConfig


class AnyTable(BaseModel):
    """The settings of a plugin that is off: they may stand in the file, and nobody judges them."""

    model_config = ConfigDict(extra="allow")


def check_tables(config: RawConfig, owned: Mapping[str, type[BaseModel]], off: Collection[str]) -> None:
    """Raise `ConfigErrors` for tables that are neither the engine's, nor `owned`, nor of a plugin that is `off`."""
    known: dict[str, type[BaseModel]] = {**CORE_TABLES, **owned}
    for name in off:
        known.setdefault(f"plugins.{name}", AnyTable)
    problems = [each for each in config.unknown_tables(known) if not (off and _may_be_shared(each))]
    if problems:
        raise ConfigErrors(problems)


def _may_be_shared(problem: ConfigError) -> bool:
    """Nobody knows the vendors of a plugin that is off; what is nearly the name of a known one is taken for a slip."""
    return problem.key == "vendors" or (problem.key.startswith("vendors.") and problem.nearest is None)
