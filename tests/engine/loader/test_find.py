"""Installed plugins are found by their entry points, without importing them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.loader.find import PluginNameTaken, installed_plugins


def install(folder: Path, package: str, entry: str) -> None:
    """Put the metadata of a package into a folder of installed packages."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[betterai.plugins]\n{entry}\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks into for installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_those_of_this_distribution_are_found_with_their_origin() -> None:
    assert installed_plugins()["chat"].origin.endswith("(plugins.chat.plugin:Chat)")


def test_a_package_of_somebody_else_is_found_the_same_way_and_not_imported(packages: Path) -> None:
    install(packages, "acme-betterai", "acme = acme.plugin:Acme")
    found = installed_plugins()["acme"]
    assert found.origin == "acme-betterai (acme.plugin:Acme)"
    assert "acme" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        found.load()


def test_one_name_in_two_packages_names_both(packages: Path) -> None:
    install(packages, "acme-one", "acme = one:Acme")
    install(packages, "acme-two", "acme = two:Acme")
    with pytest.raises(PluginNameTaken) as taken:
        installed_plugins()
    assert "acme-one" in str(taken.value)
    assert "acme-two" in str(taken.value)
