"""What a plugin is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from engine.api.commands import Commands
from engine.api.data import Database
from engine.api.events import Cost, Status, Usage
from engine.api.identity import Passes, Principal
from engine.api.providers import Providers
from engine.api.tools import Tools

SettingsT = TypeVar("SettingsT", bound=BaseModel)
SharedT = TypeVar("SharedT")
SharedT_co = TypeVar("SharedT_co", covariant=True)


class SettingsTable(BaseModel):
    """Root of a settings table: unknown keys are refused, values never change.

    `table` names it in the config file; a plugin's own table is `plugins.<name>` and needs none.

    `wrong_costs` is what a wrong value, or a variable that is not set, costs: the plugin; the table alone, which then has
    its defaults; or one entry of the mapping with this name. Of the last two `faults` says why: by the name of the entry,
    under "" for the table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: ClassVar[str] = ""
    wrong_costs: ClassVar[str] = "plugin"

    _faults: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def faults(self) -> Mapping[str, str]:
        """What the operator wrote in this table and cannot be used, in a sentence each that clients may read."""
        return self._faults

    def with_faults(self, faults: Mapping[str, str]) -> Self:
        """A copy that says what was left out of it."""
        copy = self.model_copy()
        copy._faults = dict(faults)
        return copy


class PluginContext(Protocol):
    """What the engine hands to a plugin's hooks. The doors may be kept, and used once the server has started."""

    @property
    def providers(self) -> Providers: ...

    @property
    def commands(self) -> Commands: ...

    @property
    def tools(self) -> Tools: ...

    @property
    def passes(self) -> Passes: ...

    def settings(self, table: type[SettingsT]) -> SettingsT:
        """A validated settings table: the plugin's own, or one that it returned from `register_settings`."""
        ...

    def database(self, name: str = "default") -> Database:
        """The database that `register_tables` bound to."""
        ...

    def secret(self, purpose: str) -> bytes:
        """32 bytes to sign or seal with: the same after a restart and on each node, others for each plugin and purpose.

        Ask when the first is due, not in a hook: the operator's secret is read, or made, then.
        """
        ...

    def shared(self, factory: Callable[[], AbstractAsyncContextManager[SharedT]]) -> Shared[SharedT]:
        """A resource that several plugins use: opened once per engine, on first use; closed after its last user."""
        ...


class Shared(Protocol[SharedT_co]):
    """A resource that is opened when it is first asked for."""

    async def get(self) -> SharedT_co:
        """The open resource; the same object for every caller."""
        ...


class Plugin:
    """A feature. Hooks are methods marked with `hookimpl`; an instance belongs to one engine.

    `Settings` is the operator's `[plugins.<name>]` table. `requires` names plugins that must be on too.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[BaseModel]] = SettingsTable
    requires: ClassVar[Sequence[str]] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one part: `degraded` and `loading` still serve, `failed` does not."""

    state: Literal["ok", "loading", "degraded", "failed"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One line of `/health/ready`. `check` is quick and never waits; it may be called in a thread, and has 0.3 seconds."""

    name: str
    check: Callable[[], Health]


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A fact after the fact: one turn is over and written down."""

    stream: str
    command: str
    principal: Principal
    status: Status
    model: str | None
    usage: Usage | None
    cost: Cost | None
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listener:
    """Told of every ended turn, off the token path. `handle` must not wait; what it raises is logged."""

    handle: Callable[[TurnEnded], None]
