"""The plugins that come with the engine."""

from __future__ import annotations

from collections.abc import Mapping

from engine.loader.find import Installed, installed_plugins


def first_party() -> Mapping[str, Installed]:
    """Those installed from this distribution, by name; others on this machine are none of its business."""
    return {name: found for name, found in installed_plugins().items() if "(plugins." in found.origin}
