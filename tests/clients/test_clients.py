"""Each client in its own environment, made on first use under `.clients`, runs its script against a whole server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.databases import unavailable
from tests.emulators.base import RecordedRequest
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Say, ToolUse
from tests.server import CHAT, behind, engine_inside

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent.parent / ".clients"

PYTHON: Mapping[str, Sequence[str]] = {
    "openai_client": ["openai[aiohttp]"],
    "anthropic_client": ["anthropic"],
    "litellm_client": ["litellm"],
    "langchain_client": ["langchain-openai", "langchain-anthropic"],
    "pydantic_ai_client": ["pydantic-ai-slim[openai,anthropic]"],
    "instructor_client": ["instructor"],
    "llm_client": ["llm"],
    "agents_realtime_client": ["openai-agents"],
}
NODE: Mapping[str, Sequence[str]] = {
    "openai": ["openai"],
    "ai_sdk": ["ai", "@ai-sdk/anthropic", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod"],
}

SETTINGS = {
    **CHAT,
    "plugins.enabled": ["chat", "openai_api", "tts", "audio", "realtime"],
    "models.realtime": "cascade",
    "plugins.realtime.speech": "openai/tts-1",
    "plugins.realtime.transcription": "openai/whisper-1",
}

_CALL = re.compile(r"call (\w+) (\{.*\})")


def reply(record: RecordedRequest) -> Say:
    """An echo, which calls a tool when it is told to, and has no more to say once that was answered."""
    last = record.body["messages"][-1]
    text = str(last.get("content"))
    if last["role"] == "tool":
        return Say("done")
    if found := _CALL.search(text):
        return Say("Let me look.", reasoning="Hm.", tool_calls=[ToolUse("call_1", found[1], json.loads(found[2]))])
    said = last["content"]
    return Say(said if isinstance(said, str) else "".join(part.get("text", "") for part in said))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A server with an emulated vendor behind it."""
    async with OpenAIEmulator() as vendor:
        vendor.otherwise = reply
        async with engine_inside(tmp_path_factory.mktemp("server"), SETTINGS, behind(vendor)) as engine:
            yield f"http://127.0.0.1:{engine.port}"


async def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a program to its end; what it printed is told where it failed."""
    # Whatever the machine has for other servers must not reach a client.
    known = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC", "PYTHON"))
    }
    done = await asyncio.to_thread(
        subprocess.run, list(map(str, command)), cwd=cwd, env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[0]} failed\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


async def python_environment(name: str) -> Path:
    """The Python of an environment that has the client."""
    folder = ENVIRONMENTS / name
    program = folder / "bin" / "python"
    if not (folder / "ready").exists():
        await run(sys.executable, "-m", "venv", folder)
        await run(program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON[name])
        (folder / "ready").touch()
    return program


async def node_environment(name: str) -> Path:
    """A folder with the client among its modules, into which the script is copied."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("there is no Node.js on this machine")
    folder = ENVIRONMENTS / f"node-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "ready").exists():
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        await run(npm, "install", "--silent", "--no-audit", "--no-fund", *NODE[name], cwd=folder)
        (folder / "ready").touch()
    shutil.copy(HERE / "node" / f"{name}.mjs", folder)
    return folder


@pytest.mark.parametrize("name", PYTHON)
async def test_a_python_client_is_served(name: str, url: str) -> None:
    await run(await python_environment(name), HERE / "python" / f"{name}.py", url)


@pytest.mark.parametrize("name", NODE)
async def test_a_node_client_is_served(name: str, url: str) -> None:
    folder = await node_environment(name)
    await run("node", f"{name}.mjs", url, cwd=folder)
