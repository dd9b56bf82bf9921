"""What the engine hands to a plugin's hooks, and the resources that plugins share."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from engine.api.commands import Commands
from engine.api.data import Database
from engine.api.identity import Passes, Principal
from engine.api.plugin import Plugin, Shared
from engine.api.providers import Providers
from engine.api.tools import Tool, Tools
from engine.guard import Contained
from engine.loader.lifespan import CLOSED_WITHIN
from engine.log import get_logger

log = get_logger(__name__)

SettingsT = TypeVar("SettingsT", bound=BaseModel)
SharedT = TypeVar("SharedT")


class SharedResource(Generic[SharedT]):
    """Opened when it is first asked for, closed after its last user."""

    def __init__(self, factory: Callable[[], AbstractAsyncContextManager[SharedT]]) -> None:
        self._factory = factory
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._open: list[SharedT] = []
        self.users: set[int] = set()

    async def get(self) -> SharedT:
        if not self._open:
            async with self._opening:
                # The one before at this lock may have opened it.
                if not self._open:
                    self._open.append(await self._stack.enter_async_context(self._factory()))
        return self._open[0]

    async def close(self) -> None:
        """Close what is open; who asks again opens it anew."""
        self._open.clear()
        await self._stack.aclose()


_USERS = itertools.count(1)


class SharedResources:
    """One resource for each factory, for all plugins of an engine."""

    def __init__(self) -> None:
        self._resources: dict[Any, SharedResource[Any]] = {}

    def of(self, factory: Callable[[], AbstractAsyncContextManager[SharedT]], user: int = 0) -> Shared[SharedT]:
        resource = self._resources.setdefault(factory, SharedResource(factory))
        resource.users.add(user)
        return cast("Shared[SharedT]", resource)

    async def leave(self, user: int) -> None:
        """A user has gone: what nobody else uses is closed."""
        for factory, resource in list(self._resources.items()):
            resource.users.discard(user)
            if not resource.users:
                del self._resources[factory]
                await _closed_in_time(factory, resource)

    async def close(self) -> None:
        """Close everything, the last opened first, whatever each raises and however long it takes."""
        for factory, resource in reversed(list(self._resources.items())):
            await _closed_in_time(factory, resource)


async def _closed_in_time(factory: Any, resource: SharedResource[Any]) -> None:
    name = f"{getattr(factory, '__module__', '')}.{getattr(factory, '__qualname__', repr(factory))}"

    async def close() -> None:
        with Contained(f"the shared resource {name}"):
            await resource.close()

    task = asyncio.create_task(close(), name=f"closing {name}")
    try:
        await asyncio.wait((task,), timeout=CLOSED_WITHIN)
    finally:
        task.cancel()  # changes nothing where it is done
    if not task.done():
        log.error("shared_resource_did_not_close", resource=name, seconds=CLOSED_WITHIN)
    elif not task.cancelled() and (error := task.exception()) is not None:
        log.error("shared_resource_did_not_close", resource=name, exc_info=error)


class ToolTable:
    """Implements `engine.api.Tools`; replaced whole at a switch."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def swap(self, tools: Mapping[str, Tool]) -> None:
        """Put another table in the place of this one."""
        self._tools = dict(tools)

    def offered(self, principal: Principal) -> list[Tool]:
        return [tool for tool in self._tools.values() if principal.may(tool.scope)]

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def table(self) -> Mapping[str, Tool]:
        return self._tools


PROVIDER_HOOKS = frozenset({"register_models", "register_providers"})
"""Hooks that are asked again where only settings changed that nothing else of the plugin has read."""


class Context:
    """Implements `engine.api.PluginContext` for one plugin. It remembers which hook has read which settings."""

    def __init__(
        self,
        plugin: type[Plugin],
        tables: Mapping[type[BaseModel], BaseModel],
        *,
        providers: Providers,
        commands: Commands,
        tools: Tools,
        passes: Passes,
        database: Callable[[str], Database],
        secret: Callable[[str], bytes],
        shared: SharedResources,
    ) -> None:
        self._plugin = plugin
        self._tables = tables
        self._providers = providers
        self._commands = commands
        self._tools = tools
        self._passes = passes
        self._database = database
        self._secret = secret
        self._shared = shared
        self._hook: str | None = None
        self._reads: defaultdict[type[BaseModel], set[str | None]] = defaultdict(set)
        # Shared resources have two users: the providers, which may be replaced, and all else of the plugin.
        self._user = next(_USERS)
        self._providers_user = next(_USERS)
        self._before: tuple[Mapping[type[BaseModel], BaseModel], int] | None = None

    @property
    def providers(self) -> Providers:
        return self._providers

    @property
    def commands(self) -> Commands:
        return self._commands

    @property
    def tools(self) -> Tools:
        return self._tools

    @property
    def passes(self) -> Passes:
        return self._passes

    def settings(self, table: type[SettingsT]) -> SettingsT:
        self._reads[table].add(self._hook)
        try:
            return cast("SettingsT", self._tables[table])
        except KeyError:
            raise LookupError(
                f"plugin {self._plugin.name!r} asks for settings {table.__name__}, which are neither its own nor "
                "returned from register_settings"
            ) from None

    def database(self, name: str = "default") -> Database:
        return self._database(name)

    def secret(self, purpose: str) -> bytes:
        return self._secret(f"{self._plugin.name}:{purpose}")

    def shared(self, factory: Callable[[], AbstractAsyncContextManager[SharedT]]) -> Shared[SharedT]:
        user = self._providers_user if self._hook in PROVIDER_HOOKS else self._user
        return self._shared.of(factory, user)

    @contextmanager
    def within(self, hook: str) -> Iterator[None]:
        """Around the call of a hook."""
        self._hook = hook
        try:
            yield
        finally:
            self._hook = None

    def read_by_providers_alone(self, table: type[BaseModel]) -> bool:
        """Whether nothing of the plugin but its providers and models has read a settings table."""
        return self._reads.get(table, set()) <= PROVIDER_HOOKS

    def read_for_providers(self) -> set[type[BaseModel]]:
        """The settings tables that the plugin's providers may go by: those read in their hook, or later and anywhere."""
        return {table for table, hooks in self._reads.items() if hooks & {"register_providers", None}}

    def renew(self, tables: Mapping[type[BaseModel], BaseModel]) -> None:
        """Give the providers that are asked for next other settings, and resources of their own."""
        self._before = self._tables, self._providers_user
        self._tables, self._providers_user = tables, next(_USERS)

    def renewed(self) -> int | None:
        """The new providers are in place; gives the user to `release` once nobody uses the old ones."""
        before, self._before = self._before, None
        return before[1] if before is not None else None

    async def undo_renewal(self) -> None:
        """The new providers are not to be: go on with the old ones."""
        if self._before is not None:
            made = self._providers_user
            self._tables, self._providers_user = self._before
            self._before = None
            await self._shared.leave(made)

    async def release(self, user: int) -> None:
        """Close what only replaced providers used."""
        await self._shared.leave(user)

    async def leave(self) -> None:
        """The plugin has gone: close what it alone used."""
        await self._shared.leave(self._user)
        await self._shared.leave(self._providers_user)
