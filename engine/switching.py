"""Changes plugins and settings of a running server: either the whole change, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from engine.api.errors import Conflict, EngineError, FeatureDisabled, NotFound
from engine.config import CORE_TABLES, ConfigError, CoreSettings, RawConfig, read_core
from engine.config.keys import nearest
from engine.config.secrecy import mask_text, names_secret
from engine.config.switches import write_switch
from engine.db.databases import Databases
from engine.loader.code import Ownership, place_of, things_of
from engine.loader.find import Installed, PluginNameTaken
from engine.loader.gathered import Clash, Gathered
from engine.loader.load import Loader, Part, RequiredPluginFailed, StruckOut, close
from engine.loader.strangers import check_tables
from engine.loader.tables import open_tables
from engine.log import get_logger
from engine.serving import Serving, Tables, servable

log = get_logger(__name__)

AT_ONCE = frozenset({"plugins", "models"})
"""Tables of the engine whose changes hold at once, as those of plugins do; the others wait for the next start."""

ENDED_WITHIN = 12.0
"""Seconds that turns have to write their end down, once they are stopped."""

MOST_NAMED = 20
"""Tasks that a log line names; the others are counted."""

State = Literal["on", "off", "failed", "closing"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did. `restart` lists the settings that hold from the next start only."""

    started: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    settings: Mapping[str, tuple[Any, Any]] | None = None
    restart: tuple[str, ...] = ()


class Refused(Conflict):
    """Raised when a change cannot be made; everything is as it was."""


def not_installed(name: str, installed: Collection[str]) -> NotFound:
    """Says that there is no such plugin, and which are near."""
    near = nearest(name, installed)
    hint = f"; did you mean {near!r}?" if near else f"; installed are {', '.join(sorted(installed))}"
    return NotFound(f"no plugin {name!r} is installed{hint}")


def _refused(error: Exception) -> Refused:
    return Refused(f"nothing was changed: {mask_text(str(error))}")


