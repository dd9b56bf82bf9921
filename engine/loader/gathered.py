"""What the plugins bring together, each thing with its owner."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from engine.api.plugin import HealthCheck, Listener
from engine.api.providers import ModelInfo, Provider
from engine.api.routes import Route
from engine.api.tools import Tool
from engine.loader.answers import ANSWERS
from engine.sessions.core import CORE_COMMANDS
from engine.sessions.table import AnyCommand

T = TypeVar("T")


class Clash(Exception):
    """Raised when two plugins claim one name; the message names both and stops the start."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the plugins that are on bring together, each thing with its owner's name."""

    models: Sequence[tuple[str, ModelInfo]]
    providers: Sequence[tuple[str, Provider]]
    tools: Sequence[tuple[str, Tool]]
    commands: Sequence[tuple[str, AnyCommand]]
    routes: Sequence[tuple[str, Route]]
    listeners: Sequence[tuple[str, Listener]]
    checks: Sequence[tuple[str, HealthCheck]]

    def without(self, off: Collection[str]) -> Gathered:
        """The same things, less those of some plugins."""
        return Gathered(
            models=[(owner, it) for owner, it in self.models if owner not in off],
            providers=[(owner, it) for owner, it in self.providers if owner not in off],
            tools=[(owner, it) for owner, it in self.tools if owner not in off],
            commands=[(owner, it) for owner, it in self.commands if owner not in off],
            routes=[(owner, it) for owner, it in self.routes if owner not in off],
            listeners=[(owner, it) for owner, it in self.listeners if owner not in off],
            checks=[(owner, it) for owner, it in self.checks if owner not in off],
        )

    def without_providers(self, owners: Collection[str]) -> Gathered:
        """The same things, less the providers and models of some plugins."""
        return replace(
            self,
            models=[(owner, it) for owner, it in self.models if owner not in owners],
            providers=[(owner, it) for owner, it in self.providers if owner not in owners],
        )

    def beside(self, others: Gathered, order: Sequence[str]) -> Gathered:
        """These things and others, in the order of their owners."""
        rank = {name: at for at, name in enumerate(order)}

        def joined(mine: Sequence[tuple[str, T]], theirs: Sequence[tuple[str, T]]) -> list[tuple[str, T]]:
            return sorted((*mine, *theirs), key=lambda each: rank.get(each[0], len(rank)))

        return Gathered(
            models=joined(self.models, others.models),
            providers=joined(self.providers, others.providers),
            tools=joined(self.tools, others.tools),
            commands=joined(self.commands, others.commands),
            routes=joined(self.routes, others.routes),
            listeners=joined(self.listeners, others.listeners),
            checks=joined(self.checks, others.checks),
        )

    def check(self) -> None:
        """Raise `Clash` where two plugins claim one name, or one a name of the engine's own."""
        _unique("register_providers", self.providers)
        _unique("register_tools", self.tools)
        _unique("register_commands", self.commands, {core.name: "engine" for core in CORE_COMMANDS})
        _unique("register_routes", self.routes)


_REMEDY = "; leave one of them out of [plugins] enabled, or give it another name"


def _unique(hook: str, claims: Iterable[tuple[str, Any]], taken: Mapping[str, str] | None = None) -> None:
    answer, owners = ANSWERS[hook], dict(taken or {})
    for owner, thing in claims:
        name = answer.name(thing)
        if name in owners:
            raise Clash(f"plugins {owners[name]!r} and {owner!r} both claim the {answer.noun} {name!r}{_REMEDY}")
        owners[name] = owner
