"""Other people's clients are fetched from package indexes, so they run only where `-m` asks for them."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the clients out, unless `-m` chooses."""
    if config.getoption("markexpr"):
        return
    others = [item for item in items if item.get_closest_marker("clients") is not None]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