class Switchboard:
    """The plugins that run, and the ways to change them."""

    def __init__(
        self,
        raw: RawConfig,
        core: CoreSettings,
        loader: Loader,
        *,
        serving: Serving,
        databases: Databases,
        furnish: Callable[[Loader, Iterable[str]], None],
        find: Callable[[], Mapping[str, Installed]],
        changed: Callable[[Change], Awaitable[None]],
    ) -> None:
        self.core = core
        self.loader = loader
        # As it was read, without what was switched since.
        self._read = raw
        self._raw = raw
        self._serving = serving
        self._databases = databases
        self._furnish = furnish
        self._find = find
        self._changed = changed
        self._switching = asyncio.Lock()
        self._closing: dict[str, tuple[asyncio.Task[None], _Using]] = {}
        self._struck: dict[str, StruckOut] = {}
        self._owners: tuple[object, Ownership] | None = None

    def state(self, part: Part) -> State:
        """How a plugin stands; one that is closing still serves what had begun."""
        if part.on:
            return "on"
        if part.name in self._closing:
            return "closing"
        return "failed" if part.enabled or part.struck is not None else "off"

    def running(self, name: str) -> int:
        """Turns and calls that use a plugin now."""
        closing = self._closing.get(name)
        using = closing[1] if closing is not None else self._uses(name, self._brought(name))
        return using.left

    @property
    def owners(self) -> Ownership:
        """Which plugin's a piece of code is, of all that take part."""
        loader, gathered = self.loader, self._serving.gathered
        if self._owners is None or self._owners[0] is not gathered or gathered is None:
            plugins = [type(part.plugin) for part in loader.parts.values() if part.plugin is not None]
            self._owners = gathered, Ownership(plugins, things_of(gathered) if gathered is not None else ())
        return self._owners[1]

    @property
    def own(self) -> frozenset[str]:
        """Names of the plugins that the engine ships."""
        return frozenset(part.name for part in self.loader.parts.values() if part.own)

    @property
    def struck(self) -> Mapping[str, StruckOut]:
        """The plugins that were struck out, and why."""
        return self._struck

    # Changes

    async def switch(self, name: str, enabled: bool, *, persist: bool = False) -> Change:
        """Switch one plugin on or off; raises `NotFound`, `Refused` or `InvalidRequest`, and then nothing has changed.

        Once off, its commands and routes are gone; what runs has `[server] drain` seconds to finish.
        """
        async with self._switching:
            installed = self._installed()
            if name not in installed:
                raise not_installed(name, installed)
            self._refuse_switch(name, enabled, persist)
            if enabled and (closing := self._closing.get(name)) is not None:
                await asyncio.wait((closing[0],))  # what it holds may be wanted again
            names = [each for each in self.core.plugins.enabled if each != name] + ([name] if enabled else [])
            raw = self._raw.with_value("plugins.enabled", names, "a switch at run time")
            change = await self._change(raw, installed, {name} if enabled else frozenset())
            if persist:
                try:
                    await asyncio.to_thread(write_switch, self.core.plugins.switches, name, enabled)
                except (OSError, ConfigError) as error:
                    raise Conflict(f"the plugin is switched, but this could not be kept: {error}") from None
            return change

    async def strike_out(self, name: str, why: StruckOut) -> Change:
        """Switch a plugin off for what it did: until an operator switches it on, or the configuration is read again."""
        async with self._switching:
            self._refuse_switch(name, False, False)
            names = [each for each in self.core.plugins.enabled if each != name]
            raw = self._raw.with_value("plugins.enabled", names, "a switch at run time")
            return await self._change(raw, self._installed(), frozenset(), {**self._struck, name: why})

    async def reload(self, raw: RawConfig) -> Change:
        """Go over to another configuration; switches that were not kept are forgotten. Raises `Refused`."""
        async with self._switching:
            change = await self._change(raw, self._installed(), frozenset())
            self._read = raw
            return change

    def _installed(self) -> Mapping[str, Installed]:
        try:
            return self._find()
        except PluginNameTaken as error:
            raise Refused(f"nothing was changed: {error}") from None

    def _refuse_switch(self, name: str, enabled: bool, persist: bool) -> None:
        origin = self._read.origin("plugins.enabled") or ""
        if persist and origin.startswith("environment variable"):
            raise Refused(f"this cannot be kept: {origin} says which plugins are on at the next start")
        if enabled:
            return
        if name in self.core.plugins.required:
            raise Refused(f"plugin {name!r} stands in [plugins] required and stays on")
        needing = sorted(part.name for part in self.loader.parts.values() if part.on and name in part.requires)
        if needing:
            raise Refused(f"plugin {name!r} is needed by {', '.join(needing)}; switch that off first")

    async def _change(
        self,
        raw: RawConfig,
        installed: Mapping[str, Installed],
        must: Collection[str],
        struck: Mapping[str, StruckOut] | None = None,
    ) -> Change:
        before = self.loader
        try:
            core = read_core(raw)
        except ConfigError as error:
            raise _refused(error) from None
        loader = Loader(installed, core.plugins.enabled, core.plugins.required)
        struck = self._struck if struck is None else struck
        struck = {name: why for name, why in struck.items() if name not in core.plugins.enabled}
        try:
            started = self._judged(raw, loader)
            loader.strike(struck)
            tables = await self._started(core, loader, started, must)
        except BaseException as error:
            await self._give_up(loader)
            if isinstance(error, ConfigError | Clash | RequiredPluginFailed | EngineError):
                raise _refused(error) from None
            raise
        stopped = [part for part in before.parts.values() if part.on and not self._stays(loader, part)]
        changed = dict(_differences(self.core, before, core, loader))
        old = [(part, self._brought(part.name)) for part in stopped]
        uses = [self._uses(part.name, brought) for part, brought in old]
        self._serving.place(tables)
        self._raw, self.core, self.loader, self._struck = raw, core, loader, dict(struck)
        for (part, _), using in zip(old, uses, strict=True):
            self._begin_closing(part, using)
        restart = tuple(key for key in changed if key.split(".")[0] in CORE_TABLES.keys() - AT_ONCE)
        change = Change(tuple(started), tuple(part.name for part in stopped), changed, restart)
        log.info("switched", started=change.started, stopped=change.stopped, changed=_words(changed), restart=restart)
        if change.started or change.stopped:
            await self._changed(change)
        return change

    def _judged(self, raw: RawConfig, loader: Loader) -> list[str]:
        """Names of the plugins to start; raises what makes the configuration unusable."""
        loader.load(raw)
        check_tables(raw, loader.settings(raw), loader.off)
        return loader.adopt(self.loader)

    async def _started(self, core: CoreSettings, loader: Loader, started: list[str], must: Iterable[str]) -> Tables:
        """Everything that is new, opened; what serves is untouched. Raises `Refused` for a plugin that fails."""
        self._furnish(loader, started)
        await open_tables(loader, self._databases, auto_upgrade=core.databases.auto_upgrade, only=started)
        stays = [part.name for part in loader.parts.values() if part.on and part.name not in started]
        kept = self._gathered.without([name for name in self.loader.parts if name not in stays])
        gathered = servable(loader, loader.gather(started, kept))
        self._serving.build(core, loader, gathered)  # a clash is told before anything is opened
        await loader.enter_lifespans(started)
        failed = [part for part in loader.parts.values() if part.enabled and not part.on]
        for part in failed:
            if part.name in must or part.name in started or not self._failed_before(part.name):
                raise Refused(f"plugin {part.name!r} {part.reason}")
        return self._serving.build(core, loader, gathered.without(loader.off))

    def _failed_before(self, name: str) -> bool:
        part = self.loader.parts.get(name)
        return part is not None and part.enabled and not part.on

    def _stays(self, loader: Loader, part: Part) -> bool:
        now = loader.parts.get(part.name)
        return now is not None and now.on and now.plugin is part.plugin

    async def _give_up(self, loader: Loader) -> None:
        """Close what a refused change has opened; what it took over from the running plugins is theirs."""
        for part in loader.parts.values():
            running = self.loader.parts.get(part.name)
            if part.plugin is not None and (running is None or running.plugin is not part.plugin):
                await close(part)
                if part.context is not None:
                    await part.context.leave()

    # Closing

    @property
    def _gathered(self) -> Gathered:
        assert self._serving.gathered is not None
        return self._serving.gathered

    def _brought(self, name: str) -> list[int]:
        return [id(provider) for owner, provider in self._gathered.providers if owner == name]

    def _calls(self, providers: list[int]) -> list[Any]:
        return self._serving.registry.uses.of(lambda provider: id(provider) in providers)

    def _uses(self, name: str, providers: list[int]) -> _Using:
        http = self._serving.http
        requests = http.uses.of(name.__eq__) if http is not None else []
        return _Using(self._serving, self._serving.supervisor.uses.of(name.__eq__), self._calls(providers), requests)

    def _begin_closing(self, part: Part, using: _Using) -> None:
        task = asyncio.create_task(self._close(part, using), name=f"closing plugin {part.name}")
        self._closing[part.name] = task, using
        task.add_done_callback(lambda _: self._closed(part.name, task))

    def _closed(self, name: str, task: asyncio.Task[None]) -> None:
        if name in self._closing and self._closing[name][0] is task:
            del self._closing[name]

    async def _close(self, part: Part, using: _Using) -> None:
        try:
            await using.finish(self.core.server.drain, FeatureDisabled(f"the plugin {part.name!r} was switched off"))
        finally:
            await close(part)
            if part.context is not None:
                await part.context.leave()
            await self._end_tasks(part)
        log.info("plugin_closed", plugin=part.name)

    async def _end_tasks(self, part: Part) -> None:
        """Stop what the plugin began and did not end."""
        now = self.loader.parts.get(part.name)
        if part.plugin is None or (now is not None and now.on):
            return
        left = self._tasks_of(part)
        for task in left:
            task.cancel()
        if left:
            tasks = sorted(f"{task.get_name()}: {place_of(task)}" for task in left)
            log.warning("plugin_left_tasks", plugin=part.name, count=len(left), tasks=tasks[:MOST_NAMED])
            _, pending = await asyncio.wait(left, timeout=ENDED_WITHIN)
            if pending:
                places = sorted({place_of(task) for task in pending})
                log.error("plugin_tasks_ignore_cancel", plugin=part.name, count=len(pending), at=places[:MOST_NAMED])

    def _tasks_of(self, part: Part) -> list[asyncio.Task[Any]]:
        plugins = [type(each.plugin) for each in self.loader.parts.values() if each.plugin is not None]
        owners = Ownership([*plugins, type(part.plugin)] if part.plugin is not None else plugins)
        return [task for task in asyncio.all_tasks() if not task.done() and owners.task_owner(task) == part.name]

    async def close(self) -> None:
        """Close every plugin, those that are being closed at once."""
        closing = [task for task, _ in self._closing.values()]
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        await self.loader.close()


