"""Calls into plugins: what they raise stays an error of theirs, also where it would end the program."""

from __future__ import annotations

import asyncio
import dis
import inspect
import sysconfig
import threading
import traceback
from itertools import pairwise
from pathlib import Path
from types import CodeType

_RAISE = dis.opmap["RAISE_VARARGS"]
_ENGINE = str(Path(__file__).parent)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD = sysconfig.get_path("stdlib")


class PluginExited(Exception):
    """Raised in place of what would end more than the call that raised it, as `SystemExit`."""


class WrongAnswer(TypeError):
    """Raised for what a plugin's function gave and may not give; `at` is where the function stands, whose frame is gone."""

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


def is_ours(error: BaseException) -> bool:
    """Whether an exception is to pass through: an interrupt, the end of a generator, a cancel of the running task itself.

    One of these that a plugin raises by itself is the plugin's error.
    """
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return True
        return task is None or task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        return not by_statement(error)
    return isinstance(error, KeyboardInterrupt) and _interruptible()


def _interruptible() -> bool:
    """Whether Ctrl-C comes as an exception: in the main thread without an event loop, whose signal handler it goes to else."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return threading.current_thread() is threading.main_thread()
    return False


def by_statement(error: BaseException) -> bool:
    """Whether a `raise` statement began an exception; what closes a generator arrives where the generator waits."""
    step = error.__traceback__
    if step is None:
        return False
    while step.tb_next is not None:
        step = step.tb_next
    return step.tb_frame.f_code.co_code[step.tb_lasti] == _RAISE


class Contained:
    """A context in which foreign code runs; `where` names the plugin and the place, for the log.

    An error leaves it with a note of the place, and what would end the program as `PluginExited`.
    """

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        if error is None or is_ours(error):
            return
        if not isinstance(error, Exception):
            raise PluginExited(f"{self._where} raised {type(error).__name__}: {error}".rstrip(": ")) from error
        error.add_note(f"raised in {self._where}")


def raised_at(error: BaseException) -> str:
    """File and line that an error came from, or the one that it stands for.

    Where the engine had called a plugin, this is the plugin's line, and not one of a library or of the engine that the plugin
    called: the line that its author can change.
    """
    source = error.__cause__ if isinstance(error, PluginExited) and error.__cause__ is not None else error
    if isinstance(source, WrongAnswer) and source.at:
        return source.at
    if isinstance(source, SyntaxError) and source.filename is not None and source.lineno is not None:
        return f"{source.filename}:{source.lineno}"
    frames = traceback.extract_tb(source.__traceback__)
    engines = [n for n, frame in enumerate(frames) if _is_engines(frame.filename)]
    called = [frame for frame in frames[engines[0] :] if not _is_between(frame.filename)] if engines else []
    own = [frame for frame in called if not _is_engines(frame.filename) and not _is_library(frame.filename)]
    if own:
        frame = own[-1]
    elif entered := [
        inner for outer, inner in pairwise(called) if _is_engines(outer.filename) > _is_engines(inner.filename)
    ]:
        package = _package(entered[-1].filename)
        frame = next(each for each in reversed(called) if _package(each.filename) == package)
    elif frames:
        frame = frames[-1]
    else:
        return "unknown"
    return f"{frame.filename}:{frame.lineno}"


def defined_at(thing: object) -> str:
    """File and line at which a function or a class begins, without what is wrapped around it; empty where nobody can tell."""
    while (inner := getattr(thing, "func", None) or getattr(thing, "__wrapped__", None)) is not None:
        thing = inner
    code = getattr(thing, "__code__", None)
    if isinstance(code, CodeType):
        return f"{code.co_filename}:{code.co_firstlineno}"
    if not isinstance(thing, type):
        return ""
    try:
        return f"{inspect.getsourcefile(thing)}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return ""


def is_plugins(place: str) -> bool:
    """Whether a place, as file and line, is in nobody's code but a plugin's or a library's."""
    return not (place == "unknown" or _is_engines(place) or _is_standard(place) or place.startswith("<"))


def _is_between(file: str) -> bool:
    """What stands on the stack between the engine and the plugin that it calls, and is never to blame."""
    return _is_standard(file) or file.startswith("<frozen") or "/site-packages/pluggy/" in file


def _package(file: str) -> str:
    """The folder of an installed package that a file is in; any other file itself."""
    parts = Path(file).parts
    at = max((n for n, part in enumerate(parts) if part in _INSTALLED), default=len(parts))
    return str(Path(*parts[: at + 2]))


def _is_engines(file: str) -> bool:
    return file.startswith(_ENGINE)


def _is_library(file: str) -> bool:
    return file.startswith("<") or not _INSTALLED.isdisjoint(Path(file).parts)


def _is_standard(file: str) -> bool:
    return file.startswith(_STANDARD) and not _is_library(file)


def let_go(error: BaseException | None) -> None:
    """Drop the traceback of an error that was answered and logged, and those of the errors that it came from.

    Its frames hold what was worked on, a request's body for one, and where one of them holds the error, too, only the
    collector of cycles would free it: at some time.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        each.__traceback__ = None
        waiting += (each.__cause__, each.__context__)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
