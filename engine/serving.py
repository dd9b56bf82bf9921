"""What is served now: the tables of what the plugins bring, built and put in place whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.api.routes import Route
from engine.config import CoreSettings
from engine.guard import defined_at
from engine.http.app import Http
from engine.http.table import RouteClash, RouteTable
from engine.loader.context import ToolTable
from engine.loader.gathered import Clash, Gathered
from engine.loader.load import Loader
from engine.loader.names import reserved_commands, reserved_prefixes
from engine.providers.catalogue import CatalogueClash, load_catalogue
from engine.providers.catalogue_file import shipped_catalogue
from engine.providers.policy import ResiliencePolicy
from engine.providers.registry import ModelRules, ProviderClash, Registry, RegistryTable, not_there_before
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandClash, CommandTable


@dataclass(frozen=True, slots=True)
class Tables:
    """All that a switch replaces, built and not in place yet."""

    gathered: Gathered
    commands: CommandTable
    routes: RouteTable
    models: RegistryTable


class Serving:
    """The parts that answer clients, and the one place in which their tables are replaced."""

    def __init__(
        self,
        supervisor: Supervisor,
        registry: Registry,
        tools: ToolTable,
        own_routes: Callable[[], Iterable[tuple[str, Route]]],
    ) -> None:
        self.supervisor = supervisor
        self.registry = registry
        self.tools = tools
        self.http: Http | None = None
        self.gathered: Gathered | None = None
        self.own_routes = own_routes

    def build(self, core: CoreSettings, loader: Loader, gathered: Gathered, before: Loader | None = None) -> Tables:
        """The tables of what was gathered, in the place of what was there `before`; raises `Clash` where two claim one name."""
        changed = partial(loader.changed_for_providers, before) if before is not None else not_there_before
        absent = loader.absent
        own = core.models.catalogue
        files: list[Path] = [shipped_catalogue(), *([own] if own is not None else [])]
        try:
            return Tables(
                gathered,
                CommandTable(gathered.commands, reserved_commands(absent)),
                RouteTable([*self.own_routes(), *gathered.routes], reserved_prefixes(absent)),
                self.registry.prepared(
                    gathered.providers, load_catalogue(files, gathered.models), model_rules(core), absent, changed
                ),
            )
        except (CommandClash, RouteClash, ProviderClash, CatalogueClash) as error:
            raise Clash(str(error)) from None

    def place(self, tables: Tables) -> None:
        """Serve these from now on; what has begun goes on with what it began with."""
        gathered = self.gathered = tables.gathered
        self.registry.place(tables.models)
        self.tools.swap({tool.name: tool for _, tool in gathered.tools})
        self.supervisor.table = tables.commands
        self.supervisor.listeners = tuple(gathered.listeners)
        if self.http is not None:
            self.http.routes = tables.routes


def servable(loader: Loader, gathered: Gathered) -> Gathered:
    """Without the plugins whose addresses are none; they are off."""
    for owner, route in gathered.routes:
        try:
            RouteTable([(owner, route)])
        except ValueError as error:
            loader.fail(loader.parts[owner], f"register_routes failed: {error} ({defined_at(route.handler)})")
    return gathered.without(loader.off)


def model_rules(core: CoreSettings) -> ModelRules:
    """What the operator says of models."""
    models = core.models
    return ModelRules(
        policy=ResiliencePolicy(
            connect=models.connect_timeout,
            first_event=models.first_event_timeout,
            idle=models.idle_timeout,
            total=models.total_timeout,
            retries=models.retries,
            breaker_failures=models.breaker_failures,
            breaker_reset=models.breaker_reset,
        ),
        aliases=models.aliases,
        fallbacks=models.fallbacks,
        default=models.default,
        default_embedding=models.embedding,
        default_speech=models.speech,
        default_transcription=models.transcription,
        default_realtime=models.realtime,
        retired=models.retired,
    )
