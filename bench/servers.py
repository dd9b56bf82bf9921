"""How each server under test is started: the floor, the engine, and the engine that asks for API keys."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.process import Server, StartError

KEY = re.compile(r"[A-Za-z0-9][\w.-]{31,}")
DB_UPGRADE = ("db", "upgrade")
KEYS_CREATE = ("keys", "create", "bench")


class Subject(msgspec.Struct, frozen=True):
    """A server to be started in a directory of its own; `key` is what its clients send."""

    name: str
    dialect: str
    argv: Sequence[str]
    env: dict[str, str]
    home: Path
    port: int
    key: str = "bench"

    def start(self, core: int) -> Server:
        return Server(
            self.argv,
            port=self.port,
            core=core,
            log=self.home / "server.log",
            ready="/health/ready",
            env=self.env,
            cwd=self.home,
        )


def floor(home: Path, port: int, upstream: str) -> Subject:
    argv = (sys.executable, "-m", "bench.floor", "--port", str(port), "--upstream", upstream)
    return Subject("floor", "floor", argv, {"PYTHONPATH": str(Path(__file__).parents[1])}, home, port)


def engine(command: Path, home: Path, port: int, upstream: str) -> Subject:
    """The engine as it comes, history on; its database lies in `home`."""
    env = {
        "OPENAI_BASE_URL": upstream,
        "OPENAI_API_KEY": "bench",
        "BETTERAI__PLUGINS__ENABLED": '["chat","openai_api"]',
        "BETTERAI__DATABASES__DEFAULT": f"sqlite+aiosqlite:///{home / 'bench.db'}",
    }
    argv = (str(command), "serve", "--host", "127.0.0.1", "--port", str(port))
    return Subject("engine", "engine", argv, env, home, port)


def engine_with_keys(command: Path, home: Path, port: int, upstream: str) -> Subject:
    """The engine in auth mode keys, with one key made by its own command; StartError if that prints none."""
    plain = engine(command, home, port, upstream)
    env = {**plain.env, "BETTERAI__AUTH__MODE": "keys"}
    environ = {**os.environ, **env}
    tables = subprocess.run(
        [str(command), *DB_UPGRADE], env=environ, cwd=home, capture_output=True, text=True, timeout=60
    )
    if tables.returncode:
        raise StartError(f"`{command.name} {' '.join(DB_UPGRADE)}` failed: {tables.stderr[-500:]}")
    made = subprocess.run(
        [str(command), *KEYS_CREATE], env=environ, cwd=home, capture_output=True, text=True, timeout=60
    )
    found = KEY.findall(made.stdout)
    if made.returncode or not found:
        raise StartError(f"`{command.name} {' '.join(KEYS_CREATE)}` printed no key: {made.stderr[-500:]}")
    return msgspec.structs.replace(plain, name="engine-keys", env=env, key=max(found, key=len))
