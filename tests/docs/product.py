"""What the code says of itself: settings, errors, routes, commands, hooks."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel

import engine
import plugins
from engine.api import Call, Command, EngineError, Route, hooks
from engine.config import CORE_TABLES, load
from engine.http.sse import StreamFailed
from engine.loader.load import Loader
from engine.main import Engine
from engine.sessions.core import CORE_COMMANDS, CoreCommand
from tests.architecture.first_party import first_party

AnyCommand = Command[Any] | Call[Any]


@dataclass(frozen=True)
class Asked:
    """Something that a client may send over the socket; `starts` says that it starts a stream."""

    name: str
    summary: str
    body: type[BaseModel]
    example: Mapping[str, Any]
    owner: str
    starts: bool = False
    scope: str | None = None


@dataclass(frozen=True)
class Product:
    """The engine with every first-party plugin on; each route and command stands with its owner."""

    routes: tuple[Route, ...]
    commands: tuple[Asked, ...]


@cache
def product() -> Product:
    """Read from an engine that is put together and never started."""

    async def look() -> Product:
        server = Engine(load(None, {"BETTERAI__LOG__LEVEL": "critical"}), first_party())
        server.prepare_plugins()
        server.swap()
        gathered = server.serving.gathered
        assert gathered is not None
        own = [route for _, route in server._own_routes()]
        routes = [*own, *(route for _, route in gathered.routes)]
        session = [asked_of_core(command) for command in CORE_COMMANDS]
        shown = [each for each in gathered.commands if not getattr(each[1], "inner", False)]
        features = [asked_of_plugin(owner, command) for owner, command in shown]
        return Product(tuple(sorted(routes, key=_place)), (*session, *features))

    return asyncio.run(look())


def _place(route: Route) -> tuple[str, str]:
    return route.path, route.method


def asked_of_core(command: type[CoreCommand]) -> Asked:
    return Asked(command.name, command.summary, command, command.example, "engine")


def asked_of_plugin(owner: str, command: AnyCommand) -> Asked:
    starts = isinstance(command, Command)
    return Asked(command.name, command.summary, command.body, command.example, owner, starts, command.scope)


@cache
def settings_tables() -> Mapping[str, type[BaseModel]]:
    """Every table of the configuration file by its name: the engine's first, then the plugins', then the vendors'."""
    installed = first_party()
    raw = load(None, {})
    loader = Loader(installed, sorted(installed), ())
    loader.load(raw)
    return {**CORE_TABLES, **dict(sorted(loader.settings(raw).items()))}


@cache
def errors() -> tuple[type[EngineError], ...]:
    """Every error of ours that can reach a client or an operator, those of the public door first."""
    for package in (engine, plugins):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # A child of the local model, and revision files, are programs and not modules.
            if ".migrations." not in found.name and ".engine_tables." not in found.name:
                importlib.import_module(found.name)
    kinds = {kind for kind in _below(EngineError) if kind.__module__.split(".")[0] in ("engine", "plugins")}
    return tuple(sorted(kinds - {StreamFailed}, key=_order))


def _below(kind: type[EngineError]) -> Iterator[type[EngineError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _order(kind: type[EngineError]) -> tuple[bool, str, int]:
    return kind.__module__ != "engine.api.errors", kind.__module__, inspect.getsourcelines(kind)[1]


def codes() -> dict[str, list[type[EngineError]]]:
    """The kinds of error by their code."""
    found: dict[str, list[type[EngineError]]] = {}
    for kind in errors():
        found.setdefault(kind.code, []).append(kind)
    return found


@dataclass(frozen=True)
class Hook:
    """One hook as a plugin author reads of it."""

    name: str
    arguments: tuple[str, ...]
    promise: str

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})"


def all_hooks() -> list[Hook]:
    """The hooks in the order in which they stand in their file, which is that of a start."""
    functions = [
        function for name, function in inspect.getmembers(hooks, inspect.isfunction) if name.startswith("register_")
    ]
    return [
        Hook(function.__name__, tuple(inspect.signature(function).parameters), inspect.getdoc(function) or "")
        for function in sorted(functions, key=lambda each: each.__code__.co_firstlineno)
    ]
