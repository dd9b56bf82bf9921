"""Tiny plugins, and engines made of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

from engine.api.commands import Body, Call, Request
from engine.api.hooks import hookimpl
from engine.api.plugin import Plugin, PluginContext, SettingsTable
from engine.api.routes import Answer, HttpRequest, Route
from engine.api.tools import Tool, ToolRequest
from engine.config import RawConfig, load
from engine.loader.find import Installed, given_plugins
from engine.loader.load import Loader
from engine.main import Engine


def plugin(
    name: str,
    *,
    settings: Any = SettingsTable,
    requires: Any = (),
    tables: Any = None,
    **hooks: Any,
) -> type[Plugin]:
    """A plugin whose hooks answer what the functions give, for a context; `tables` is its `register_settings`.

    Types are left open: a plugin may be wrong in any of them.
    """
    body: dict[str, Any] = {"name": name, "Settings": settings, "requires": requires}
    body |= {hook: _with_context(answer) for hook, answer in hooks.items()}
    if tables is not None:
        body["register_settings"] = _without_context(tables)
    return type(name.title(), (Plugin,), body)


def _with_context(answer: Callable[[PluginContext], Any]) -> Any:
    def implementation(self: Plugin, context: PluginContext) -> Any:
        return answer(context)

    return hookimpl(implementation)


def _without_context(answer: Callable[[], Any]) -> Any:
    def implementation(self: Plugin) -> Any:
        return answer()

    return hookimpl(implementation)


def refuse(context: PluginContext) -> Any:
    """What a plugin does that cannot answer."""
    raise RuntimeError("no luck today")


# What plugins bring


def route(path: str, method: str = "GET") -> Route:
    """An address that anybody may ask, and that answers with itself."""

    async def answer(request: HttpRequest[Any, Any]) -> Answer:
        return Answer({"path": path})

    return Route(method=method, path=path, handler=answer, scope=None)


class Nothing(Body):
    """A body without fields."""


def call(name: str) -> Call[Nothing]:
    """A command that is answered with its own name."""

    async def handle(request: Request[Nothing]) -> Mapping[str, Any]:
        return {"called": name}

    return Call(name=name, body=Nothing, handle=handle)


def tool(name: str) -> Tool:
    """A tool without arguments that gives its own name."""

    async def run(request: ToolRequest) -> str:
        return name

    return Tool(name=name, description="Gives its name.", parameters=Nothing, run=run)


# What is made of them


def config_of(folder: Path, enabled: Sequence[str], text: str = "", required: Sequence[str] = ()) -> RawConfig:
    """A configuration file with these plugins on, a free port and a database of its own; `text` is added to it."""
    file = folder / "betterai.toml"
    file.write_text(
        f"[server]\nport = 0\n"
        f'[databases]\ndefault = "sqlite+aiosqlite:///{folder}/betterai.db"\n'
        f"[plugins]\nenabled = {json.dumps(list(enabled))}\nrequired = {json.dumps(list(required))}\n{text}"
    )
    return load(file, {})


def loaded(config: RawConfig, *plugins: type[Plugin], enabled: Sequence[str] | None = None) -> Loader:
    """A loader that has imported its plugins and read their settings."""
    names = [cls.name for cls in plugins] if enabled is None else enabled
    loader = Loader(given_plugins(*plugins), names, ())
    loader.load(config)
    loader.settings(config)
    return loader


def engine_of(
    folder: Path,
    *plugins: type[Plugin],
    text: str = "",
    required: Sequence[str] = (),
    installed: Mapping[str, Installed] | None = None,
    databases: Mapping[str, str] = MappingProxyType({}),
) -> Engine:
    """An engine with these plugins on, not started; `databases` are addresses by name."""
    found = given_plugins(*plugins) if installed is None else installed
    config = config_of(folder, list(found), text, required)
    for name, address in databases.items():
        config = config.with_value(f"databases.{name}", address, "test")
    return Engine(config, found)


@asynccontextmanager
async def running(
    folder: Path,
    *plugins: type[Plugin],
    text: str = "",
    installed: Mapping[str, Installed] | None = None,
    databases: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Engine]:
    """The same engine, started, and stopped at the end of the block."""
    engine = engine_of(folder, *plugins, text=text, installed=installed, databases=databases)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop(0)


async def get(engine: Engine, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of an answer over the real port."""
    url = f"http://127.0.0.1:{engine.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.json(content_type=None)


async def health(engine: Engine) -> dict[str, tuple[str, str]]:
    """The lines of `/health/ready` by name, as state and detail; under `status` the whole."""
    _, body = await get(engine, "/health/ready")
    lines = {line["name"]: (line["state"], line.get("detail", "")) for line in body["checks"]}
    return {"status": (body["status"], ""), **lines}
