"""Guarded loading: a plugin that fails is off, with its reason; what two plugins both claim stops the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pluggy
from pydantic import BaseModel

from engine.api import hooks
from engine.api.data import Tables
from engine.api.plugin import HealthCheck, Listener, Plugin, PluginContext, SettingsTable
from engine.api.providers import ModelInfo, Provider
from engine.api.routes import Route
from engine.api.tools import Tool
from engine.config import ConfigError, ConfigErrors, RawConfig
from engine.config.keys import nearest
from engine.loader.find import Installed
from engine.log import get_logger
from engine.sessions.table import AnyCommand

log = get_logger(__name__)


class Clash(Exception):
    """Raised when two plugins claim one name; the message names both and stops the start."""


class RequiredPluginFailed(Exception):
    """Raised when a plugin of `[plugins] required` is off; the message says why."""


@dataclass(slots=True)
class Part:
    """One installed plugin and how it stands. `reason` says why it is off; `hooks` are those it implements."""

    name: str
    origin: str
    plugin: Plugin | None = None
    reason: str | None = None
    enabled: bool = False
    hooks: tuple[str, ...] = ()
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    context: PluginContext | None = None

    @property
    def on(self) -> bool:
        """True when it takes part."""
        return self.plugin is not None and self.reason is None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the plugins that are on bring together, each thing with its owner's name."""

    models: tuple[tuple[str, ModelInfo], ...]
    providers: tuple[tuple[str, Provider], ...]
    tools: Mapping[str, Tool]
    commands: tuple[tuple[str, AnyCommand], ...]
    routes: tuple[tuple[str, Route], ...]
    listeners: tuple[Listener, ...]
    checks: tuple[tuple[str, HealthCheck], ...]


