"""The contract accepts a good provider and finds the faults of bad ones."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import ClassVar

import pytest

from engine.api import ChatDelta, ChatProvider, ChatRequest, Finish, ProviderRefused, TextDelta, Usage
from engine.testing import FailingProvider, ScriptedProvider, answer, ask
from engine.testing.conformance import ChatProviderContract

USAGE = Usage(input_tokens=3, output_tokens=2)


class TestScriptedProvider(ChatProviderContract):
    secrets: ClassVar[tuple[str, ...]] = ("sk-secret",)

    @pytest.fixture
    def provider(self) -> ChatProvider:
        return ScriptedProvider(*answer("hel", "lo", usage=USAGE))

    @pytest.fixture
    def refused_provider(self) -> ChatProvider:
        return FailingProvider(ProviderRefused("the key was refused"))

    @pytest.fixture
    def unavailable_provider(self) -> ChatProvider:
        return ScriptedProvider(unavailable="set ACME_API_KEY to use it")


class Contract(ChatProviderContract):
    answer_within = 2.0
    close_within = 0.05
    secrets = ("sk-secret",)


class Blocking(ScriptedProvider):
    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        yield TextDelta("a")
        time.sleep(0.4)  # noqa: ASYNC251 - the fault that the contract is to find
        yield Finish("stop")


class Stubborn(ScriptedProvider):
    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        yield TextDelta("a")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)


class Leaking(ScriptedProvider):
    def __init__(self) -> None:
        super().__init__(*answer("a", usage=USAGE))
        self.left: list[asyncio.Task[bool]] = []

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        self.left.append(asyncio.create_task(asyncio.Event().wait()))
        yield TextDelta("a")
        yield Finish("stop")


async def test_an_answer_without_finish_is_found() -> None:
    with pytest.raises(AssertionError, match="one choice ends with one Finish"):
        await Contract().test_streams_text_and_ends_with_a_finish(ScriptedProvider("a"), ask())


async def test_an_answer_without_usage_is_found() -> None:
    with pytest.raises(AssertionError, match="Usage comes once"):
        await Contract().test_tells_its_usage_once(ScriptedProvider(*answer("a")), ask())


async def test_a_provider_that_blocks_the_loop_is_found() -> None:
    with pytest.raises(AssertionError, match="the event loop stood still"):
        await Contract().test_never_blocks_the_event_loop(Blocking(), ask())


async def test_a_provider_that_is_slow_to_close_is_found() -> None:
    with pytest.raises(TimeoutError):
        await Contract().test_closing_in_the_middle_ends_soon_and_leaves_it_usable(Stubborn(), ask())
    with pytest.raises(AssertionError, match="swallowed the cancellation"):
        await Contract().test_cancelling_in_the_middle_ends_soon_and_leaves_it_usable(Stubborn(), ask())


async def test_a_provider_that_leaves_tasks_is_found() -> None:
    provider = Leaking()
    with pytest.raises(AssertionError, match="tasks are left behind"):
        await Contract().test_leaves_no_task_behind(provider, ask())
    for task in provider.left:
        task.cancel()
    await asyncio.gather(*provider.left, return_exceptions=True)


async def test_a_secret_in_an_error_is_found() -> None:
    telling = FailingProvider(ProviderRefused("the key sk-secret was refused"))
    with pytest.raises(AssertionError, match="a credential stands"):
        await Contract().test_no_error_or_repr_tells_a_secret(ScriptedProvider(), telling, ask())


async def test_a_reason_that_is_no_sentence_is_found() -> None:
    with pytest.raises(AssertionError, match="is no sentence"):
        await Contract().test_says_in_a_sentence_why_it_cannot_serve(ScriptedProvider(unavailable="nokey"))
