"""A plugin's exception ends its own call, whatever its type; what ends a generator or the program passes through."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine import guard
from engine.guard import Contained, PluginExited, let_go, raised_at

ENDING = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


@pytest.mark.parametrize("kind", ENDING)
async def test_what_a_plugin_raises_to_end_more_than_its_call_is_its_own_error(kind: type[BaseException]) -> None:
    async def handler() -> None:
        await asyncio.sleep(0)
        raise kind

    with pytest.raises(PluginExited, match=f"a plugin raised {kind.__name__}"), Contained("a plugin"):
        await handler()


async def test_an_instance_and_a_raise_after_a_catch_are_contained_too() -> None:
    def again() -> None:
        try:
            raise GeneratorExit("over")
        except GeneratorExit:
            raise

    with pytest.raises(PluginExited, match="a plugin raised GeneratorExit: over"), Contained("a plugin"):
        again()


def test_in_a_thread_of_a_plugin_an_interrupt_is_an_error_of_the_plugin() -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            with Contained("a plugin"):
                raise KeyboardInterrupt
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(raised[0], PluginExited)


def test_an_interrupt_of_a_program_without_an_event_loop_passes_through() -> None:
    with pytest.raises(KeyboardInterrupt), Contained("a plugin"):
        raise KeyboardInterrupt


async def test_a_generator_that_waits_in_a_plugin_can_be_closed() -> None:
    closed: list[str] = []

    async def inner() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        except GeneratorExit:
            closed.append("inner")
            raise

    async def outer() -> AsyncIterator[int]:
        with Contained("a plugin"):
            source = inner()
            try:
                async for number in source:
                    yield number
            finally:
                await source.aclose()  # type: ignore[attr-defined]
                closed.append("outer")

    numbers = outer()
    assert await anext(numbers) == 1
    await numbers.aclose()  # type: ignore[attr-defined]
    assert closed == ["inner", "outer"]


def test_a_coroutine_that_waits_in_a_plugin_can_be_closed() -> None:
    class Once:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    async def guarded() -> None:
        with Contained("a plugin"):
            await Once()

    coroutine = guarded()
    coroutine.send(None)
    coroutine.close()


class Large:
    """Stands for what a failed call worked on."""


def test_what_an_error_is_let_go_of_is_freed_without_the_collector() -> None:
    held: list[weakref.ref[Large]] = []

    def call() -> None:
        large = Large()
        held.append(weakref.ref(large))
        failed: Exception | None = None
        try:
            raise ValueError("cause")
        except ValueError as error:
            failed = error
        raise RuntimeError("failed") from failed

    gc.disable()
    try:
        try:
            call()
        except RuntimeError as error:
            assert held[0]() is not None
            let_go(error)
        assert held[0]() is None
    finally:
        gc.enable()


def test_an_error_that_is_its_own_context_is_let_go_of_once() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__cause__ = second, first
    group = ExceptionGroup("both", [first])
    try:
        raise group
    except ExceptionGroup as error:
        let_go(error)
    assert (group.__traceback__, first.__traceback__) == (None, None)


def called(body: str, file: str) -> object:
    """Code that stands in a file of this name."""
    names: dict[str, object] = {}
    exec(compile(f"def work(call):\n    {body}\n", file, "exec"), names)
    return names["work"]


@pytest.mark.parametrize("library", ["int('x')", "call()"])
def test_an_error_is_placed_where_the_author_of_the_plugin_can_change_it(library: str) -> None:
    """The engine calls the plugin, that calls a library, and that one, or what it calls back, raises."""
    engine: Any = called("call()", f"{Path(guard.__file__).parent}/calls.py")
    plugin: Any = called("call()", "/plugins/acme/chat.py")
    lib: Any = called(library, "/x/site-packages/lib/core.py")
    raising: Any = called("int('x')", f"{Path(guard.__file__).parent}/api/thing.py")
    with pytest.raises(ValueError, match="invalid literal") as error:
        engine(partial(plugin, partial(lib, partial(raising, None))))
    assert raised_at(error.value) == "/plugins/acme/chat.py:2"


def test_an_error_of_an_installed_plugin_is_placed_where_the_engine_called_it() -> None:
    engine: Any = called("call()", f"{Path(guard.__file__).parent}/calls.py")
    plugin: Any = called("call()", "/x/site-packages/acme/chat.py")
    lib: Any = called("int('x')", "/x/site-packages/lib/core.py")
    with pytest.raises(ValueError, match="invalid literal") as error:
        engine(partial(plugin, partial(lib, None)))
    assert raised_at(error.value) == "/x/site-packages/acme/chat.py:2"


def test_an_error_of_an_installed_plugin_is_placed_in_its_package_behind_what_carries_the_call() -> None:
    engine: Any = called("call()", f"{Path(guard.__file__).parent}/calls.py")
    carrier: Any = called("call()", "/x/site-packages/pluggy/_callers.py")
    importing: Any = called("call()", "<frozen importlib._bootstrap>")
    plugin: Any = called("call()", "/x/site-packages/acme/__init__.py")
    inner: Any = called("call()", "/x/site-packages/acme/inner/shelf.py")
    lib: Any = called("int('x')", "/x/site-packages/lib/core.py")
    with pytest.raises(ValueError, match="invalid literal") as error:
        engine(partial(carrier, partial(importing, partial(plugin, partial(inner, partial(lib, None))))))
    assert raised_at(error.value) == "/x/site-packages/acme/inner/shelf.py:2"


def test_what_was_returned_wrongly_is_placed_where_its_function_stands() -> None:
    def given() -> None:
        return None

    error = guard.WrongAnswer("returned None", guard.defined_at(partial(given)))
    assert raised_at(error) == f"{__file__}:{given.__code__.co_firstlineno}"
