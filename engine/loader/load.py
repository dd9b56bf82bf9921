"""Guarded loading: a plugin that fails is off, with its reason; what two plugins both claim stops the start."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pluggy
from pydantic import BaseModel

from engine.api import hooks
from engine.api.data import Tables
from engine.api.plugin import Plugin, SettingsTable
from engine.config import CORE_TABLES, ConfigError, ConfigErrors, RawConfig
from engine.config.keys import nearest, split_key
from engine.config.secrecy import mask_text
from engine.guard import defined_at, is_ours, is_plugins, raised_at
from engine.loader.answers import ANSWERS, PluginMistake, checked, made
from engine.loader.context import PROVIDER_HOOKS, Context
from engine.loader.find import Installed
from engine.loader.gathered import Clash, Gathered
from engine.loader.guarding import guarded
from engine.loader.inner_imports import inner_imports
from engine.loader.lifespan import CLOSED_WITHIN, Lifespan, OpenedTooLate
from engine.loader.salvage import salvaged
from engine.log import get_logger
from engine.providers.registry import TablesRead

log = get_logger(__name__)


HOOKS = (*ANSWERS, "register_cli")
"""The names of all hooks."""

SAID_THERE = "; /health/ready says why"
"""What callers of a running server are told of a plugin that is off."""

ALL_CLOSED_WITHIN = 8.0
"""Seconds that all plugins together have to close, at the end of the server."""


class RequiredPluginFailed(Exception):
    """Raised when a plugin of `[plugins] required` is off; the message says why."""


@dataclass(frozen=True, slots=True)
class StruckOut:
    """Why the engine switched a plugin off: `public` for everybody, `reason` for the operator, with the place in its code."""

    public: str
    reason: str


@dataclass(slots=True)
class Part:
    """One installed plugin and how it stands. `reason` says why it is off; `hooks` are those it implements.

    `struck` says for everybody that the engine switched it off. `own` is true for what the engine ships.
    """

    name: str
    origin: str
    plugin: Plugin | None = None
    reason: str | None = None
    enabled: bool = False
    struck: str | None = None
    own: bool = False
    hooks: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    """Methods that bear the name of a hook, without the mark that makes them one, each with its place."""
    settings: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    keeps_providers: bool = False
    """Its instance remembers what it registered as providers or models, so that these are not replaced alone."""
    lifespan: Lifespan | None = None
    context: Context | None = None

    @property
    def on(self) -> bool:
        """True when it takes part."""
        return self.plugin is not None and self.reason is None

    @property
    def absence(self) -> str:
        """Why nothing answers in its name, for a caller: what the operator can do about it."""
        if self.struck is not None:
            return f"the plugin {self.name!r}, which the server switched off{SAID_THERE}"
        if self.enabled:
            return f"the plugin {self.name!r}, which is enabled but failed{SAID_THERE}"
        return f"the plugin {self.name!r}, which is off; `betterai plugins enable {self.name}` switches it on"

    @property
    def requires(self) -> Sequence[str]:
        """Names of the plugins that must be on too."""
        return self.plugin.requires if self.plugin is not None else ()


class Loader:
    """All installed plugins and their states."""

    def __init__(self, installed: Mapping[str, Installed], enabled: Iterable[str], required: Iterable[str]) -> None:
        self.parts = {name: Part(name, found.origin, own=found.own) for name, found in installed.items()}
        self.installed = installed
        self._enabled = list(dict.fromkeys(enabled))
        self._required = frozenset(required)
        self._manager = pluggy.PluginManager(hooks.PROJECT)
        self._manager.add_hookspecs(hooks)
        self.tables: dict[type[BaseModel], BaseModel] = {}
        self.faults: dict[str, list[ConfigError]] = {}
        """What is wrong in tables that stand without it, by the table's name."""

    def load(self, config: RawConfig, failed: Mapping[str, str] | None = None) -> None:
        """Import the enabled plugins and register their hooks, in the order of what they require.

        Those that have `failed` already, with the reason of each, are not tried again. Raises `ConfigErrors` for a name that
        is not installed, `RequiredPluginFailed` for a required plugin that fails.
        """
        self._check_names(config)
        for name in self._enabled:
            self.parts[name].enabled = True
        for name in self._enabled:
            if failed is not None and name in failed:
                self.parts[name].reason = failed[name]
            else:
                self._import(self.parts[name])
        for part in self._loaded():
            self._check_requires(part)
        order: list[str] = []
        for name in self._enabled:
            self._place(name, order, ())
        self._enabled = order

    def adopt(self, before: Loader) -> tuple[list[str], list[str]]:
        """Go on with the running plugins of another loader that are on here too, with the same settings and requirements.

        Gives the names of those to be started, and of those that go on and are to be asked again for their providers alone.
        What is adopted is a copy, so that a failure here leaves the other loader as it is.
        """
        started, renewed = [], []
        for part in self._loaded():
            running = before.parts.get(part.name)
            changed = self._changed_tables(part, before, running) if running is not None else None
            if running is None or changed is None or (changed and not _renewable(running, changed)):
                started.append(part.name)
                continue
            if changed:
                renewed.append(part.name)
            assert running.plugin is not None
            self._manager.unregister(name=part.name)
            self._manager.register(running.plugin, part.name)
            self.parts[part.name] = replace(running)
        return started, renewed

    def _changed_tables(self, part: Part, before: Loader, running: Part) -> list[type[BaseModel]] | None:
        """Settings tables of a running plugin whose values are others now; None where it cannot go on."""
        if not running.on or type(running.plugin) is not type(part.plugin) or running.settings != part.settings:
            return None
        return [table for table in part.settings.values() if self.tables.get(table) != before.tables.get(table)]

    def changed_for_providers(self, before: Loader, name: str) -> TablesRead | None:
        """Settings tables that a plugin's providers go by, and the changed ones; None where it was not on before."""
        part, running = self.parts.get(name), before.parts.get(name)
        if part is None or running is None or not running.on or type(running.plugin) is not type(part.plugin):
            return None
        read = [each.context.read_for_providers() for each in (part, running) if each.context is not None]
        tables = {table: model for table, model in part.settings.items() if any(model in each for each in read)}
        changed = {table for table, model in tables.items() if self.tables.get(model) != before.tables.get(model)}
        return TablesRead(set(tables), changed)

    def settings(self, config: RawConfig) -> Mapping[str, type[BaseModel]]:
        """Validate the settings tables of the loaded plugins; gives the model of each table.

        A wrong value switches its plugin off. Raises `ConfigErrors` with every unknown key, and `Clash` for two classes
        under one table name.
        """
        owners: dict[str, str] = {}
        models: dict[str, type[BaseModel]] = {}
        for part in self._loaded():
            part.settings = self._settings_of(part)
            for name, model in part.settings.items():
                if name in CORE_TABLES:
                    raise Clash(f"plugin {part.name!r} and the engine both own the settings table [{name}]")
                owner = owners.setdefault(name, part.name)
                if models.setdefault(name, model) is not model:
                    raise Clash(f"plugins {owner!r} and {part.name!r} both own the settings table [{name}]")
        unknown: list[ConfigError] = []
        for part in self._loaded():
            unknown += self._read_settings(part, config)
        if unknown:
            raise ConfigErrors(list({error.key: error for error in unknown}.values()))
        return models

    def register_cli(self, app: Any) -> None:
        """Let every loaded plugin add its commands to the program."""
        for part in self._loaded():
            self._ask(part, "register_cli", app=app)

    def register_tables(self, only: Collection[str] | None = None) -> list[tuple[str, Tables]]:
        """The tables of the plugins, with their owners."""
        collected = self._collect("register_tables", only)
        return [(owner, tables) for owner, tables in collected if self.parts[owner].on]

    def gather(
        self, only: Collection[str] | None = None, kept: Gathered | None = None, renewed: Collection[str] = ()
    ) -> Gathered:
        """Ask every hook of every plugin that is on; raises `Clash` where two claim one name.

        With `only`, these alone are asked, and what they bring stands beside what was `kept` of the others. Those that are
        `renewed` are asked for their models and providers.
        """
        providing = None if only is None else {*only, *renewed}
        gathered = Gathered(
            models=self._collect("register_models", providing),
            providers=self._collect("register_providers", providing),
            tools=self._collect("register_tools", only),
            commands=self._collect("register_commands", only),
            routes=self._collect("register_routes", only),
            listeners=self._collect("register_listeners", only),
            checks=self._collect("register_health_checks", only),
        ).without(self.off)
        gathered = guarded(gathered, [part.name for part in self.parts.values() if part.own])
        if kept is not None:
            gathered = kept.beside(gathered, self._enabled)
        gathered.check()
        return gathered

    async def enter_lifespans(self, seconds: float, only: Collection[str] | None = None) -> list[str]:
        """Open what the plugins keep open, each within so many seconds; gives the names of those that are off now."""
        before = [part for part in self._loaded() if only is None or part.name in only]
        for part in before:
            if not part.on:
                continue  # it requires one that failed
            try:
                part.lifespan = Lifespan(part.name, self._call(part, "register_lifespan", context=part.context))
                await part.lifespan.open(seconds)
            except BaseException as error:
                if is_ours(error):
                    raise
                self.fail(part, f"did not start: {_words(error)}", error)
        return [part.name for part in before if not part.on]

    async def close(self) -> None:
        """Close what the plugins keep open, in reverse; also of a plugin that failed after it was opened."""
        ends = asyncio.get_running_loop().time() + ALL_CLOSED_WITHIN
        for name in reversed(self._enabled):
            if name in self.parts:
                left = ends - asyncio.get_running_loop().time()
                await close(self.parts[name], min(CLOSED_WITHIN, max(0.0, left)))

    def fail(self, part: Part, reason: str, error: BaseException | None = None) -> None:
        """Switch a plugin off for a reason, and with it those that require it.

        Raises `RequiredPluginFailed` when the operator requires one of them.
        """
        if error is not None and (at := _place(error)) and at not in reason:
            reason = f"{reason} ({at})"
        part.reason = mask_text(reason)
        log.error("plugin_off", plugin=part.name, reason=part.reason, exc_info=error if _is_bug(error) else None)
        if part.name in self._required:
            raise RequiredPluginFailed(f"plugin {part.name!r} is required and {part.reason}") from error
        for other in self._loaded():
            if other.on and part.name in other.requires:
                self._check_requires(other)

    def strike(self, struck: Mapping[str, StruckOut]) -> None:
        """Tell of plugins that the engine switched off."""
        for name, why in struck.items():
            part = self.parts.get(name)
            if part is not None and not part.enabled:
                part.struck, part.reason = why.public, why.reason

    def inner_imports(self, only: Collection[str] | None = None) -> dict[str, list[str]]:
        """What plugins that are not shipped import of the engine beside its public door, by their names.

        Reads their source: not for the event loop.
        """
        others = [part for part in self._loaded() if not part.own and (only is None or part.name in only)]
        found = {part.name: inner_imports(type(part.plugin)) for part in others if part.plugin is not None}
        return {name: imports for name, imports in found.items() if imports}

    def defined_at(self, name: str, hook: str) -> str:
        """Where a plugin's hook stands, as file and line; empty where nobody can tell."""
        return defined_at(getattr(type(self.parts[name].plugin), hook, None))

    @property
    def off(self) -> list[str]:
        """Names of installed plugins that take no part."""
        return [part.name for part in self.parts.values() if not part.on]

    @property
    def absent(self) -> dict[str, str]:
        """The same plugins, each with words for whoever asks for what it would answer."""
        return {part.name: part.absence for part in self.parts.values() if not part.on}

    def _loaded(self) -> list[Part]:
        return [self.parts[name] for name in self._enabled if self.parts[name].on]

    # Import and order

    def _import(self, part: Part) -> None:
        try:
            plugin = made(part.name, self.installed[part.name].load())
            self._manager.register(plugin, part.name)
            part.hooks = self._hooks_of(plugin)
            part.unmarked = _unmarked(plugin, part.hooks)
        except BaseException as error:
            if is_ours(error):
                raise
            found = "" if _place(error) else f" (the entry point is that of {part.origin})"
            self.fail(part, f"cannot be loaded: {_words(error)}{_remedy(error)}{found}", error)
        else:
            part.plugin = plugin
            for method in part.unmarked:
                log.warning("hook_not_marked", plugin=part.name, method=method, remedy="write @hookimpl above it")

    def _hooks_of(self, plugin: Plugin) -> tuple[str, ...]:
        """The hooks that a plugin implements; raises `PluginMistake` for one that the engine would never call."""
        callers = sorted(self._manager.get_hookcallers(plugin) or (), key=lambda caller: caller.name)
        known = [caller.name for caller in callers if caller.has_spec()]
        for caller in callers:
            if not caller.has_spec():
                near = nearest(caller.name, HOOKS)
                hint = f"; did you mean {near!r}?" if near else ""
                at = defined_at(getattr(plugin, caller.name, None))
                raise PluginMistake(f"there is no hook {caller.name!r}{hint}", at)
        return tuple(known)

    def _check_requires(self, part: Part) -> None:
        for name in part.requires if part.on else ():
            needed = self.parts.get(name)
            if needed is None:
                return self.fail(part, f"needs the plugin {name!r}, which is not installed")
            if not needed.enabled:
                return self.fail(part, f"needs the plugin {name!r}, which is off: add it to [plugins] enabled")
            if not needed.on:
                return self.fail(part, f"needs the plugin {name!r}, which is off: it {needed.reason}")
        return None

    def _place(self, name: str, order: list[str], path: tuple[str, ...]) -> None:
        if name in order:
            return
        if name in path:
            raise Clash(f"plugins require each other in a circle: {' -> '.join((*path, name))}")
        part = self.parts[name]
        for required in part.requires if part.on else ():
            self._place(required, order, (*path, name))
        order.append(name)

    # Hooks

    def _call(self, part: Part, hook: str, **arguments: Any) -> list[Any]:
        """One plugin's answer to one hook, as a list."""
        if hook not in part.hooks:
            return []
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not part.plugin]
        known = dict(vars(part.plugin)) if hook in PROVIDER_HOOKS else {}
        with part.context.within(hook) if part.context is not None else nullcontext():
            # The plugin manager leaves out an answer that is None.
            answers = self._manager.subset_hook_caller(hook, others)(**arguments) or [None]
            try:
                given = checked(hook, answers[0]) if hook in ANSWERS else []
            except PluginMistake as error:
                error.at = error.at or self.defined_at(part.name, hook)
                raise
        if hook in PROVIDER_HOOKS and _differs(known, vars(part.plugin)):
            part.keeps_providers = True
        return given

    def _ask(self, part: Part, hook: str, **arguments: Any) -> list[Any]:
        """As `_call`; a plugin that cannot answer is off, and brings nothing."""
        if not part.on:
            return []
        try:
            return self._call(part, hook, **arguments)
        except BaseException as error:
            if is_ours(error):
                raise
            self.fail(part, f"{hook} failed: {_words(error)}", error)
            return []

    def _collect(self, hook: str, only: Collection[str] | None = None) -> list[tuple[str, Any]]:
        asked = [part for part in self._loaded() if only is None or part.name in only]
        return [(part.name, thing) for part in asked for thing in self._ask(part, hook, context=part.context)]

    # Configuration

    def _check_names(self, config: RawConfig) -> None:
        problems = []
        for key, names in (("plugins.enabled", self._enabled), ("plugins.required", sorted(self._required))):
            for name in names:
                if name not in self.installed:
                    message = (
                        f"no plugin {name!r} is installed; installed are {', '.join(sorted(self.installed)) or 'none'}"
                    )
                    near = nearest(name, self.installed)
                    problems.append(
                        ConfigError(
                            key=key, origin=config.origin(key), message=message, nearest=near, path=split_key(key)
                        )
                    )
                elif key == "plugins.required" and name not in self._enabled:
                    message = f"plugin {name!r} is required but not enabled; add it to [plugins] enabled"
                    problems.append(
                        ConfigError(key=key, origin=config.origin(key), message=message, path=split_key(key))
                    )
        if problems:
            raise ConfigErrors(problems)

    def _settings_of(self, part: Part) -> Mapping[str, type[BaseModel]]:
        """The tables of one plugin by their names, its own among them."""
        beside = self._ask(part, "register_settings")
        if not part.on or part.plugin is None:
            return {}
        return {f"plugins.{part.name}": part.plugin.Settings, **{table.table: table for table in beside}}

    def _read_settings(self, part: Part, config: RawConfig) -> list[ConfigError]:
        """Read the tables of one plugin; where keys are unknown, which are the operator's slips, gives all that is wrong."""
        wrong: list[ConfigError] = []
        for name, model in part.settings.items():
            if model not in self.tables:
                try:
                    self.tables[model] = config.table(name, model)
                except ConfigErrors as found:
                    wrong += self._without(found.errors, name, model, config)
                except BaseException as error:
                    if is_ours(error):
                        raise
                    self.fail(part, f"has settings whose validation failed: [{name}] {_words(error)}", error)
                    return []
        if any(map(_is_slip, wrong)):
            return wrong
        if wrong and part.on:
            self.fail(part, f"has settings that cannot be used: {'; '.join(map(str, wrong))}")
        return []

    def _without(
        self, errors: Sequence[ConfigError], name: str, model: type[BaseModel], config: RawConfig
    ) -> Sequence[ConfigError]:
        """Go on without what is wrong in a table where its plugin can; gives the errors that remain."""
        if not issubclass(model, SettingsTable) or any(map(_is_slip, errors)):
            return errors
        table = salvaged(config, name, model, errors)
        if table is None:
            return errors
        self.tables[model] = table
        self.faults[name] = list(errors)
        log.error("settings_not_usable", table=name, problems=[str(error) for error in errors])
        return ()


