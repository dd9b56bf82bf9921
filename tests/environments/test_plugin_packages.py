"""A plugin's author gets from an empty environment to tests and an answer, by what the pages say."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, blocks
from tests.environments.installing import CONSTRAINTS, Venv, clone, run, user_variables
from tests.environments.visitor import visiting

pytestmark = [pytest.mark.environments, pytest.mark.timeout(900)]

PAGE = DOCS / "writing-a-provider.md"


def typed(lines: str, folder: Path, **variables: str) -> str:
    """Run what an author types into a shell, up to where the server would start; stops at the first failure."""
    before_serve = "\n".join(line for line in lines.splitlines() if "betterai serve" not in line)
    done = subprocess.run(
        ["bash", "-e", "-c", before_serve],
        cwd=folder,
        env=user_variables({"PIP_CONSTRAINT": str(CONSTRAINTS), "PIP_QUIET": "1", **variables}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{before_serve}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


async def test_the_tutorial_works_as_written_in_an_empty_folder(tmp_path: Path) -> None:
    source = await asyncio.to_thread(clone, tmp_path / "clone")
    package = tmp_path / "parrot"
    package.mkdir()
    for block in blocks(PAGE):
        if block.file is not None:
            (package / block.file).write_text(block.text)
    [steps] = [block.text for block in blocks(PAGE, "sh") if "--editable ." in block.text]
    said = await asyncio.to_thread(typed, steps.replace("/path/to/clone", str(source)), package)
    assert " passed" in said and "failed" not in said
    venv = Venv(package / ".venv")
    settings = {"BETTERAI__PLUGINS__ENABLED": '["chat", "openai_api", "parrot"]'}
    async with visiting(venv, package, settings) as server:
        answered = await server.command("chat", "--model", "parrot/grey", "Hello there")
        listed = await server.command("plugins")
    assert (answered.code, "Squawk! Hello there" in answered.output) == (0, True), answered.output
    assert "parrot" in listed.output


async def test_the_package_that_the_program_writes_passes_its_tests_beside_a_wheel(
    plain: Venv, wheel: Path, tmp_path: Path
) -> None:
    venv = plain.copy(tmp_path / "venv")
    await asyncio.to_thread(venv.install, "--force-reinstall", "--no-deps", str(wheel))
    said = await asyncio.to_thread(
        run, venv.betterai, "plugins", "new", "acme", "--role", "chat", "--role", "speech", cwd=tmp_path
    )
    steps = said[said.index("cd betterai-plugin-acme") :]
    steps = steps.replace("pip install", "python -m pip install").replace("pytest", "python -m pytest")
    path = f"{venv.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    tested = await asyncio.to_thread(typed, steps, tmp_path, PATH=path)
    assert " passed" in tested and "failed" not in tested
    kit = await asyncio.to_thread(
        run, venv.python, "-m", "pytest", "--betterai-conformance", "acme", cwd=tmp_path, ACME_API_KEY="any"
    )
    assert " passed" in kit