@dataclass(frozen=True, slots=True)
class _Using:
    """What used a plugin in the moment it was switched off."""

    serving: Serving
    turns: list[Any]
    calls: list[Any]
    requests: list[Any]

    @property
    def left(self) -> int:
        """Turns and calls that are not over."""
        turns, calls = self.serving.supervisor.uses, self.serving.registry.uses
        return sum(map(turns.has, self.turns)) + sum(map(calls.has, self.calls))

    async def finish(self, seconds: float, error: EngineError) -> None:
        """Wait until all of it is over; what outlasts the time is ended with the error."""
        try:
            await asyncio.wait_for(self._over(), seconds)
        except TimeoutError:
            for turn in self.turns:
                turn.fail(error)
            for call in self.calls:
                call.dismiss(error)
            if self.serving.http is not None:
                await self.serving.http.route_sockets.dismiss(self.requests, error.message)
            try:
                await asyncio.wait_for(self._over(), ENDED_WITHIN)
            except TimeoutError:
                log.error("plugin_still_in_use", turns=len(self.turns), calls=len(self.calls))

    async def _over(self) -> None:
        await self.serving.supervisor.uses.over(self.turns)
        await self.serving.registry.uses.over(self.calls)
        if self.serving.http is not None:
            await self.serving.http.uses.over(self.requests)


# What changed, for the log


def _differences(
    old: CoreSettings, before: Loader, new: CoreSettings, after: Loader
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Each setting that changed by its key, with both values; a secret is told to have changed and not shown."""
    for name in CORE_TABLES:
        yield from _changed(name, getattr(old, name), getattr(new, name))
    tables = {name: table for part in before.parts.values() for name, table in part.settings.items()}
    tables |= {name: table for part in after.parts.values() for name, table in part.settings.items()}
    for name, table in sorted(tables.items()):
        yield from _changed(name, before.tables.get(table), after.tables.get(table))


def _changed(name: str, old: BaseModel | None, new: BaseModel | None) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if old == new or old is None or new is None:
        return
    mine, theirs = old.model_dump(mode="json"), new.model_dump(mode="json")
    for key in {**mine, **theirs}:
        if getattr(old, key, None) != getattr(new, key, None):
            shown = (mine.get(key), theirs.get(key))
            yield f"{name}.{key}", ("***", "***") if names_secret(key) else shown


def _words(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{key}: {mask_text(str(old))} -> {mask_text(str(new))}" for key, (old, new) in changed.items()]
