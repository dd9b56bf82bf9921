"""Plugins of strangers, installed as packages are: one that works, and those that do not."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from tests.journeys import echo_plugin
from tests.journeys.client import Frame, connected
from tests.server import CHAT, RunningServer

ECHO = Path(echo_plugin.__file__).read_text()

RAISES_IN_A_HOOK = """
from engine.api import Plugin, hookimpl

class Broken(Plugin):
    name = "broken"

    @hookimpl
    def register_routes(self, context):
        raise RuntimeError("the attic is on fire")
"""

RAISES_AT_ITS_START = """
from contextlib import asynccontextmanager
from engine.api import Plugin, hookimpl

class Broken(Plugin):
    name = "broken"

    @hookimpl
    def register_lifespan(self, context):
        return [self.open()]

    @asynccontextmanager
    async def open(self):
        raise OSError("no such scanner")
        yield
"""

WRONG_SETTINGS = """
from engine.api import Plugin
from pydantic import BaseModel

class Wanted(BaseModel):
    depth: int

class Broken(Plugin):
    name = "broken"
    Settings = Wanted
"""

CLAIMS_ECHO = """
from tests.journeys.echo_plugin import Echo

class Broken(Echo):
    name = "broken"
"""

Install: TypeAlias = Callable[[str, str, str], None]
Launch: TypeAlias = Callable[..., RunningServer]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def install(site: Path) -> Install:
    """Installs a plugin as a package of one file: its name, its class, its source."""

    def put(name: str, cls: str, source: str) -> None:
        (site / f"{name}_module.py").write_text(source)
        info = site / f"betterai_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: betterai-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[betterai.plugins]\n{name} = {name}_module:{cls}\n")

    return put


@pytest.fixture
def launch(site: Path, tmp_path: Path) -> Iterator[Launch]:
    """Starts a server that sees the installed packages; `ends` waits for one that must not come up."""
    servers: list[RunningServer] = []

    def begin(*enabled: str, ends: bool = False, **settings: Any) -> RunningServer:
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        folder = tmp_path / "server"
        folder.mkdir(exist_ok=True)
        server = RunningServer(folder, {**CHAT, "plugins.enabled": enabled, **keys}, {"PYTHONPATH": str(site)})
        servers.append(server)
        return server if ends else server.start()

    yield begin
    for server in servers:
        if server.started:
            server.kill()


async def get(server: RunningServer, path: str) -> tuple[int, Frame]:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path}") as response:
        return response.status, await response.json()


# A good one.


async def test_a_plugin_of_one_file_serves_chat_over_the_socket(install: Install, launch: Launch) -> None:
    install("echo", "Echo", ECHO)
    server = launch("chat", "echo", plugins__echo__shout=True)
    async with connected(server.url) as socket:
        heard = await socket.chat("hello from afar", model="echo-1")
        end = await socket.end_of(heard.stream)
    _, models = await get(server, "/api/v1/models")
    assert (heard.text.strip(), end["status"], end["usage"]["output_tokens"]) == ("HELLO FROM AFAR", "completed", 3)
    assert "echo-1" in [model["id"] for model in models["models"]]
    assert models["default"] is None


async def test_the_list_of_models_names_the_one_that_answers_where_none_is_named(
    install: Install, launch: Launch
) -> None:
    install("echo", "Echo", ECHO)
    server = launch("chat", "echo", models__default="echo/echo-1")
    _, models = await get(server, "/api/v1/models")
    assert models["default"] == "echo-1"


def test_the_plugin_of_one_file_needs_the_public_door_alone() -> None:
    tree = ast.parse(ECHO)
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module is not None}
    assert {module for module in imported if module.startswith(("engine", "plugins", "tests"))} == {"engine.api"}
    assert len(ECHO.splitlines()) <= 60


async def test_an_installed_plugin_that_is_not_enabled_does_nothing(install: Install, launch: Launch) -> None:
    install("echo", "Echo", "raise RuntimeError('imported')")
    server = launch("chat")
    async with connected(server.url) as socket:
        refused = await socket.ask("chat.send", input="Hi", model="echo/echo-1")
        of_echo = await socket.ask("echo.say", input="Hi")
    status, problem = await get(server, "/api/v1/echo")
    assert (refused["type"], of_echo["error"]["code"]) == ("rejected", "feature_disabled")
    assert "echo" in of_echo["error"]["message"]
    assert (status, problem["code"]) == (404, "feature_disabled")


# Bad ones.


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("class Other: pass", "Broken"),
        (RAISES_IN_A_HOOK, "the attic is on fire"),
        (RAISES_AT_ITS_START, "no such scanner"),
        (WRONG_SETTINGS, "depth"),
    ],
    ids=["import", "class", "hook", "lifespan", "settings"],
)
async def test_a_plugin_that_fails_is_off_with_its_reason_and_the_others_serve(
    install: Install, launch: Launch, source: str, says: str
) -> None:
    install("echo", "Echo", ECHO)
    install("broken", "Broken", source)
    server = launch("broken", "chat", "echo")
    line = server.logged("plugin_off", plugin="broken")
    status, ready = await get(server, "/health/ready")
    async with connected(server.url) as socket:
        refused = await socket.ask("broken.do")
        heard = await socket.chat("still here", model="echo-1")
        await socket.end_of(heard.stream)
    shown = next(check for check in ready["checks"] if check["name"] == "broken")
    assert says in line["reason"]
    assert (status, ready["status"], shown["state"]) == (200, "degraded", "degraded")
    assert says in shown["detail"]
    assert refused["error"]["code"] == "feature_disabled"
    assert heard.text == "still here "


async def test_a_required_plugin_that_fails_stops_the_start(install: Install, launch: Launch) -> None:
    install("broken", "Broken", RAISES_IN_A_HOOK)
    server = launch("chat", "broken", ends=True, plugins__required=["broken"])
    server.launch()
    assert server.wait() != 0
    assert "plugin 'broken' is required and register_routes failed: RuntimeError: the attic is on fire" in server.told
    assert "Traceback" not in server.told.rpartition("plugin 'broken' is required")[2]


async def test_two_plugins_that_claim_one_provider_stop_the_start_by_their_names(
    install: Install, launch: Launch
) -> None:
    install("echo", "Echo", ECHO)
    install("broken", "Broken", CLAIMS_ECHO)
    server = launch("chat", "echo", "broken", ends=True)
    server.launch()
    assert server.wait() != 0
    assert "plugins 'echo' and 'broken' both claim" in server.told
    assert "Traceback" not in server.told


async def test_a_name_that_is_not_installed_stops_the_start_with_the_nearest(install: Install, launch: Launch) -> None:
    install("echo", "Echo", ECHO)
    server = launch("chat", "ecco", ends=True)
    server.launch()
    assert server.wait() != 0
    assert "no plugin 'ecco' is installed" in server.told
    assert "echo" in server.told
    assert "Traceback" not in server.told


def test_the_program_lists_why_a_plugin_is_off(install: Install, site: Path, tmp_path: Path) -> None:
    install("broken", "Broken", RAISES_IN_A_HOOK)
    server = RunningServer(tmp_path, {**CHAT, "plugins.enabled": ["chat", "broken"]}, {"PYTHONPATH": str(site)})
    listing = server.run("plugins")
    assert "off: register_routes failed: RuntimeError: the attic is on fire" in listing
    assert "off: not in [plugins] enabled" in listing
    assert "betterai-broken (broken_module:Broken)" in listing