class Loader:
    """All installed plugins and their states."""

    def __init__(self, installed: Mapping[str, Installed], enabled: Iterable[str], required: Iterable[str]) -> None:
        self.parts = {name: Part(name, found.origin) for name, found in installed.items()}
        self._installed = installed
        self._enabled = list(dict.fromkeys(enabled))
        self._required = frozenset(required)
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self.tables: dict[type[BaseModel], BaseModel] = {}
        self._settings_owner: dict[str, tuple[str, type[BaseModel]]] = {}

    def load(self, config: RawConfig) -> None:
        """Import the enabled plugins and register their hooks, in the order of what they require.

        Raises `ConfigErrors` for a name that is not installed, `RequiredPluginFailed` for a required plugin that fails.
        """
        self._check_names(config)
        for name in self._enabled:
            self.parts[name].enabled = True
        for name in self._enabled:
            part = self.parts[name]
            try:
                cls = self._installed[name].load()
                plugin = cls()
                self._manager.register(plugin, name)
            except Exception as error:
                self.fail(part, f"cannot be loaded: {_words(error)}", error)
                continue
            part.plugin = plugin
            part.hooks = tuple(sorted(caller.name for caller in self._manager.get_hookcallers(plugin) or ()))
        self._check_requires()

    def settings(self, config: RawConfig) -> Mapping[str, type[BaseModel]]:
        """Validate the settings tables of the loaded plugins; gives the model of each table.

        A wrong value switches its plugin off. Two classes under one table name raise `Clash`.
        """
        for part in self._loaded():
            assert part.plugin is not None
            try:
                extra = list(self._call(part, "register_settings"))
            except Exception as error:
                self.fail(part, f"register_settings failed: {_words(error)}", error)
                continue
            self._claim_settings(part, f"plugins.{part.name}", part.plugin.Settings)
            for table in extra:
                self._claim_settings(part, table.table, table)
        for part in self._loaded():
            self._read_settings(part, config)
        return {name: model for name, (_, model) in self._settings_owner.items()}

    def register_cli(self, app: Any) -> None:
        """Let every loaded plugin add its commands to the program."""
        for part in self._loaded():
            try:
                self._call(part, "register_cli", app=app)
            except Exception as error:
                self.fail(part, f"register_cli failed: {_words(error)}", error)

    def register_tables(self) -> list[tuple[str, Tables]]:
        """The tables of the plugins, with their owners."""
        return self._collect("register_tables")

    def gather(self) -> Gathered:
        """Ask every hook of every plugin that is on; raises `Clash` where two claim one name."""
        models = self._collect("register_models")
        providers = self._collect("register_providers")
        _unique("provider", ((owner, f"{p.role} {p.name}") for owner, p in providers))
        tools = self._collect("register_tools")
        _unique("tool", ((owner, tool.name) for owner, tool in tools))
        commands = self._collect("register_commands")
        _unique("command", ((owner, command.name) for owner, command in commands))
        routes = self._collect("register_routes")
        _unique("route", ((owner, f"{route.method} {route.path}") for owner, route in routes))
        listeners = self._collect("register_listeners")
        checks = self._collect("register_health_checks")
        on = {part.name for part in self._loaded()}
        return Gathered(
            models=tuple((o, m) for o, m in models if o in on),
            providers=tuple((o, p) for o, p in providers if o in on),
            tools={tool.name: tool for o, tool in tools if o in on},
            commands=tuple((o, c) for o, c in commands if o in on),
            routes=tuple((o, r) for o, r in routes if o in on),
            listeners=tuple(listener for o, listener in listeners if o in on),
            checks=tuple((o, c) for o, c in checks if o in on),
        )

    async def enter_lifespans(self) -> list[str]:
        """Open what the plugins keep open; gives the names of those that failed and are off now."""
        failed = []
        for part in self._loaded():
            try:
                for lifespan in self._call(part, "register_lifespan", context=part.context):
                    await part.stack.enter_async_context(lifespan)
            except Exception as error:
                self.fail(part, f"did not start: {_words(error)}", error)
                await part.stack.aclose()
                failed.append(part.name)
        return failed

    async def close(self) -> None:
        """Close what the plugins keep open, in reverse."""
        for part in reversed(list(self._loaded())):
            try:
                await part.stack.aclose()
            except Exception:
                log.exception("plugin_did_not_close", plugin=part.name)

    def fail(self, part: Part, reason: str, error: BaseException | None = None) -> None:
        """Switch a plugin off for a reason; raises `RequiredPluginFailed` when the operator requires it."""
        part.reason = reason
        log.error("plugin_off", plugin=part.name, reason=reason, exc_info=error if _is_bug(error) else None)
        if part.name in self._required:
            raise RequiredPluginFailed(f"plugin {part.name!r} is required and {reason}") from error

    @property
    def off(self) -> list[str]:
        """Names of installed plugins that take no part."""
        return [part.name for part in self.parts.values() if not part.on]

    def _loaded(self) -> Iterable[Part]:
        return [self.parts[name] for name in self._enabled if self.parts[name].on]

    def _call(self, part: Part, hook: str, **arguments: Any) -> Iterable[Any]:
        """One plugin's answers to one hook, in one list."""
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not part.plugin]
        answers = self._manager.subset_hook_caller(hook, others)(**arguments)
        return [item for answer in answers for item in answer]

    def _collect(self, hook: str) -> list[tuple[str, Any]]:
        collected = []
        for part in self._loaded():
            try:
                collected += [(part.name, item) for item in self._call(part, hook, context=part.context)]
            except Exception as error:
                self.fail(part, f"{hook} failed: {_words(error)}", error)
        return collected

    def _check_names(self, config: RawConfig) -> None:
        problems = []
        for key, names in (("plugins.enabled", self._enabled), ("plugins.required", sorted(self._required))):
            for name in names:
                if name not in self._installed:
                    message = (
                        f"no plugin {name!r} is installed; installed are {', '.join(sorted(self._installed)) or 'none'}"
                    )
                    near = nearest(name, self._installed)
                    problems.append(ConfigError(key=key, origin=config.origin(key), message=message, nearest=near))
                elif key == "plugins.required" and name not in self._enabled:
                    message = f"plugin {name!r} is required but not enabled; add it to [plugins] enabled"
                    problems.append(ConfigError(key=key, origin=config.origin(key), message=message))
        if problems:
            raise ConfigErrors(problems)

    def _check_requires(self) -> None:
        changed = True
        while changed:
            changed = False
            for part in self._loaded():
                assert part.plugin is not None
                missing = [name for name in part.plugin.requires if name not in self.parts or not self.parts[name].on]
                if missing:
                    self.fail(part, f"needs the plugin {missing[0]!r}, which is off")
                    changed = True
        order: list[str] = []
        for name in self._enabled:
            self._place(name, order, ())
        self._enabled = order

    def _place(self, name: str, order: list[str], path: tuple[str, ...]) -> None:
        if name in order:
            return
        if name in path:
            raise Clash(f"plugins require each other in a circle: {' -> '.join((*path, name))}")
        plugin = self.parts[name].plugin
        for required in plugin.requires if plugin is not None else ():
            if required in self._enabled:
                self._place(required, order, (*path, name))
        order.append(name)

    def _claim_settings(self, part: Part, name: str, model: type[BaseModel]) -> None:
        if not name:
            self.fail(part, f"settings {model.__name__} name no table")
            return
        owner, known = self._settings_owner.setdefault(name, (part.name, model))
        if known is not model:
            raise Clash(f"plugins {owner!r} and {part.name!r} both own the settings table [{name}]")

    def _read_settings(self, part: Part, config: RawConfig) -> None:
        assert part.plugin is not None
        own: list[tuple[str, type[BaseModel]]] = [(f"plugins.{part.name}", part.plugin.Settings)]
        own += [
            (table.table, table) for table in self._call(part, "register_settings") if issubclass(table, SettingsTable)
        ]
        for name, model in own:
            if model in self.tables:
                continue
            try:
                self.tables[model] = config.table(name, model)
            except ConfigErrors as error:
                if any("unknown" in each.message for each in error.errors):
                    raise
                self.fail(part, f"has settings that cannot be used: {error.errors[0]}")
                return


def _unique(what: str, claims: Iterable[tuple[str, str]]) -> None:
    owners: dict[str, str] = {}
    for owner, name in claims:
        if name in owners:
            raise Clash(f"plugins {owners[name]!r} and {owner!r} both claim the {what} {name!r}")
        owners[name] = owner


def _words(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if isinstance(error, (ConfigError, ValueError)) else f"{type(error).__name__}: {text}"


def _is_bug(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, (ConfigError, ImportError))