async def close(part: Part, seconds: float = CLOSED_WITHIN) -> None:
    """Close what a plugin keeps open, whatever it raises and however long it takes."""
    if part.lifespan is not None:
        await part.lifespan.close(seconds)


def _is_slip(error: ConfigError) -> bool:
    return error.message.startswith("unknown key")


def _renewable(running: Part, changed: Sequence[type[BaseModel]]) -> bool:
    """Whether other values of these tables matter to nothing but the providers of a running plugin."""
    own, context = running.settings.get(f"plugins.{running.name}"), running.context
    return (
        context is not None
        and not running.keeps_providers
        and own not in changed
        and all(context.read_by_providers_alone(table) for table in changed)
    )


def _differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() != other.keys() or any(one[key] is not other[key] for key in one)


def _place(error: BaseException) -> str:
    """Where in a plugin's code an error came from, as file and line; empty where it came from elsewhere."""
    if isinstance(error, PluginMistake):
        return error.at
    if isinstance(error, (ConfigError, OpenedTooLate)):
        return ""
    if isinstance(error, pluggy.PluginValidationError):
        hook = next((name for name in HOOKS if f"for hook {name!r}" in str(error)), "")
        return defined_at(getattr(error.plugin, hook, None))
    at = raised_at(error)
    return at if is_plugins(at) else ""


def _remedy(error: BaseException) -> str:
    """What to do about an import that fails."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    if package == "engine":
        return "; it is written for another version of the engine"
    return f"; install the package that has it, mostly by `pip install {package}`"


def _unmarked(plugin: Plugin, hooks: Collection[str]) -> tuple[str, ...]:
    found = ((name, getattr(type(plugin), name, None)) for name in HOOKS if name not in hooks)
    return tuple(f"{name} at {defined_at(method)}" for name, method in found if callable(method))


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, (ConfigError, OpenedTooLate, ValueError)) else f"{type(error).__name__}: {text}"


def _is_bug(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, (ConfigError, ImportError, OpenedTooLate, PluginMistake))
