"""Environments are made with packages from an index, so these tests run only where `-m` asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments.installing import Venv, clone, run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the environments out, unless `-m` chooses."""
    if config.getoption("markexpr"):
        return
    others = [item for item in items if item.get_closest_marker("environments") is not None]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built as a release is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = clone(folder / "clone")
    builder = Venv(folder / "builder").create()
    run(builder.python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Venv:
    """An environment with the wheel alone."""
    return Venv(tmp_path_factory.mktemp("plain") / "venv").create().install(str(wheel))
