"""Plugins that were switched at run time for good: a small file between the configuration file and the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.config.errors import ConfigError
from engine.config.layers import Layers, read_file
from engine.config.settings import PluginsSettings

ENABLED = ("plugins", "enabled")
_HEADER = (
    "# Written by `betterai plugins enable|disable --persist`. Take a name out to return to the configuration file."
)


def lay_switches(layers: Layers, path: Path) -> None:
    """Lay the switches of the file over the configuration's list of plugins; raises `ConfigError` for a bad file."""
    if not path.is_file():
        return
    on, off = read_switches(path)
    enabled = _listed(layers)
    if enabled is not None and (on or off):
        kept = [name for name in enabled if name not in off]
        layers.put(ENABLED, [*kept, *(name for name in on if name not in kept)], str(path))


def read_switches(path: Path) -> tuple[list[str], list[str]]:
    """Names of the plugins that are switched on, and of those that are switched off; none where there is no file."""
    if not path.is_file():
        return [], []
    values = read_file(path).values
    for key, names in values.items():
        if key not in ("enable", "disable") or not _are_names(names):
            message = "is not understood; this file has the lists `enable` and `disable` of plugins' names"
            raise ConfigError(key=key, origin=str(path), message=message)
    return list(values.get("enable", [])), list(values.get("disable", []))


def write_switch(path: Path, name: str, enabled: bool) -> None:
    """Remember that a plugin is switched, in the place of what the file said of it before."""
    on, off = read_switches(path)
    on = sorted({*on, name} if enabled else set(on) - {name})
    off = sorted(set(off) - {name} if enabled else {*off, name})
    text = f"{_HEADER}\nenable = {json.dumps(on)}\ndisable = {json.dumps(off)}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a start in this moment must not meet half a file.
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


def switches_file(layers: Layers, environ: Mapping[str, str]) -> Path:
    """Where the switches stand, before any setting is typed."""
    plugins = layers.values.get("plugins")
    written = plugins.get("switches") if isinstance(plugins, dict) else None
    default = PluginsSettings.model_fields["switches"].default
    return Path(environ.get("BETTERAI__PLUGINS__SWITCHES") or (written if isinstance(written, str) else default))


def _listed(layers: Layers) -> Iterable[str] | None:
    """The plugins of the configuration; None where that is no list, which is told when it is read."""
    plugins = layers.values.get("plugins", {})
    names = plugins.get("enabled", PluginsSettings().enabled) if isinstance(plugins, dict) else None
    return names if _are_names(list(names) if isinstance(names, tuple) else names) else None


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
