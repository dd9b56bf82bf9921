"""Puts a guard around every function that plugins register: what it raises, or returns wrongly, is told in its plugin's name.

A guard keeps the plugin's name in its variable `owner`, where `Ownership` finds it on the stack.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NoReturn, get_args

from engine.api.commands import Call, Closing, Command, Serve
from engine.api.plugin import Health, HealthCheck, Listener
from engine.api.routes import Result, Route
from engine.api.tools import Tool
from engine.guard import Contained, WrongAnswer, defined_at
from engine.loader.gathered import Gathered
from engine.sessions.table import AnyCommand

Function = Callable[..., Any]


CHECKED_WITHIN = 0.3
"""Seconds that a health check has; nobody who serves waits longer for it."""


class CheckTooSlow(Exception):
    """Raised for a health check that did not answer in time, and while it still runs."""


def guarded(gathered: Gathered, own: Collection[str] = ()) -> Gathered:
    """The same things, with a guard around each function; it runs in the name of its plugin.

    Health checks of plugins that are not the engine's `own` run in a thread and have a deadline.
    """
    return replace(
        gathered,
        commands=[(owner, _command(owner, command)) for owner, command in gathered.commands],
        routes=[(owner, _route(owner, route)) for owner, route in gathered.routes],
        tools=[(owner, _tool(owner, tool)) for owner, tool in gathered.tools],
        listeners=[(owner, _listener(owner, listener)) for owner, listener in gathered.listeners],
        checks=[(owner, _check(owner, check, owner not in own)) for owner, check in gathered.checks],
    )


def _command(owner: str, command: AnyCommand) -> AnyCommand:
    place = f"the command {command.name!r}"
    if isinstance(command, Call):
        return replace(command, handle=_awaited(owner, place, command.handle, _is_fields, "a mapping or None"))
    recover = command.recover
    return replace(
        command,
        prepare=_prepared(owner, place, command),
        recover=recover and _called(owner, place, recover, _is(Closing), "a Closing"),
    )


def _prepared(owner: str, place: str, command: Command[Any]) -> Function:
    prepare = _awaited(owner, place, command.prepare, _is(Serve), "a Serve")

    @functools.wraps(command.prepare)
    async def prepared(request: Any) -> Serve:
        serve: Serve = await prepare(request)
        return replace(
            serve,
            serve=_awaited(owner, place, serve.serve),
            closing=serve.closing and _called(owner, place, serve.closing, _is(Closing), "a Closing"),
            released=serve.released and _called(owner, place, serve.released),
            take=serve.take and _called(owner, place, serve.take),
        )

    return prepared


def _route(owner: str, route: Route) -> Route:
    place = f"the route {route.method} {route.path}"
    errors = route.errors
    return replace(
        route,
        handler=_awaited(owner, place, route.handler, _is(*get_args(Result)), "an Answer or another result of a route"),
        errors=errors and _called(owner, place, errors),
    )


def _tool(owner: str, tool: Tool) -> Tool:
    return replace(tool, run=_awaited(owner, f"the tool {tool.name!r}", tool.run))


def _listener(owner: str, listener: Listener) -> Listener:
    return replace(listener, handle=_called(owner, "a listener", listener.handle, _is(type(None)), "None"))


def _check(owner: str, check: HealthCheck, bounded: bool) -> HealthCheck:
    guard = _called(owner, f"the health check {check.name!r}", check.check, _is(Health), "a Health")
    return replace(check, check=_in_time(guard) if bounded else guard)


def _in_time(function: Callable[[], Health]) -> Callable[[], Health]:
    """Calls a check in a thread, and not again while it still runs."""
    late: list[threading.Thread] = []

    @functools.wraps(function)
    def check() -> Health:
        if any(thread.is_alive() for thread in late):
            raise CheckTooSlow
        answered: Future[Health] = Future()
        thread = threading.Thread(target=_answer, args=(answered, function), name="health check", daemon=True)
        thread.start()
        try:
            return answered.result(CHECKED_WITHIN)
        except TimeoutError:
            late[:] = [thread]
            raise CheckTooSlow from None

    return check


def _answer(answered: Future[Health], function: Callable[[], Health]) -> None:
    try:
        answered.set_result(function())
    except BaseException as error:
        answered.set_exception(error)


def _awaited(
    owner: str, place: str, function: Function, fits: Callable[[Any], bool] | None = None, due: str = ""
) -> Function:
    @functools.wraps(function)
    async def guard(*arguments: Any) -> Any:
        with Contained(f"{place} of plugin {owner!r}"):
            awaitable: Awaitable[Any] = function(*arguments)
            if not inspect.isawaitable(awaitable):
                words = f"{place} of plugin {owner!r} is no coroutine function: write it with `async def`"
                raise WrongAnswer(words, defined_at(function))
            given = await awaitable
        return given if fits is None or fits(given) else _unfit(given, f"{place} of plugin {owner!r}", due, function)

    return guard


def _called(
    owner: str, place: str, function: Function, fits: Callable[[Any], bool] | None = None, due: str = ""
) -> Function:
    @functools.wraps(function)
    def guard(*arguments: Any) -> Any:
        with Contained(f"{place} of plugin {owner!r}"):
            given = function(*arguments)
        return given if fits is None or fits(given) else _unfit(given, f"{place} of plugin {owner!r}", due, function)

    return guard


def _unfit(given: Any, where: str, due: str, function: Function) -> NoReturn:
    at = defined_at(function)
    if inspect.iscoroutine(given):
        given.close()
        raise WrongAnswer(f"{where} is a coroutine function: write it without `async`; {due} is due at once", at)
    raise WrongAnswer(f"{where} returned {type(given).__name__!r}; {due} is due", at)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda given: isinstance(given, types)


def _is_fields(given: Any) -> bool:
    return given is None or isinstance(given, Mapping)
