"""`/api/v1/admin/…`: see the plugins, switch them, and read the configuration again, while the server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import Field

from engine.api.commands import Body
from engine.api.routes import Answer, HttpRequest, Route
from engine.config.secrecy import mask_text
from engine.loader.load import Part
from engine.switching import Change, State, Switchboard, not_installed

ADMIN = "admin"


class PluginSwitch(Body):
    """How a plugin shall stand."""

    enabled: bool = Field(description="Whether it takes part.")
    persist: bool = Field(
        default=False, description="Also after a restart: kept in the file that [plugins] switches names."
    )


class PluginState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One installed plugin. `closing` is off and lets what runs finish; `failed` is enabled and off, for `reason`.

    `switched` was switched on or off since the configuration was read. `struck_out` failed by holding the event loop.
    """

    name: str
    state: State
    origin: str
    running: int = msgspec.field(default=0)
    switched: bool = False
    struck_out: bool = False
    reason: str | None = None
    hooks: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


class PluginStates(msgspec.Struct):
    """Every installed plugin, by name."""

    plugins: list[PluginState]


class SettingChange(msgspec.Struct):
    """One setting before and after; secrets are masked."""

    key: str
    before: str
    after: str


class Reloaded(msgspec.Struct):
    """What another reading of the configuration changed.

    `renewed` are plugins that go on with other providers. `restart` lists settings that wait for the next start.
    """

    started: list[str]
    stopped: list[str]
    renewed: list[str]
    changed: list[SettingChange]
    restart: list[str]


class AdminRoutes:
    """Routes for who holds the scope `admin`."""

    def __init__(self, plugins: Switchboard, reload: Callable[[], Awaitable[Change]]) -> None:
        self._plugins = plugins
        self._reload = reload

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="GET",
                path="/api/v1/admin/plugins",
                handler=self.list,
                scope=ADMIN,
                returns=PluginStates,
                summary="The installed plugins and how each stands.",
                tag="admin",
            ),
            Route(
                method="GET",
                path="/api/v1/admin/plugins/{name}",
                handler=self.get,
                scope=ADMIN,
                returns=PluginState,
                summary="One plugin.",
                tag="admin",
                statuses={404: "not_found"},
            ),
            Route(
                method="PUT",
                path="/api/v1/admin/plugins/{name}",
                handler=self.put,
                scope=ADMIN,
                body=PluginSwitch,
                returns=PluginState,
                summary="Switch a plugin on or off, without a restart.",
                tag="admin",
                statuses={404: "not_found", 409: "conflict"},
            ),
            Route(
                method="POST",
                path="/api/v1/admin/reload",
                handler=self.reload,
                scope=ADMIN,
                returns=Reloaded,
                summary="Read the configuration again, and go over to it.",
                tag="admin",
                statuses={409: "conflict"},
            ),
        ]

    async def list(self, request: HttpRequest[Any, Any]) -> Answer:
        parts = self._plugins.loader.parts
        return Answer(PluginStates([self._state(parts[name]) for name in sorted(parts)]))

    async def get(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(self._state(self._part(request.path["name"])))

    async def put(self, request: HttpRequest[PluginSwitch, Any]) -> Answer:
        name = request.path["name"]
        await self._plugins.switch(name, request.body.enabled, persist=request.body.persist)
        return Answer(self._state(self._part(name)))

    async def reload(self, request: HttpRequest[Any, Any]) -> Answer:
        change = await self._reload()
        changed = [
            SettingChange(key, mask_text(str(before)), mask_text(str(after)))
            for key, (before, after) in (change.settings or {}).items()
        ]
        return Answer(
            Reloaded(list(change.started), list(change.stopped), list(change.renewed), changed, list(change.restart))
        )

    def _part(self, name: str) -> Part:
        parts = self._plugins.loader.parts
        if name not in parts:
            raise not_installed(name, parts)
        return parts[name]

    def _state(self, part: Part) -> PluginState:
        return PluginState(
            name=part.name,
            state=self._plugins.state(part),
            origin=part.origin,
            running=self._plugins.running(part.name),
            switched=self._plugins.switched(part),
            struck_out=part.struck is not None,
            reason=part.reason,
            hooks=part.hooks,
            requires=tuple(part.requires),
        )
