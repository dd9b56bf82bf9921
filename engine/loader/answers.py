"""What a plugin is held to: a class of the right shape, and hooks that answer with lists of the right things."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel

from engine.api.commands import Call, Command
from engine.api.data import Tables
from engine.api.plugin import HealthCheck, Listener, Plugin, SettingsTable
from engine.api.providers import ModelInfo, ProviderRole
from engine.api.routes import Route
from engine.api.tools import Tool
from engine.guard import defined_at
from engine.wire.bounds import first_repeated


class PluginMistake(ValueError):
    """Raised when a plugin breaks the contract; the message tells its author what would be right.

    `at` is the place of what is wrong, where it is known.
    """

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True)
class Answer:
    """What one hook answers. `noun` and `name` say what a thing is claimed as, where only one plugin may claim it."""

    each: str
    fits: Callable[[Any], bool]
    noun: str = ""
    name: Callable[[Any], str] = str
    judge: Callable[[Any], None] | None = None
    """Looks closer at a thing that fits; raises `PluginMistake`."""


def _is_settings(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, SettingsTable) and bool(thing.table)


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def _is_provider(thing: Any) -> bool:
    named = isinstance(getattr(thing, "name", None), str) and getattr(thing, "role", None) in get_args(ProviderRole)
    return named and not isinstance(thing, type)


_ITERATORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"chat": ("stream",), "speech": ("speak",), "transcription": ("live", "file")}
)
"""Methods of providers, by role, that give an asynchronous iterator at once."""


def _judge_provider(provider: Any) -> None:
    """A provider that could never serve is told of before the first who asks it."""
    cls = type(provider)
    lacks = inspect.getattr_static(provider, "unavailable", provider) is provider and not hasattr(cls, "__getattr__")
    if lacks:
        raise PluginMistake(
            f"the provider {provider.name!r} has no `unavailable`: None while it can serve, else the reason",
            defined_at(cls),
        )
    for name in _ITERATORS.get(provider.role, ()):
        method = getattr(cls, name, None)
        if inspect.iscoroutinefunction(method):
            other = " or returns a PushedAnswer" if name == "stream" else ""
            raise PluginMistake(
                f"`{name}` of the provider {provider.name!r} is a coroutine function; it is an `async def` with `yield`"
                f"{other}",
                defined_at(method),
            )


def _one_of(*types: type) -> Callable[[Any], bool]:
    return lambda thing: isinstance(thing, types)


ANSWERS: Mapping[str, Answer] = MappingProxyType(
    {
        "register_settings": Answer("a subclass of SettingsTable that names its table", _is_settings),
        "register_tables": Answer("Tables", _one_of(Tables)),
        "register_models": Answer("ModelInfo", _one_of(ModelInfo)),
        "register_providers": Answer(
            "a provider, with a name and a role",
            _is_provider,
            "provider",
            lambda it: f"{it.role} {it.name}",
            _judge_provider,
        ),
        "register_tools": Answer("Tool", _one_of(Tool), "tool", lambda it: str(it.name)),
        "register_commands": Answer("Command or Call", _one_of(Command, Call), "command", lambda it: str(it.name)),
        "register_routes": Answer("Route", _one_of(Route), "route", lambda it: f"{it.method} {it.path}"),
        "register_listeners": Answer("Listener", _one_of(Listener)),
        "register_health_checks": Answer("HealthCheck", _one_of(HealthCheck)),
        "register_lifespan": Answer("an async context manager", _one_of(AbstractAsyncContextManager)),
    }
)
"""Every hook that answers; the others are called for what they do."""


def checked(hook: str, given: Any) -> list[Any]:
    """What a hook returned, as a list; raises `PluginMistake` for anything but an iterable of what the hook answers."""
    answer = ANSWERS[hook]
    if not isinstance(given, Iterable) or isinstance(given, str):
        if isinstance(given, Coroutine | AsyncGenerator):
            if isinstance(given, Coroutine):
                given.close()
            raise PluginMistake(
                "hooks are not async: it is an `async def`, and a hook is a plain function that returns a list"
            )
        shown = "nothing" if given is None else repr(type(given).__name__)
        raise PluginMistake(f"it returned {shown}; it returns a list, each of it {answer.each}")
    things = list(given)
    for thing in things:
        if not answer.fits(thing):
            shown = thing.__name__ if isinstance(thing, type) else type(thing).__name__
            raise PluginMistake(f"it returned a list with {shown!r} in it; each of it is {answer.each}")
        if answer.judge is not None:
            answer.judge(thing)
    if answer.noun:
        names = [answer.name(thing) for thing in things]
        if (twice := first_repeated(names)) is not None:
            raise PluginMistake(f"it brings the {answer.noun} {twice!r} twice")
    return things


def made(name: str, cls: Any) -> Plugin:
    """An instance of the class that was found under a name; raises `PluginMistake` for a class that is no plugin."""
    if not (isinstance(cls, type) and issubclass(cls, Plugin)):
        raise PluginMistake(f"{cls!r} is no subclass of engine.api.Plugin", defined_at(cls))
    if getattr(cls, "name", None) != name:
        raise PluginMistake(
            f"the class is named {getattr(cls, 'name', None)!r}, its entry point {name!r}", defined_at(cls)
        )
    if not _is_model(cls.Settings):
        raise PluginMistake("Settings is no pydantic model", defined_at(cls))
    if isinstance(cls.requires, str):
        raise PluginMistake(f"requires is a list of names, not {cls.requires!r}", defined_at(cls))
    return cls()
