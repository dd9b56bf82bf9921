"""Every hook of the engine, in the order of a start. Hooks are sync and collect objects; none is on the path of a token."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pluggy

from engine.api.commands import Call, Command
from engine.api.data import Tables
from engine.api.plugin import HealthCheck, Listener, PluginContext, SettingsTable
from engine.api.providers import ModelInfo, Provider
from engine.api.routes import Route
from engine.api.tools import Tool

if TYPE_CHECKING:
    import typer

PROJECT = "betterai"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_settings() -> Iterable[type[SettingsTable]]:  # type: ignore[empty-body]
    """Return settings tables beside the plugin's own, as those that several plugins share.

    Called once, for every enabled plugin, before any other hook and before the file is checked. Several plugins may
    return the same class; two classes under one table name stop the start.
    """


@hookspec
def register_cli(app: typer.Typer) -> None:
    """Add commands to the `betterai` program.

    Called for every plugin that is enabled in the file that BETTERAI_CONFIG names, else in config/betterai.toml, when the
    program starts, before settings are read and outside any event loop. For a command that is not there it is called for
    the other plugins too, to name the one that has it. Keep it to adding functions: `betterai --help` runs it.
    """


@hookspec
def register_tables(context: PluginContext) -> Iterable[Tables]:  # type: ignore[empty-body]
    """Return the tables that the plugin owns and the folder of their migrations.

    Called once, after settings are validated and before databases are opened. In embedded mode the history is upgraded
    at the start; otherwise by `betterai db upgrade`. `Tables.database` is a name that the operator may give an address of
    its own under `[databases]`; without one it is the default database. A plugin whose migration fails is off.
    """


@hookspec
def register_models(context: PluginContext) -> Iterable[ModelInfo]:  # type: ignore[empty-body]
    """Return entries for the model catalogue.

    Called at the start and at each switch, before providers. An entry of the operator's own file wins over a plugin's
    of the same id.
    """


@hookspec
def register_providers(context: PluginContext) -> Iterable[Provider]:  # type: ignore[empty-body]
    """Return the providers that the plugin adds, of any role.

    Called at the start and at each switch. Two providers with one name in one role stop the start, which names both plugins.
    When only settings changed that `register_models` and this hook read, a reload calls these two again on the running
    instance. It does not where the instance keeps what they made.
    """


@hookspec
def register_tools(context: PluginContext) -> Iterable[Tool]:  # type: ignore[empty-body]
    """Return the tools that models may call.

    Called at the start and at each switch. Two tools with one name stop the start.
    """


@hookspec
def register_commands(context: PluginContext) -> Iterable[Command | Call]:  # type: ignore[empty-body, type-arg]
    """Return the commands that the plugin answers, over the WebSocket and in process.

    Called at the start and at each switch; the command table is swapped whole. Two commands with one name stop the start.
    """


@hookspec
def register_routes(context: PluginContext) -> Iterable[Route]:  # type: ignore[empty-body]
    """Return the HTTP routes that the plugin answers.

    Called at the start and at each switch; the route table is swapped whole. Two routes with one method and address stop
    the start.
    """


@hookspec
def register_listeners(context: PluginContext) -> Iterable[Listener]:  # type: ignore[empty-body]
    """Return listeners for turns that ended.

    Called at the start and at each switch. Listeners run after the terminal event, in no fixed order; one that raises is
    logged and the others run.
    """


@hookspec
def register_health_checks(context: PluginContext) -> Iterable[HealthCheck]:  # type: ignore[empty-body]
    """Return the lines that the plugin adds to `/health/ready`.

    Called at the start and at each switch; each check runs whenever health is asked for.
    """


@hookspec
def register_lifespan(context: PluginContext) -> Iterable[AbstractAsyncContextManager[None]]:  # type: ignore[empty-body]
    """Return contexts that are open while the plugin is on.

    Called last. They are entered in order before the port opens, and closed in reverse after the plugin's last turn. One
    that raises on entry switches the plugin off, unless it is required.
    """
