"""What every file of the repository keeps to: no secrets, no addresses of one machine, a word on what it is for."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

BINARY = {".db", ".gguf", ".ico", ".jpg", ".png", ".webp"}
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang|index\.docker\.io|extra-index-url|--index-url", re.I
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|Users|work|workspace|mnt)/\w")
SECRETS = re.compile(
    r"sk-(?:ant-|proj-)?[A-Za-z0-9]{24,}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[A-Za-z0-9]{36}"
    r"|xox[abp]-[0-9A-Za-z-]{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
THIS = Path(__file__).resolve()


def tracked() -> list[Path]:
    """The files of the repository, those not yet added included; all files where it is none, as in an archive."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode == 0:
        names = listing.stdout.splitlines()
        return sorted(path for name in names if (path := ROOT / name).is_file())
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(
        path for folder in folders for path in folder.rglob("*") if path.is_file() and ".pyc" not in path.name
    )


TEXTS = [path for path in tracked() if path.suffix not in BINARY and path.resolve() != THIS]
PYTHON = [path for path in TEXTS if path.suffix == ".py"]


def found(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := pattern.search(line))
    ]


def test_there_are_files_to_look_at() -> None:
    assert len(PYTHON) > 100


def test_no_file_names_a_package_registry() -> None:
    assert found(REGISTRIES) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert found(MACHINE_PATHS) == []


def test_no_file_holds_what_looks_like_a_secret() -> None:
    assert found(SECRETS) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REGISTRIES, "pip install --index-url x"),
        (MACHINE_PATHS, 'path = "/home/someone/x"'),
        (SECRETS, "sk-proj-" + "a1" * 20),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_the_licence_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_python_file_says_in_its_first_line_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        first, _, rest = (ast.get_docstring(ast.parse(text)) or "").partition("\n")
        assert first, "it has no docstring"
        assert not rest.strip() or rest.startswith("\n"), "what it is for takes more than one line"
