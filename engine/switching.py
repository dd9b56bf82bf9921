"""Changes plugins and settings of a running server: either the whole change, or none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
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

AT_ONCE = ("plugins.", "models.", "limits.", "log.level")
"""What of the engine's settings holds at once, as those of plugins do; the others wait for the next start."""

NEXT_START = ("limits.redis",)
"""What of these does not."""

ENDED_WITHIN = 12.0
"""Seconds that turns have to write their end down, once they are stopped."""

MOST_NAMED = 20
"""Tasks that a log line names; the others are counted."""

State = Literal["on", "off", "failed", "closing"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did.

    `renewed` are plugins that go on with other providers. `restart` lists the settings that hold from the next start only.
    """

    started: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()
    settings: Mapping[str, tuple[Any, Any]] | None = None
    restart: tuple[str, ...] = ()


class Refused(Conflict):
    """Raised when a change cannot be made; everything is as it was, and is refused again until something else has changed."""

    retryable = False


def not_installed(name: str, installed: Collection[str]) -> NotFound:
    """Says that there is no such plugin, and which are near."""
    near = nearest(name, installed)
    hint = f"; did you mean {near!r}?" if near else f"; installed are {', '.join(sorted(installed))}"
    return NotFound(f"no plugin {name!r} is installed{hint}")


def _refused(error: Exception) -> Refused:
    return Refused(f"nothing was changed: {mask_text(str(error))}")


class _Later(Exception):
    """Raised where a change cannot be made yet; `what` is awaited before it is tried again, without holding up others."""

    def __init__(self, what: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.what = what


class _Overtaken(Exception):
    """Raised where another change was made while plugins of this one opened."""


class Switchboard:
    """The plugins that run, and the ways to change them.

    One change is made at a time, but that others may be made while plugins of one open: they may take all the time they
    have. A change that another one came before is made anew.
    """

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
        self._read_names = frozenset(core.plugins.enabled)
        self._raw = raw
        self._serving = serving
        self._databases = databases
        self._furnish = furnish
        self._find = find
        self._changed = changed
        self._switching = asyncio.Lock()
        self._opening: dict[str, asyncio.Event] = {}
        """Plugins that open while others may switch, each with what is set when that is over."""
        self._closing: dict[asyncio.Task[None], _Closing] = {}
        self._releasing: set[asyncio.Task[None]] = set()
        self._struck: dict[str, StruckOut] = {}
        self._owners: tuple[object, Ownership] | None = None

    def state(self, part: Part) -> State:
        """How a plugin stands; one that is closing still serves what had begun."""
        if part.on:
            return "on"
        if any(closing.part.name == part.name for closing in self._closing.values()):
            return "closing"
        return "failed" if part.enabled or part.struck is not None else "off"

    def switched(self, part: Part) -> bool:
        """Whether an operator switched a plugin on or off since the configuration was read."""
        return part.struck is None and part.enabled != (part.name in self._read_names)

    def running(self, name: str) -> int:
        """Turns and calls that use a plugin now."""
        part = self.loader.parts.get(name)
        if part is not None and part.on:
            return self._uses(name, self._brought(name)).left
        return max((each.using.left for each in self._closing.values() if each.part.name == name), default=0)

    @property
    def owners(self) -> Ownership:
        """Which plugin's a piece of code is, of all that take part."""
        gathered, parts = self._serving.gathered, self._all_parts()
        plugins = [type(part.plugin) for part in parts if part.plugin is not None]
        if self._owners is None or self._owners[0] != (gathered, plugins):
            found = Ownership(dict.fromkeys(plugins), things_of(gathered) if gathered is not None else ())
            self._owners = (gathered, plugins), found
        return self._owners[1]

    def _all_parts(self) -> list[Part]:
        """Those of now, and those that still serve what began with them."""
        return [*self.loader.parts.values(), *(closing.part for closing in list(self._closing.values()))]

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
        return await self._in_turn(partial(self._switch, name, enabled, persist))

    async def _in_turn(self, make: Callable[[bool], Awaitable[Change]]) -> Change:
        """Make a change in its turn; `make` is told whether others have to wait until it is made."""
        while True:
            try:
                async with self._switching:
                    try:
                        return await make(False)
                    except _Overtaken:
                        # In the same turn: who asked for something later must not come first.
                        return await make(True)
            except _Later as later:
                await later.what()

    async def _switch(self, name: str, enabled: bool, persist: bool, alone: bool) -> Change:
        if (opening := self._opening.get(name)) is not None:
            raise _Later(opening.wait)
        installed = self._installed(name)
        if name not in installed:
            raise not_installed(name, installed)
        self._refuse_switch(name, enabled, persist)
        if enabled and not self._is_on(name) and self._closing_of_name(name):
            raise _Later(partial(self._closed, name))  # what it holds may be wanted again
        names = [each for each in self.core.plugins.enabled if each != name] + ([name] if enabled else [])
        raw = self._raw.with_value("plugins.enabled", names, "a switch at run time")
        change = await self._change(raw, installed, {name} if enabled else frozenset(), alone=alone)
        if not enabled:
            self._hurry(name)
        if persist:
            try:
                await asyncio.to_thread(write_switch, self.core.plugins.switches, name, enabled)
            except (OSError, ConfigError) as error:
                words = f"the plugin is switched, but this could not be kept: {error}"
                raise Conflict(words, retryable=False) from None
        return change

    async def strike_out(self, name: str, why: StruckOut) -> Change:
        """Switch a plugin off for what it did, and with it those that need it.

        It stays off until an operator switches it on, or the configuration is read again.
        """
        return await self._in_turn(partial(self._strike_out, name, why))

    async def _strike_out(self, name: str, why: StruckOut, alone: bool) -> Change:
        if name in self.core.plugins.required:
            raise Refused(f"plugin {name!r} stands in [plugins] required and stays on")
        struck = {name: why}
        for needing in self._needing(name):
            words = f"needs the plugin {name!r}, which was switched off for holding the event loop"
            struck[needing] = StruckOut(words, words)
        names = [each for each in self.core.plugins.enabled if each not in struck]
        raw = self._raw.with_value("plugins.enabled", names, "a switch at run time")
        struck = {**self._struck, **struck}
        change = await self._change(raw, self._installed(name), frozenset(), struck=struck, alone=alone)
        self._hurry(name)
        return change

    def _needing(self, name: str) -> list[str]:
        """Plugins that are on and cannot be without another."""
        found = [name]
        for each in found:
            found += [
                part.name
                for part in self.loader.parts.values()
                if part.on and each in part.requires and part.name not in found
            ]
        return found[1:]

    async def reload(self, raw: RawConfig) -> Change:
        """Go over to another configuration; switches that were not kept are forgotten. Raises `Refused`."""
        return await self._in_turn(partial(self._reload, raw))

    async def _reload(self, raw: RawConfig, alone: bool) -> Change:
        change = await self._change(raw, self._installed(), frozenset(), again=True, alone=alone)
        self._read, self._read_names = raw, frozenset(self.core.plugins.enabled)
        return change

    def _installed(self, name: str | None = None) -> Mapping[str, Installed]:
        """What is installed now. Two packages with a plugin of one name are in the way of this plugin alone."""
        try:
            return self._find()
        except PluginNameTaken as error:
            if name is None or error.name == name:
                raise Refused(f"nothing was changed: {error}") from None
            return self.loader.installed

    def _refuse_switch(self, name: str, enabled: bool, persist: bool) -> None:
        origin = self._read.origin("plugins.enabled") or ""
        if persist and origin.startswith("environment variable"):
            raise Refused(f"this cannot be kept: {origin} says which plugins are on at the next start")
        if enabled:
            return
        if name in self.core.plugins.required:
            raise Refused(f"plugin {name!r} stands in [plugins] required and stays on")
        needing = sorted(self._needing(name))
        if needing:
            raise Refused(f"plugin {name!r} is needed by {', '.join(needing)}; switch that off first")

    async def _change(
        self,
        raw: RawConfig,
        installed: Mapping[str, Installed],
        must: Collection[str],
        *,
        struck: Mapping[str, StruckOut] | None = None,
        again: bool = False,
        alone: bool,
    ) -> Change:
        """Go over to a configuration; `must` names plugins that have to be on then.

        Plugins that failed before are tried `again`, or left as they are; either way they are in nobody's way. While plugins
        open, others may switch, but for a change that is made `alone`.
        """
        before = self.loader
        try:
            core = read_core(raw)
        except ConfigError as error:
            raise _refused(error) from None
        loader = Loader(installed, core.plugins.enabled, core.plugins.required)
        struck = self._struck if struck is None else struck
        struck = {name: why for name, why in struck.items() if name not in core.plugins.enabled}
        try:
            failed = {} if again else self._failed(must)
            loader.load(raw, failed)
            check_tables(raw, loader.settings(raw), loader.off)
            started, renewed = loader.adopt(before)
            loader.strike(struck)
            if (opening := next((self._opening[name] for name in started if name in self._opening), None)) is not None:
                raise _Later(opening.wait)
            # Contexts that are renewed are shared with the plugins that run, so nobody else may renew them meanwhile.
            tables = await self._started(core, loader, started, renewed, must, alone or bool(renewed))
        except BaseException as error:
            await self._give_up(loader, before)
            if isinstance(error, ConfigError | Clash | RequiredPluginFailed | EngineError):
                raise _refused(error) from None
            raise
        started = [name for name in started if loader.parts[name].on]
        stopped = [part for part in before.parts.values() if part.on and not self._stays(loader, part)]
        changed = dict(_differences(self.core, before, core, loader))
        closings = [self._closing_of(part, loader) for part in stopped]
        everything = self._everything()
        self._serving.place(tables)
        self._raw, self.core, self.loader, self._struck = raw, core, loader, dict(struck)
        for closing in closings:
            self._begin_closing(closing)
        for name in renewed:
            self._release_renewed(loader.parts[name], everything)
        restart = tuple(key for key in changed if _waits_for_restart(key))
        names = tuple(part.name for part in stopped)
        change = Change(tuple(started), names, tuple(renewed), changed, restart)
        log.info(
            "switched",
            started=change.started,
            stopped=change.stopped,
            renewed=change.renewed,
            changed=_words(changed),
            restart=restart,
        )
        await self._changed(change)
        return change

    def _failed(self, must: Collection[str]) -> dict[str, str]:
        """Plugins that failed and are not tried again, with the reason of each: all but those that a change may mend."""
        return {
            part.name: part.reason
            for part in self.loader.parts.values()
            if part.enabled
            and part.reason is not None
            and part.name not in must
            and not (set(part.requires) & set(must))
        }

    async def _started(
        self,
        core: CoreSettings,
        loader: Loader,
        started: list[str],
        renewed: list[str],
        must: Collection[str],
        alone: bool,
    ) -> Tables:
        """Everything that is new, opened; what serves is untouched. Raises `Refused` for a plugin that fails by the change."""
        self._furnish(loader, started)
        await open_tables(loader, self._databases, auto_upgrade=core.databases.auto_upgrade, only=started)
        for name in renewed:
            if (context := loader.parts[name].context) is not None:
                context.renew(loader.tables)
        stays = [part.name for part in loader.parts.values() if part.on and part.name not in started]
        kept = self._gathered.without([name for name in self.loader.parts if name not in stays])
        gathered = servable(loader, loader.gather(started, kept.without_providers(renewed), renewed))
        self._serving.build(core, loader, gathered, self.loader)  # a clash is told before anything is opened
        if alone or not started:
            await loader.enter_lifespans(core.plugins.start_timeout, started)
        else:
            before = self.loader
            async with self._others_may_switch(started):
                await loader.enter_lifespans(core.plugins.start_timeout, started)
            if self.loader is not before:
                raise _Overtaken
        for part in loader.parts.values():
            failed = part.enabled and not part.on
            if failed and (part.name in must or not self._failed_before(part.name)):
                raise Refused(f"plugin {part.name!r} {part.reason}")
        return self._serving.build(core, loader, gathered.without(loader.off), self.loader)

    @asynccontextmanager
    async def _others_may_switch(self, opening: Collection[str]) -> AsyncIterator[None]:
        """While these plugins open."""
        over = asyncio.Event()
        self._opening |= dict.fromkeys(opening, over)
        self._switching.release()
        try:
            yield
        finally:
            cancelled: asyncio.CancelledError | None = None
            while True:
                # Whoever is cancelled here has to have its turn again, which it gives back.
                try:
                    await self._switching.acquire()
                    break
                except asyncio.CancelledError as error:
                    cancelled = error
            for name in opening:
                del self._opening[name]
            over.set()
            if cancelled is not None:
                raise cancelled

    def _failed_before(self, name: str) -> bool:
        part = self.loader.parts.get(name)
        return part is not None and part.enabled and not part.on

    def _is_on(self, name: str) -> bool:
        part = self.loader.parts.get(name)
        return part is not None and part.on

    def _stays(self, loader: Loader, part: Part) -> bool:
        now = loader.parts.get(part.name)
        return now is not None and now.on and now.plugin is part.plugin

    async def _give_up(self, loader: Loader, before: Loader) -> None:
        """Close what a refused change has opened; what it took over from the running plugins is theirs."""
        for part in loader.parts.values():
            running = before.parts.get(part.name)
            if running is not None and running.plugin is part.plugin:
                if part.context is not None:
                    await part.context.undo_renewal()
            elif part.plugin is not None:
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

    def _everything(self) -> _Using:
        """All that runs now."""
        http, supervisor, registry = self._serving.http, self._serving.supervisor, self._serving.registry
        requests = http.uses.of(lambda _: True) if http is not None else []
        return _Using(self._serving, supervisor.uses.of(lambda _: True), registry.uses.of(lambda _: True), requests)

    def _closing_of(self, part: Part, loader: Loader) -> _Closing:
        """How a plugin is closed: when one is put in its place, what began with it may take as long as it likes."""
        now = loader.parts.get(part.name)
        if now is not None and now.on:
            return _Closing(part, self._everything())
        closing = _Closing(part, self._uses(part.name, self._brought(part.name)), _reason_of(now))
        closing.hurry.set()
        return closing

    def _begin_closing(self, closing: _Closing) -> None:
        task = asyncio.create_task(self._close(closing), name=f"closing plugin {closing.part.name}")
        self._closing[task] = closing
        task.add_done_callback(self._closing.pop)

    def _hurry(self, name: str) -> None:
        """A plugin is off: what began with earlier ones of its name has no more time than what began with the last."""
        for closing in self._closing.values():
            if closing.part.name == name:
                closing.hurry.set()

    async def _closed(self, name: str) -> None:
        """Return when no plugin of this name is closing any more."""
        if waiting := self._closing_of_name(name):
            await asyncio.wait(waiting)

    def _closing_of_name(self, name: str) -> list[asyncio.Task[None]]:
        return [task for task, closing in self._closing.items() if closing.part.name == name]

    async def _close(self, closing: _Closing) -> None:
        part = closing.part
        try:
            await closing.over(self.core.server.drain)
        finally:
            await close(part)
            if part.context is not None:
                await part.context.leave()
            await self._end_tasks(part)
        log.info("plugin_closed", plugin=part.name)

    def _release_renewed(self, part: Part, using: _Using) -> None:
        """Close what only the old providers of a plugin used, once all that may use them is over."""
        user = part.context.renewed() if part.context is not None else None
        if user is None or part.context is None:
            return
        context = part.context

        async def release() -> None:
            try:
                await using.over()
            finally:
                await context.release(user)

        task = asyncio.create_task(release(), name=f"releasing the former providers of {part.name}")
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

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
        closing = [*self._closing, *self._releasing]
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
            await asyncio.wait_for(self.over(), seconds)
        except TimeoutError:
            for turn in self.turns:
                turn.fail(error)
            for call in self.calls:
                call.dismiss(error)
            if self.serving.http is not None:
                await self.serving.http.route_sockets.dismiss(self.requests, error.message)
            try:
                await asyncio.wait_for(self.over(), ENDED_WITHIN)
            except TimeoutError:
                log.error("plugin_still_in_use", turns=len(self.turns), calls=len(self.calls))

    async def over(self) -> None:
        """Return when all of it is over."""
        await self.serving.supervisor.uses.over(self.turns)
        await self.serving.registry.uses.over(self.calls)
        if self.serving.http is not None:
            await self.serving.http.uses.over(self.requests)


class _Closing:
    """A plugin that is on no more and serves what began with it; with `hurry` set, for a while only."""

    def __init__(self, part: Part, using: _Using, why: str = "was switched off") -> None:
        self.part = part
        self.using = using
        self.hurry = asyncio.Event()
        self._why = why

    async def over(self, seconds: float) -> None:
        """Return when what began with it is over, or was ended."""
        over, hurry = asyncio.ensure_future(self.using.over()), asyncio.ensure_future(self.hurry.wait())
        try:
            await asyncio.wait((over, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            hurry.cancel()
        await self.using.finish(seconds, FeatureDisabled(f"the plugin {self.part.name!r} {self._why}"))


def _reason_of(now: Part | None) -> str:
    """Why a plugin is off, for those whose turns it ends."""
    return "was switched off by the server" if now is not None and now.struck is not None else "was switched off"


def _waits_for_restart(key: str) -> bool:
    if key.split(".")[0] not in CORE_TABLES:
        return False
    return key.startswith(NEXT_START) or not key.startswith(AT_ONCE)


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
