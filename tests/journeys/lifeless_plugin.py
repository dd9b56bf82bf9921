"""Plugins that would end the process, and that would not let it end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from engine.api import Body, Call, Plugin, PluginContext, Request, hookimpl


class Nothing(Body):
    """A body without fields."""


async def exit_later(request: Request[Nothing]) -> Mapping[str, Any]:
    async def exit() -> None:
        sys.exit(3)

    asyncio.ensure_future(exit()).set_name("exits")
    return {}


async def interrupt_later(request: Request[Nothing]) -> Mapping[str, Any]:
    async def interrupt() -> None:
        raise KeyboardInterrupt("of a plugin")

    asyncio.ensure_future(interrupt()).set_name("interrupts")
    return {}


async def give_up_later(request: Request[Nothing]) -> Mapping[str, Any]:
    async def give_up() -> None:
        raise GeneratorExit

    asyncio.ensure_future(give_up()).set_name("gives up")
    return {}


def interrupt_now() -> None:
    raise KeyboardInterrupt("of a callback")


async def interrupt_from_a_callback(request: Request[Nothing]) -> Mapping[str, Any]:
    asyncio.get_running_loop().call_soon(interrupt_now)
    return {}


async def exit_from_a_callback(request: Request[Nothing]) -> Mapping[str, Any]:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    return {}


@asynccontextmanager
async def deaf() -> AsyncIterator[None]:
    yield
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass


class Lifeless(Plugin):
    """Exits when it is asked to, and never closes."""

    name = "lifeless"

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Call[Any]]:
        return [
            Call(name="lifeless.exit", body=Nothing, handle=exit_later),
            Call(name="lifeless.callback", body=Nothing, handle=exit_from_a_callback),
            Call(name="lifeless.interrupt", body=Nothing, handle=interrupt_later),
            Call(name="lifeless.interrupting", body=Nothing, handle=interrupt_from_a_callback),
            Call(name="lifeless.give_up", body=Nothing, handle=give_up_later),
        ]

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Any:
        return [deaf()]


@asynccontextmanager
async def never() -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


class Stillborn(Plugin):
    """Never opens."""

    name = "stillborn"

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Any:
        return [never()]
