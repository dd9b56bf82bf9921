"""A server in an environment, and a user who tries all of it: every address, every command, chat, voice."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.environments.installing import Venv, user_variables
from tests.server import RunningServer

COMMANDS: Mapping[str, Sequence[str]] = {
    "help": ["--help"],
    "version": ["version"],
    "check": ["check"],
    "models": ["models"],
    "plugins": ["plugins"],
    "top": ["top", "--once"],
    "usage": ["usage"],
    "keys": ["keys", "list"],
    "budgets": ["budgets", "list"],
}
"""What every command shows where it changes nothing."""

HELP = (
    "serve",
    "chat",
    "speak",
    "transcribe",
    "talk",
    "plugins",
    "plugins new",
    "keys create",
    "budgets set",
    "db upgrade",
)

UNAVAILABLE = frozenset({"model_unavailable", "storage_unavailable"})
"""What may stand behind a 503 of a server whose environment lacks something."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    output: str


class Visitor:
    """One user of one running server."""

    def __init__(
        self, venv: Venv, folder: Path, url: str, http: aiohttp.ClientSession, settings: Mapping[str, str]
    ) -> None:
        self.url, self._http, self._venv, self._folder = url, http, venv, folder
        port = url.rpartition(":")[2]
        self._variables = {
            **settings,
            "BETTERAI__SERVER__PORT": port,
            "BETTERAI_SERVER": url,
        }

    async def command(self, *arguments: str) -> Outcome:
        """Run `betterai` beside the server."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(self._venv.betterai), *arguments],
            cwd=self._folder,
            env=user_variables(self._variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        output = done.stdout + done.stderr
        assert "Traceback" not in output, f"betterai {' '.join(arguments)}\n{output}"
        return Outcome(done.returncode, output)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of an address."""
        async with self._http.get(self.url + path, timeout=aiohttp.ClientTimeout(total=60)) as answer:
            return answer.status, (await answer.read()).decode("utf-8", "replace")

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        """Status and body of a request; a body that is no JSON comes as bytes."""
        async with self._http.post(self.url + path, timeout=aiohttp.ClientTimeout(total=300), **body) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if "json" in answer.content_type else raw

    async def addresses(self) -> list[str]:
        """Every GET address of the server's own document, with a made-up value for each part of a path."""
        _, text = await self.get("/openapi.json")
        paths = json.loads(text)["paths"]
        return [re.sub(r"\{[^}]+\}", "nothing_here", path) for path, methods in paths.items() if "get" in methods]

    async def failures(self) -> dict[str, str]:
        """The GET addresses that fail in a way that has no right to happen."""
        wrong = {}
        for path in await self.addresses():
            status, text = await self.get(path)
            if status >= 500 and not (status == 503 and code_of(text) in UNAVAILABLE):
                wrong[path] = f"{status} {text[:300]}"
        return wrong


def code_of(text: str) -> str:
    """The code of an error, in the product's own shape or OpenAI's."""
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    inner = body.get("error", body) if isinstance(body, dict) else {}
    return str(inner.get("code", "")) if isinstance(inner, dict) else ""


class UserServer(RunningServer):
    """The server of an environment, with the variables of a user's shell and some settings."""

    def __init__(self, venv: Venv, folder: Path, settings: Mapping[str, str], command: Sequence[str]) -> None:
        super().__init__(folder, {}, settings)
        self.program = venv.betterai
        self.serve = [*command] or [str(venv.betterai), "serve"]
        self._settings = {"BETTERAI__LOG__FORMAT": "json", "BETTERAI__SERVER__PORT": "0", **settings}

    def variables(self) -> dict[str, str]:
        return user_variables(self._settings)


@asynccontextmanager
async def visiting(
    venv: Venv, folder: Path, settings: Mapping[str, str] | None = None, command: Sequence[str] = ()
) -> AsyncIterator[Visitor]:
    """Start `betterai serve` in a folder (or another command that does) and visit it; its log is shown on failure."""
    server = UserServer(venv, folder, settings or {}, command)
    try:
        await asyncio.to_thread(partial(folder.mkdir, parents=True, exist_ok=True))
        await asyncio.to_thread(server.start)
        async with aiohttp.ClientSession() as http:
            yield Visitor(venv, folder, server.url, http, settings or {})
        assert "Traceback" not in server.told
    except BaseException:
        sys.stderr.write(f"the log of the server:\n{server.told[-8000:]}\n")
        raise
    finally:
        await asyncio.to_thread(server.stop)
