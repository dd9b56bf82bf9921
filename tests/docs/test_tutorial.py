"""The page on writing a provider leads from an empty folder to an answer."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.api import Plugin
from engine.loader.find import given_plugins, installed_plugins
from tests.architecture.first_party import first_party
from tests.docs.pages import DOCS, blocks
from tests.server import engine_inside

PAGE = DOCS / "writing-a-provider.md"
FILES = {block.file: block.text for block in blocks(PAGE) if block.file is not None}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package as its author has it, with what `pip install --editable` would add to it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["betterai.plugins"].items())
    (info / "entry_points.txt").write_text(f"[betterai.plugins]\n{points}\n")
    return tmp_path


def test_it_takes_three_files_and_less_than_sixty_lines() -> None:
    assert len(FILES) == 3
    assert sum(1 for text in FILES.values() for line in text.splitlines() if line.strip()) < 60


def test_it_passes_the_tests_of_every_chat_provider(package: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=package, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


async def test_it_answers_once_it_is_installed_and_enabled(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package)
    settings = {"plugins.enabled": ["chat", "openai_api", "parrot"], "log.level": "critical"}
    async with engine_inside(package, settings, installed=installed_plugins()) as engine:
        assert "parrot" in engine.features
        async with aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http:
            body = {"input": "Hello there", "model": "parrot/grey"}
            async with http.post("/api/v1/chat", json=body) as answer:
                assert (await answer.json())["text"].split() == ["Squawk!", "Hello", "there"]
    sys.modules.pop("betterai_parrot")


def test_the_address_of_a_compatible_server_is_a_setting() -> None:
    (first, *_) = blocks(PAGE, "toml")
    assert tomllib.loads(first.text)["vendors"]["compatible"]["servers"]["lab"]["base_url"]


async def test_the_provider_over_http_streams_and_tells_what_was_refused(tmp_path: Path) -> None:
    [source] = blocks(PAGE, "py")
    names: dict[str, Any] = {"__name__": "starling"}
    exec(compile(source.text, "starling.py", "exec", dont_inherit=True), names)

    async def say(request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer right":
            return web.Response(status=401)
        return web.Response(text=f"{(await request.json())['text']}\nand so on")

    vendor = web.Application()
    vendor.router.add_post("/say", say)
    async with TestServer(vendor) as server:
        said = [
            await _starling(tmp_path, names["Starling"], str(server.make_url("/"))[:-1], key)
            for key in ("right", "wrong")
        ]
    assert (said[0]["text"], said[0]["status"]) == ("Hello\nand so on", "completed")
    assert said[1]["code"] == "provider_refused"


async def _starling(folder: Path, plugin: type[Plugin], address: str, key: str) -> dict[str, Any]:
    installed = {**first_party(), **given_plugins(plugin)}
    own = {"plugins.starling.base_url": address, "plugins.starling.api_key": key}
    settings = {"plugins.enabled": ["chat", "starling"], "log.level": "critical", **own}
    async with (
        engine_inside(folder, settings, installed=installed) as engine,
        aiohttp.ClientSession(f"http://127.0.0.1:{engine.port}") as http,
        http.post("/api/v1/chat", json={"input": "Hello", "model": "starling/any"}) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        return told
