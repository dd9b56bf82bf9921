"""The bound of a call's answers, for providers that take one and for others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
from msgspec import structs

from engine.api import ProviderRole, RealtimeInput, RealtimeRequest, RealtimeStage, RealtimeUpdate, UnsupportedParameter
from engine.testing import RecordingRealtimeStage
from plugins.realtime.providers.google_interpreting import check_interpreter
from plugins.realtime.providers.google_setup import setup
from tests.engine.providers.conftest import registry


class Caller:
    """A realtime provider that only exists."""

    role: ClassVar[ProviderRole] = "realtime"
    name = "caller"
    unavailable = None

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        raise AssertionError("nobody calls")


class Bounded(Caller):
    """One that heeds a bound."""

    bounds_answers = True


async def test_a_bound_is_refused_for_a_model_that_takes_none() -> None:
    asked = RealtimeRequest(model="m", max_output_tokens=5)
    registry(Bounded()).realtime("caller/m").check(asked)
    with pytest.raises(UnsupportedParameter, match="takes no bound") as refused:
        registry(Caller()).realtime("caller/m").check(asked)
    assert refused.value.field == "max_output_tokens"
    registry(Caller()).realtime("caller/m").check(RealtimeRequest(model="m"))


class Listening(Bounded):
    """One that keeps what it is asked, at the start and with each update."""

    def __init__(self) -> None:
        self.bounds: list[int | None] = []

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        self.bounds.append(request.max_output_tokens)
        async for item in intake:
            if isinstance(item, RealtimeUpdate):
                self.bounds.append(item.request.max_output_tokens)


async def test_the_bound_reaches_the_provider_where_no_budget_has_a_smaller_one() -> None:
    provider = Listening()
    asked = RealtimeRequest(model="m", max_output_tokens=5)

    async def intake() -> AsyncIterator[RealtimeInput]:
        yield RealtimeUpdate(structs.replace(asked, max_output_tokens=7))
        yield RealtimeUpdate(structs.replace(asked, max_output_tokens=None))

    await registry(provider).realtime("caller/m").converse(asked, intake(), RecordingRealtimeStage())
    assert provider.bounds == [5, 7, None]


def test_google_is_told_the_bound_and_its_interpreter_takes_none() -> None:
    asked = RealtimeRequest(model="gemini-live-2.5-flash", max_output_tokens=5)
    assert setup(asked, (), None)["setup"]["generationConfig"]["maxOutputTokens"] == 5
    with pytest.raises(UnsupportedParameter):
        check_interpreter(RealtimeRequest(model="gemini-live-translate", translate_to="it", max_output_tokens=5))
