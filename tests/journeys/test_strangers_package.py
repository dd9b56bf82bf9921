"""A package that a stranger writes: begun with one command, built, installed beside the engine, switched on, talked to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.plugins import Role, package
from tests.journeys.client import connected
from tests.server import PROGRAM, ROOT, serving

EXAMPLE = ROOT / "examples" / "betterai-plugin-acme"


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_kit(name: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The conformance kit on an installed plugin, in a folder that has no tests."""
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--betterai-conformance", name)
    options = ("-W", "ignore::pytest.PytestDeprecationWarning")
    return subprocess.run(
        [*command, *options], cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )


def test_the_kit_names_a_plugin_that_is_not_installed(tmp_path: Path) -> None:
    done = run_kit("chta", tmp_path, {})
    assert done.returncode == 1
    installed = "audio, chat, local, openai_api, realtime, storage, tts"
    assert f"no plugin 'chta' is installed; installed are {installed}" in done.stdout


def test_the_example_is_what_the_command_writes() -> None:
    written = {
        str(file.relative_to(EXAMPLE)): file.read_text(encoding="utf-8")
        for file in EXAMPLE.rglob("*")
        if file.is_file() and not any(part.startswith((".", "__py")) for part in file.relative_to(EXAMPLE).parts)
    }
    assert written == package("acme", {Role.CHAT, Role.SPEECH})


@pytest.mark.timeout(300)
async def test_a_package_that_was_just_begun_is_built_installed_and_talked_to(tmp_path: Path) -> None:
    run(PROGRAM, "plugins", "new", "my_lab", "--role", "chat", "--role", "speech", cwd=tmp_path)
    folder = tmp_path / "betterai-plugin-my_lab"
    told = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert " passed" in told and "failed" not in told
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "dist", folder, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "installed"
    run(*pip, "install", "--no-deps", "--target", installed, wheel, cwd=tmp_path)

    kept = run_kit("my_lab", tmp_path, {"PYTHONPATH": str(installed), "MY_LAB_API_KEY": "sk-lab"})
    assert kept.returncode == 0, kept.stdout
    assert "15 passed, 3 skipped" in kept.stdout
    keyless = run_kit("my_lab", tmp_path, {"PYTHONPATH": str(installed)})
    assert keyless.returncode == 1
    assert "MyLab needs an API key: set MY_LAB_API_KEY" in keyless.stdout

    settings = {"plugins.enabled": ["chat", "tts", "my_lab"], "models.default": "my_lab/first"}
    environ = {"PYTHONPATH": str(installed), "MY_LAB_API_KEY": "sk-lab"}
    with serving(tmp_path / "server", settings, environ) as server:
        assert "betterai_my_lab.plugin:MyLab" in server.run("plugins")
        async with connected(server.url) as socket:
            heard = await socket.chat("Hello there")
            end = await socket.end_of(heard.stream)
            aloud = await socket.chat("Hello there", speak={"model": "my_lab/voice"})
            await socket.end_of(aloud.stream)
        assert len(aloud.sound) == 2 * 4_000 * 2
        assert (heard.text, end["status"], end["model"]) == ("Hello there ", "completed", "my_lab/first")

    with serving(tmp_path / "keyless", settings, {"PYTHONPATH": str(installed)}) as server:
        assert "MyLab needs an API key: set MY_LAB_API_KEY" in server.run("check")


@pytest.mark.parametrize("name", ["Bad", "1st", "a-b", "x", "x" * 40])
def test_a_name_that_is_none_is_told(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PROGRAM), "plugins", "new", name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is no name for a plugin" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "betterai-plugin-mine").mkdir()
    (tmp_path / "betterai-plugin-mine" / "precious").touch()
    done = subprocess.run(
        [str(PROGRAM), "plugins", "new", "mine"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "is there already" in done.stderr) == (2, True)
