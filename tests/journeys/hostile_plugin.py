"""A plugin that does everything that it must not: it blocks the loop, raises, leaks tasks and floods its stream."""

import asyncio
import contextlib
import importlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from engine.api import Body, Call, Command, Listener, Plugin, PluginContext, Request, Serve, TurnEnded, Writer, hookimpl


class Spell(Body):
    """For how long, in seconds, or how often."""

    much: float = 0.0
    ballast: str = ""


async def sleep_on_the_loop(request: Request[Spell]) -> Mapping[str, Any]:
    time.sleep(request.body.much)  # noqa: ASYNC251  # what a hostile plugin does
    return {}


async def compute(request: Request[Spell]) -> Mapping[str, Any]:
    end = time.monotonic() + request.body.much
    while time.monotonic() < end:
        pass
    return {}


async def load(request: Request[Spell]) -> Mapping[str, Any]:
    importlib.import_module("slow_to_import")
    return {}


async def spin(request: Request[Spell]) -> Mapping[str, Any]:
    while True:
        pass


async def leak(request: Request[Spell]) -> Mapping[str, Any]:
    for at in range(int(request.body.much)):
        asyncio.ensure_future(_linger()).set_name(f"leaked {at}")
    return {}


async def _linger() -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.Event().wait()


async def fail(request: Request[Spell]) -> Mapping[str, Any]:
    raise RuntimeError("sk-hostile-0123456789abcdef")


async def flood(request: Request[Spell]) -> Serve:
    async def serve(stream: Writer) -> None:
        for _ in range(int(request.body.much)):
            stream.text("x" * 1000)

    return Serve(serve)


class Hostile(Plugin):
    """Does harm when it is asked to."""

    name = "hostile"

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Call[Any] | Command[Any]]:
        return [
            Call(name="hostile.sleep", body=Spell, handle=sleep_on_the_loop),
            Call(name="hostile.compute", body=Spell, handle=compute),
            Call(name="hostile.load", body=Spell, handle=load),
            Call(name="hostile.spin", body=Spell, handle=spin),
            Call(name="hostile.leak", body=Spell, handle=leak),
            Call(name="hostile.fail", body=Spell, handle=fail),
            Command(name="hostile.flood", body=Spell, prepare=flood),
        ]


def note(ended: TurnEnded) -> None:
    time.sleep(1.0)


class Noting(Plugin):
    """A second plugin of the same file, which is slow to take note of turns that ended."""

    name = "noting"

    @hookimpl
    def register_listeners(self, context: PluginContext) -> Iterable[Listener]:
        return [Listener(note)]
