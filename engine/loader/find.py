"""Which plugins are installed: first- and third-party ones are found the same way, by their entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from engine.api.plugin import Plugin
from engine.version import DISTRIBUTION

GROUP = "betterai.plugins"


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that is installed, not imported yet. `origin` says where it comes from, `own` that the engine ships it."""

    name: str
    origin: str
    load: Callable[[], type[Plugin]]
    own: bool = False


class PluginNameTaken(ValueError):
    """Raised when two packages bring a plugin of one `name`; the message names both."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def installed_plugins() -> Mapping[str, Installed]:
    """Every entry point of the group, by name, without importing anything."""
    found: dict[str, Installed] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = point.dist.name if point.dist is not None else "?"
        if point.name in found and found[point.name].origin != f"{package} ({point.value})":
            raise PluginNameTaken(
                point.name,
                f"plugin {point.name!r} comes from {found[point.name].origin} and from {package} ({point.value}); "
                "uninstall one of the two with pip, or give yours another name",
            )
        found[point.name] = Installed(point.name, f"{package} ({point.value})", point.load, package == DISTRIBUTION)
    return found


def given_plugins(*classes: type[Plugin]) -> Mapping[str, Installed]:
    """Plugins that are handed over as classes: for tests and for embedding."""
    return {cls.name: _given(cls) for cls in classes}


def _given(cls: type[Plugin]) -> Installed:
    return Installed(cls.name, f"given ({cls.__module__}:{cls.__qualname__})", lambda: cls)
