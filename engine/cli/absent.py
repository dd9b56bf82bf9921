"""Commands that are not there, because the plugin that has them is off or the configuration cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import typer
from typer.main import get_group

from engine.config import RawConfig
from engine.loader.answers import made
from engine.loader.find import Installed
from engine.loader.load import Loader, Part


def commands_of(app: typer.Typer) -> Collection[str]:
    """Names of the commands and groups of a program."""
    return get_group(app).commands


def owners(name: str, installed: Mapping[str, Installed]) -> Iterator[str]:
    """The plugins that would add a command of this name, whether they are on or not."""
    for plugin, found in installed.items():
        program = typer.Typer()
        try:
            made(plugin, found.load()).register_cli(program)  # type: ignore[attr-defined]
            if name in commands_of(program):
                yield plugin
        except Exception:
            continue  # it adds no commands, or cannot say which


def absence(name: str, raw: RawConfig, loader: Loader) -> str | None:
    """Why there is no command of this name and how there would be one; None where no plugin has it."""
    parts = [part for part in loader.parts.values() if not part.on]
    by_name = {part.name: part for part in parts}
    for owner in owners(name, {part.name: loader.installed[part.name] for part in parts}):
        return f"No such command {name!r}: the plugin {owner!r} has it, and {_state(by_name[owner], raw)}"
    failed = by_name.get(name)
    return f"No such command {name!r}: the plugin {name!r} {failed.reason}" if failed and failed.reason else None


def unreadable(name: str, installed: Mapping[str, Installed], error: Exception) -> str | None:
    """The same where the configuration cannot be read, so that no plugin could add its commands."""
    for owner in owners(name, installed):
        return f"No such command {name!r}: the plugin {owner!r} has it, and the configuration cannot be used:\n{error}"
    return None


def _state(part: Part, raw: RawConfig) -> str:
    if part.enabled:
        return f"is off: it {part.reason}"
    origin = raw.origin("plugins.enabled") or "as shipped"
    off = f"is not in [plugins] enabled ({origin}). Add it there"
    if origin.startswith("environment variable"):
        return f"{off}."  # a list in the environment wins over a switch that is kept
    return f"{off}, or run `betterai plugins enable {part.name} --persist` beside the running server."
