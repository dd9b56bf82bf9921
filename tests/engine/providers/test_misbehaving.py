"""Providers that do what none should: they are named with the place in their code, and hold up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from time import sleep
from typing import Any, ClassVar

import pytest
import structlog
from msgspec import structs

from engine.api import ChatRequest, Finish, ProviderError, ProviderRole, ProviderUnavailable, TextDelta
from engine.providers import ResiliencePolicy
from engine.testing import RecordingWriter, ask
from tests.engine.providers.conftest import play, registry


class Odd:
    """A provider that answers as a function of the test's does."""

    role: ClassVar[ProviderRole] = "chat"
    name = "odd"
    unavailable = None

    def __init__(self, stream: Callable[[ChatRequest], Any]) -> None:
        self.stream = stream


def given(*things: Any) -> Callable[[ChatRequest], AsyncIterator[Any]]:
    async def stream(request: ChatRequest) -> AsyncIterator[Any]:
        for thing in things:
            yield thing

    return stream


async def raising(request: ChatRequest) -> AsyncIterator[Any]:
    raise SystemExit(3)
    yield


async def cancelling(request: ChatRequest) -> AsyncIterator[Any]:
    yield TextDelta("so far")
    raise asyncio.CancelledError


async def interrupting(request: ChatRequest) -> AsyncIterator[Any]:
    yield TextDelta("so far")
    raise KeyboardInterrupt


async def closing(request: ChatRequest) -> AsyncIterator[Any]:
    yield TextDelta("so far")
    raise GeneratorExit


async def no_iterator(request: ChatRequest) -> Any:
    return TextDelta("whole")


async def fails(stream: Callable[[ChatRequest], Any], writer: RecordingWriter) -> tuple[str, Mapping[str, Any]]:
    """The error's message, and the log line of the crash."""
    chain = registry(Odd(stream), policy=ResiliencePolicy(retries=0)).chat("odd/m")
    with structlog.testing.capture_logs() as logged, pytest.raises(ProviderError) as failed:
        await play(chain, writer)
    [crash] = [line for line in logged if line["event"] == "provider_crashed"]
    assert (crash["provider"], crash["plugin"]) == ("odd", "test")
    return failed.value.message, crash


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (raising, "SystemExit"),
        (cancelling, "CancelledError"),
        (interrupting, "KeyboardInterrupt"),
        (closing, "GeneratorExit"),
    ],
    ids=["exit", "cancel", "interrupt", "close"],
)
async def test_an_exit_or_a_cancel_of_its_own_is_a_failure_of_the_provider(
    stream: Callable[[ChatRequest], Any], kind: str, writer: RecordingWriter
) -> None:
    message, crash = await fails(stream, writer)
    assert message == f"the provider of odd/m failed unexpectedly ({kind}); the log says where"
    assert "test_misbehaving.py" in crash["at"]
    assert crash["error"].startswith(f"{kind}: ")


@pytest.mark.parametrize(
    ("things", "wrong"),
    [
        (("words",), "'str'"),
        (({"text": "words"},), "'dict'"),
        ((7,), "'int'"),
        (([TextDelta("a"), "words"],), "'str'"),
        ((TextDelta("a"), "words"), "'str'"),
        ((TextDelta("a"), None), "'NoneType'"),
        ((TextDelta("a"), [{"text": "words"}]), "'dict'"),
    ],
)
async def test_a_yield_that_is_no_delta_is_named_with_what_is_due(
    things: tuple[Any, ...], wrong: str, writer: RecordingWriter
) -> None:
    message, crash = await fails(given(*things), writer)
    assert (
        message
        == "the provider of odd/m answered with something that is not a valid delta; the log says what was expected"
    )
    assert f"yielded {wrong}; a ChatDelta such as TextDelta, or a sequence of them, is due" in crash["error"]
    assert "given.<locals>.stream at " in crash["error"]


async def test_a_stream_that_is_no_iterator_is_named_with_what_is_due(writer: RecordingWriter) -> None:
    _, crash = await fails(no_iterator, writer)
    assert crash["error"] == ("Odd.stream returned 'coroutine'; an asynchronous iterator or a PushedAnswer is due")


async def test_options_that_a_provider_changes_are_as_asked_for_the_next_one(writer: RecordingWriter) -> None:
    seen: list[Any] = []

    async def changes(request: ChatRequest) -> AsyncIterator[Any]:
        options: Any = request.provider_options
        options["thinking"]["budget"] = 9
        raise ProviderUnavailable("acme is down")
        yield

    async def looks(request: ChatRequest) -> AsyncIterator[Any]:
        seen.append(request.provider_options)
        yield Finish("stop")

    spare = Odd(looks)
    spare.name = "spare"
    fallbacks: dict[str, tuple[str, ...]] = {"odd/m": ("spare/m",)}
    asked = structs.replace(ask(), provider_options={"thinking": {"budget": 1}})
    chain = registry(Odd(changes), spare, policy=ResiliencePolicy(retries=0), fallbacks=fallbacks).chat("odd/m")
    await play(chain, writer, asked)
    assert seen == [{"thinking": {"budget": 1}}]


class Bystander:
    """Counts how often it gets its turn."""

    def __init__(self) -> None:
        self.turns = 0

    async def watch(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def flood(request: ChatRequest) -> AsyncIterator[Any]:
    for _ in range(100_000):
        yield TextDelta("x")
    yield Finish("stop")


async def test_an_iterator_that_never_waits_gives_others_their_turn(writer: RecordingWriter) -> None:
    bystander = Bystander()
    watching = asyncio.create_task(bystander.watch())
    await play(registry(Odd(flood)).chat("odd/m"), writer)
    watching.cancel()
    assert bystander.turns > 10


class Pushing:
    """Pushes for ever and never waits."""

    async def push(self, take: Callable[[Any], object]) -> None:
        while True:
            take(TextDelta("x"))


async def test_a_push_that_never_waits_is_ended_and_named(writer: RecordingWriter) -> None:
    _, crash = await fails(lambda request: Pushing(), writer)
    assert crash["error"].startswith("Pushing.push took pieces for 0.5 s without waiting once")


async def test_a_push_that_waits_now_and_then_may_be_long(writer: RecordingWriter) -> None:
    class Patient:
        async def push(self, take: Callable[[Any], object]) -> None:
            for _ in range(4):
                for _ in range(400):
                    take(TextDelta("x"))
                sleep(0.2)  # noqa: ASYNC251  # stands for its own work
                await asyncio.sleep(0)
            take(Finish("stop"))

    said = await play(registry(Odd(lambda request: Patient())).chat("odd/m"), writer)
    assert len(said) == 1601
