"""An operator changes a running server: by signal, and by command."""

from __future__ import annotations

import asyncio
import os
import re
import signal

import aiohttp
import pytest

from tests.journeys.client import connected
from tests.server import RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_hangup_signal_reads_the_configuration_again(start: Start) -> None:
    server: RunningServer = start()
    os.kill(server.pid, signal.SIGHUP)
    assert (await server.until_logged("switched"))["started"] == []


async def test_the_command_switches_a_running_server(start: Start) -> None:
    server: RunningServer = start()
    off = await asyncio.to_thread(server.run, "plugins", "disable", "openai_api", "--server", server.url)
    unknown = await asyncio.to_thread(server.run, "plugins", "disable", "opena_api", "--server", server.url)
    on = await asyncio.to_thread(server.run, "plugins", "enable", "openai_api", "--server", server.url)
    away = await asyncio.to_thread(server.run, "plugins", "enable", "chat", "--server", "http://127.0.0.1:1")
    assert "openai_api is off" in off or "openai_api is closing" in off
    assert "openai_api is on" in on
    assert "did you mean 'openai_api'?" in unknown
    assert "no server answers at http://127.0.0.1:1" in away


async def test_an_option_before_the_subcommand_switches_nothing(start: Start) -> None:
    server: RunningServer = start()
    options = ("--server", "http://127.0.0.1:1"), ("--key", "k"), ("--config", "other.toml"), ("--offline",)
    for option in options:
        told = await asyncio.to_thread(server.run, "plugins", *option, "disable", "chat")
        assert f"{option[0]} is an option of the list; for disable it stands behind" in told
    shown = await asyncio.to_thread(server.run, "plugins", "--server", server.url)
    assert re.search(r"^chat +on$", shown, re.MULTILINE)


async def test_a_plugin_that_is_on_and_lacks_what_it_works_with_is_told_by_the_command(start: Start) -> None:
    server: RunningServer = start({"plugins.enabled": ["chat"], "plugins.local.model_path": "/nowhere/model.gguf"})
    on = await asyncio.to_thread(server.run, "plugins", "enable", "local", "--server", server.url)
    assert re.search(r"^local\.model is (degraded|loading): ", on, re.MULTILINE)


async def test_the_models_are_those_of_the_running_server(start: Start) -> None:
    server: RunningServer = start({"plugins.enabled": ["chat", "local"]})
    shown = await asyncio.to_thread(server.run, "models", "--server", server.url)
    assert f"as the server at {server.url} says" in shown
    assert re.search(r"^local +local +[\d,]+ +0 / 0 ", shown, re.MULTILINE)
    assert "no server answers at http://127.0.0.1:1: connection refused" in await asyncio.to_thread(
        server.run, "models", "--server", "http://127.0.0.1:1"
    )


async def test_the_list_says_how_the_plugins_of_the_running_server_stand(start: Start) -> None:
    server: RunningServer = start({"plugins.enabled": ["chat", "openai_api", "tts"]})

    async def listed() -> dict[str, str]:
        shown = await asyncio.to_thread(server.run, "plugins", "--server", server.url)
        assert f"as the server at {server.url} says" in shown
        return dict(re.findall(r"^(\w+) {2,}(\S.*)$", shown, re.MULTILINE))

    before = await listed()
    async with aiohttp.ClientSession(server.url) as http:
        for name, enabled in (("openai_api", False), ("storage", True)):
            async with http.put(f"/api/v1/admin/plugins/{name}", json={"enabled": enabled}) as answer:
                assert answer.status == 200
    await server.until_logged("plugin_closed")
    switched = await listed()
    os.kill(server.pid, signal.SIGHUP)
    await server.until_logged("switched", stopped=["storage"])
    again = await listed()
    assert (before["openai_api"], before["storage"]) == ("on", "off: not in [plugins] enabled")
    assert switched["openai_api"] == "off: switched off since the start"
    assert (switched["storage"], switched["chat"]) == ("on: switched on since the start", "on")
    assert (again["openai_api"], again["storage"]) == ("on", "off: not in [plugins] enabled")


async def test_an_open_socket_is_told_what_is_on(start: Start) -> None:
    server: RunningServer = start()
    async with connected(server.url) as socket, aiohttp.ClientSession() as http:
        for enabled in (False, True):
            url = f"{server.url}/api/v1/admin/plugins/openai_api"
            async with http.put(url, json={"enabled": enabled}) as answer:
                assert answer.status == 200
            told = await socket.take("session.features")
            assert ("openai_api" in told["features"], "chat" in told["features"]) == (enabled, True)
