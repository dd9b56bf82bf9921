"""Which plugin a piece of running code belongs to: by what it registered, then by its file, then by its package."""

from __future__ import annotations

import asyncio
import functools
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from engine.api.plugin import Plugin
from engine.loader import guarding
from engine.loader.gathered import Gathered

ENGINE = f"{Path(__file__).resolve().parent.parent}/"

_STANDARD = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_INSTALLED = ("/site-packages/", "/dist-packages/")


@dataclass(frozen=True, slots=True)
class Running:
    """The plugin whose code runs: its innermost frame, the frame through which it was entered, and what it called.

    `plugin` holds several names, separated by a comma, where one file serves several plugins and nothing tells them apart.
    """

    plugin: str
    frame: FrameType
    entered: FrameType
    importing: bool
    """A module is being imported, on the way to this code or from it."""
    library: bool
    """The time is spent in an installed library which the plugin called."""


class Ownership:
    """Finds the plugin of a code object. `things` are what plugins registered, each with its owner's name.

    A code object that one plugin alone registered is that plugin's; a file from which one plugin alone registered something is
    that plugin's; any other file of a package belongs to the plugins of the package.
    """

    def __init__(self, plugins: Iterable[type[Plugin]], things: Iterable[tuple[str, object]] = ()) -> None:
        self._codes: defaultdict[CodeType, set[str]] = defaultdict(set)
        self._files: defaultdict[str, set[str]] = defaultdict(set)
        self._roots: dict[str, str] = {}
        folders: defaultdict[str, set[str]] = defaultdict(set)
        for plugin in plugins:
            self._roots[plugin.name] = _root(plugin)
            self._claim(plugin.name, plugin)
            place = code_place(plugin)
            if place is not None and place.endswith("/"):
                folders[place].add(plugin.name)
            elif place is not None:
                self._files[place].add(plugin.name)
        for owner, thing in things:
            self._claim(owner, thing)
        # The innermost folder first: one package may stand within another.
        self._folders = sorted(folders.items(), key=lambda each: -len(each[0]))

    def owners(self, code: CodeType) -> frozenset[str]:
        """The plugin of this code; several where it cannot be told, none where it is no plugin's."""
        exact = self._codes.get(code, set())
        if len(exact) == 1:
            return frozenset(exact)
        file = code.co_filename
        found = exact or self._files.get(file)
        if not found:
            found = next((names for place, names in self._folders if file.startswith(place)), set())
        return frozenset(found)

    def running(self, frame: FrameType | None) -> Running | None:
        """The plugin of the innermost frame that is a plugin's. Frames further out tell apart who shares its file."""
        importing = library = False
        inner: FrameType | None = None
        entered: FrameType | None = None
        names: frozenset[str] = frozenset()
        while frame is not None:
            found = self.owners(frame.f_code)
            importing = importing or frame.f_code.co_filename.startswith("<frozen importlib")
            if inner is None and not found:
                library = library or is_library(frame.f_code.co_filename)
            elif inner is None:
                inner, names = frame, found
            elif len(names) > 1:
                names = names & (found or _guarded_by(frame)) or names
            if inner is not None and names & found:
                entered = frame
            frame = frame.f_back
        if inner is None or entered is None:
            return None
        return Running(",".join(sorted(names)), inner, entered, importing, library)

    def task_owner(self, task: asyncio.Task[Any]) -> str | None:
        """The one plugin whose coroutine the task runs."""
        code = _code_of(task)
        owners = self.owners(code) if code is not None else frozenset()
        return next(iter(owners)) if len(owners) == 1 else None

    def _claim(self, owner: str, thing: object) -> None:
        root = self._roots.get(owner)
        for code in _codes(thing):
            # A decorated function may run code of a library, which is nobody's.
            if root is not None and code.co_filename.startswith(root):
                self._codes[code].add(owner)
                self._files[code.co_filename].add(owner)


def _guarded_by(frame: FrameType) -> frozenset[str]:
    """The plugin in whose name a guard has called what runs."""
    if frame.f_code.co_filename != guarding.__file__:
        return frozenset()
    owner = frame.f_locals.get("owner")
    return frozenset((owner,)) if isinstance(owner, str) else frozenset()


def code_place(plugin: type[Plugin]) -> str | None:
    """The folder of a plugin's package, ending in a separator, or its one file; None where it has neither."""
    written = getattr(sys.modules.get(plugin.__module__), "__file__", None)
    if written is None:
        return None
    file = Path(written).absolute()
    return f"{file.parent}/" if file.name in ("plugin.py", "__init__.py") else str(file)


def _root(plugin: type[Plugin]) -> str:
    """The folder of the package at the top of a plugin's module, or its one file."""
    top = sys.modules.get(plugin.__module__.partition(".")[0])
    written = getattr(top, "__file__", None)
    if written is None:
        return code_place(plugin) or "<none>"
    file = Path(written).absolute()
    return f"{file.parent}/" if file.name == "__init__.py" else str(file)


def is_library(file: str) -> bool:
    """Whether a file is an installed library's: neither the engine's own nor the standard library's."""
    if any(folder in file for folder in _INSTALLED):
        return not file.startswith(ENGINE)
    return not file.startswith((ENGINE, "<", *_STANDARD))


def place_of(task: asyncio.Task[Any]) -> str:
    """The coroutine of a task and where it stands, as `poll at acme/plugin.py:12`."""
    coroutine = task.get_coro()
    code = _code_of(task)
    if code is None:
        return type(coroutine).__name__
    frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    line = frame.f_lineno if frame is not None else code.co_firstlineno
    return f"{code.co_qualname} at {code.co_filename}:{line}"


def _code_of(task: asyncio.Task[Any]) -> CodeType | None:
    coroutine = task.get_coro()
    return getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)


def _codes(thing: object) -> Iterator[CodeType]:
    """The code of a function, of a class with its methods, or of a registered object."""
    for function in _functions(thing):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            yield from _nested(code)


def _functions(thing: object) -> Iterator[object]:
    """A function itself, and the methods of the class that a thing is, has, or is bound to."""
    while (
        inner := getattr(thing, "func" if isinstance(thing, functools.partial) else "__wrapped__", None)
    ) is not None:
        thing = inner
    if isinstance(thing, type):
        yield from _methods(thing)
    elif hasattr(thing, "__code__"):
        yield getattr(thing, "__func__", thing)
        bound = getattr(thing, "__self__", None)
        if bound is not None:
            yield from _methods(bound if isinstance(bound, type) else type(bound))
    else:
        yield from _methods(type(thing))


def _methods(cls: type) -> Iterator[object]:
    for base in cls.__mro__:
        for member in vars(base).values():
            yield getattr(member, "__func__", getattr(member, "fget", member))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


_CALLED = ("prepare", "recover", "handle", "handler", "run", "check")
"""Fields of registered things that hold a plugin's functions."""


def things_of(gathered: Gathered) -> Iterator[tuple[str, object]]:
    """What of the registered things is code: providers, and the functions of all others, each with its owner's name."""
    yield from gathered.providers
    for things in (gathered.commands, gathered.routes, gathered.tools, gathered.listeners, gathered.checks):
        for owner, thing in things:
            yield from ((owner, function) for name in _CALLED if (function := getattr(thing, name, None)) is not None)
