"""What every journey shares: one event loop for a module, and long runs only where they are asked for."""

from __future__ import annotations

import pytest

from tests.server import local_server, server, shared_server, shared_vendor, start, vendor

__all__ = ("local_server", "server", "shared_server", "shared_vendor", "start", "vendor")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what soaks, unless `-m` chooses."""
    if config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("soak") is not None]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
