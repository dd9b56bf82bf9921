"""The example with a table, addresses and a command, installed beside the engine as its author does."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.databases import mysql_url  # noqa: F401  # a fixture
from tests.server import ROOT, RunningServer, serving

EXAMPLE = ROOT / "examples" / "betterai-plugin-guestbook"


@pytest.fixture(params=["sqlite", "mysql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """A server with the example, on a database of either kind."""
    installed = tmp_path / "installed"
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = installed / f"betterai_plugin_guestbook-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (point,) = project["entry-points"]["betterai.plugins"].items()
    (info / "entry_points.txt").write_text(f"[betterai.plugins]\n{point[0]} = {point[1]}\n")
    settings: dict[str, Any] = {"plugins.enabled": ["chat", "guestbook"], "plugins.guestbook.title": "Our visitors"}
    environ = {"PYTHONPATH": f"{installed}:{EXAMPLE}:{ROOT}"}
    (tmp_path / "server").mkdir()
    if request.param == "mysql":
        settings["databases.default"] = request.getfixturevalue("mysql_url")
        RunningServer(tmp_path / "server", settings, environ).run("db", "upgrade")
    with serving(tmp_path / "server", settings, environ) as running:
        yield running


@pytest.fixture
async def http(server: RunningServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def test_what_is_written_is_read_over_http_and_by_the_command(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    signed = await asyncio.to_thread(server.run, "guestbook", "I was here", "--server", server.url)
    async with http.post("/api/v1/guestbook", json={"text": "So was I"}) as answer:
        assert (answer.status, (await answer.json())["principal"]) == (200, "local")
    async with http.get("/api/v1/guestbook?limit=1") as answer:
        book = await answer.json()
    shown = await asyncio.to_thread(server.run, "guestbook", "--server", server.url)
    assert signed == "signed\n"
    assert (book["title"], [entry["text"] for entry in book["entries"]]) == ("Our visitors", ["So was I"])
    assert [line.partition("  ")[2] for line in shown.splitlines()] == ["", "local: So was I", "local: I was here"]


async def test_what_cannot_be_taken_is_told_by_its_field(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/guestbook", json={"text": "x" * 281}) as answer:
        assert (answer.status, (await answer.json())["field"]) == (400, "text")
    async with http.get("/api/v1/guestbook?limit=0") as answer:
        assert (answer.status, (await answer.json())["field"]) == (400, "limit")
