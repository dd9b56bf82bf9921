"""Retries, fallbacks, breakers and closing around a call."""

import asyncio
import gc
import traceback
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import ClassVar

import pytest

from engine.api import (
    Answered,
    ChatChain,
    ChatDelta,
    ChatDeltas,
    ChatRequest,
    ContextTooLong,
    EngineError,
    Finish,
    ImagePart,
    InvalidRequest,
    Message,
    ModelInfo,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderRole,
    Providers,
    ProviderUnavailable,
    PushedAnswer,
    StatusChanged,
    TextDelta,
    UnsupportedParameter,
    Usage,
)
from engine.providers import Catalogue, Registry, ResiliencePolicy
from engine.testing import FailingProvider, RecordingWriter, ScriptedProvider, answer, ask
from engine.testing.providers import Step
from tests.engine.providers.conftest import batches, play, registry


def down() -> ProviderUnavailable:
    return ProviderUnavailable("acme is down")


def spare(name: str = "spare") -> ScriptedProvider:
    return ScriptedProvider(*answer("spare"), name=name)


def test_the_registry_keeps_the_public_contracts() -> None:
    providers: Providers = Registry([("plugin", spare())])
    chain: ChatChain = providers.chat("spare/m")
    assert [target.name for target in chain.targets] == ["spare/m"]


async def test_deltas_come_in_batches_and_single_ones_are_wrapped(writer: RecordingWriter) -> None:
    provider = ScriptedProvider([TextDelta("a"), TextDelta("b")], TextDelta("c"), [], Finish("stop"))
    chain = registry(provider).chat("scripted/m")
    assert await batches(chain, writer, ask(model="asked")) == [
        [TextDelta("a"), TextDelta("b")],
        [TextDelta("c")],
        [Finish("stop")],
    ]
    assert provider.requests[0].model == "m"
    assert writer.model == "scripted/m"


async def test_a_failed_call_is_tried_again_and_each_attempt_is_told(writer: RecordingWriter) -> None:
    provider = FailingProvider(down, 2, *answer("there"))
    await play(registry(provider).chat("failing/m"), writer)
    assert writer.said == "there"
    assert [stage for stage, _ in writer.statuses] == ["retry", "retry"]
    assert "failing/m: acme is down" in (writer.statuses[0][1] or "")
    assert len(provider.requests) == 3


async def test_retries_end_with_the_error_itself(writer: RecordingWriter) -> None:
    provider = FailingProvider(down)
    with pytest.raises(ProviderUnavailable, match="acme is down"):
        await play(registry(provider, policy=ResiliencePolicy(retries=1)).chat("failing/m"), writer)
    assert len(provider.requests) == 2


async def test_a_short_retry_after_is_waited_for_exactly(writer: RecordingWriter) -> None:
    provider = FailingProvider(lambda: ProviderRateLimited("slow down", retry_after=7), 1, *answer("there"))
    start = asyncio.get_running_loop().time()
    await play(registry(provider).chat("failing/m"), writer)
    assert asyncio.get_running_loop().time() - start == pytest.approx(7, abs=0.01)


async def test_a_long_retry_after_falls_back_at_once(writer: RecordingWriter) -> None:
    busy = FailingProvider(lambda: ProviderRateLimited("come back later", retry_after=3600))
    await play(registry(busy, spare(), fallbacks={"failing/m": ("spare/b",)}).chat("failing/m"), writer)
    assert len(busy.requests) == 1
    assert writer.statuses == [("fallback", "spare/b answers instead of failing/m: come back later")]
    assert writer.model == "spare/b"


@pytest.mark.parametrize("error", [ProviderRefused("bad key"), ModelNotFound("no such model"), ProviderError("broken")])
async def test_what_only_this_provider_refuses_falls_back_without_a_retry(
    writer: RecordingWriter, error: EngineError
) -> None:
    refusing = FailingProvider(error)
    await play(registry(refusing, spare(), fallbacks={"failing/m": ("spare/b",)}).chat("failing/m"), writer)
    assert (writer.said, len(refusing.requests)) == ("spare", 1)


@pytest.mark.parametrize("error", [InvalidRequest("no"), ContextTooLong("no"), UnsupportedParameter("no")])
async def test_the_callers_own_mistake_does_not_fall_back(writer: RecordingWriter, error: EngineError) -> None:
    other = spare()
    chain = registry(FailingProvider(error), other, fallbacks={"failing/m": ("spare/b",)}).chat("failing/m")
    with pytest.raises(type(error)):
        await play(chain, writer)
    assert other.requests == []


async def test_after_the_first_content_an_error_is_raised_and_nothing_is_repeated(writer: RecordingWriter) -> None:
    cut = ScriptedProvider("once ", ProviderUnavailable("cut off"), name="cut")
    other = spare()
    chain = registry(cut, other, fallbacks={"cut/m": ("spare/b",)}).chat("cut/m")
    with pytest.raises(ProviderUnavailable, match="cut off"):
        await play(chain, writer)
    assert (writer.said, len(cut.requests), other.requests) == ("once ", 1, [])


async def test_status_and_answered_are_no_content(writer: RecordingWriter) -> None:
    loading = ScriptedProvider(StatusChanged(stage="queued"), Answered("m-1"), down(), name="early")
    chain = registry(loading, spare(), fallbacks={"early/m": ("spare/b",)}).chat("early/m")
    await play(chain, writer)
    assert (writer.said, len(loading.requests)) == ("spare", 3)


async def test_an_empty_answer_is_a_failure(writer: RecordingWriter) -> None:
    chain = registry(ScriptedProvider(name="empty"), policy=ResiliencePolicy(retries=0)).chat("empty/m")
    with pytest.raises(ProviderUnavailable, match="ended without an answer"):
        await play(chain, writer)


async def test_an_answer_without_a_finish_is_a_failure_and_what_came_is_kept(writer: RecordingWriter) -> None:
    provider = ScriptedProvider("half an", " answer", Usage(input_tokens=5, output_tokens=3), name="cut")
    with pytest.raises(ProviderUnavailable, match="cut/m ended its answer without a Finish") as error:
        await play(registry(provider).chat("cut/m"), writer)
    assert (error.value.retryable, writer.said, len(provider.requests)) == (True, "half an answer", 1)
    assert writer.usage == Usage(input_tokens=5, output_tokens=3)


async def test_a_crash_of_a_provider_is_contained_and_tells_no_secret(writer: RecordingWriter) -> None:
    crashing = FailingProvider(lambda: RuntimeError("Authorization: Bearer sk-secret"))
    chain = registry(crashing, policy=ResiliencePolicy(retries=0)).chat("failing/m")
    with pytest.raises(ProviderError, match="RuntimeError") as raised:
        await play(chain, writer)
    assert "sk-secret" not in "".join(traceback.format_exception(raised.value))


async def test_a_crash_after_the_first_content_tells_no_secret_either(writer: RecordingWriter) -> None:
    crashing = ScriptedProvider("once", RuntimeError("Authorization: Bearer sk-secret"))
    with pytest.raises(ProviderError, match="RuntimeError") as raised:
        await play(registry(crashing).chat("scripted/m"), writer)
    assert "sk-secret" not in "".join(traceback.format_exception(raised.value))


async def test_a_provider_that_became_unavailable_is_passed_over(writer: RecordingWriter) -> None:
    first = ScriptedProvider(*answer("first"), name="first")
    chain = registry(first, spare(), fallbacks={"first/m": ("spare/b",)}).chat("first/m")
    first.unavailable = "its model file is gone"
    await play(chain, writer)
    assert writer.said == "spare"
    assert "its model file is gone" in (writer.statuses[0][1] or "")


async def test_what_the_primary_cannot_do_is_refused_with_the_field(writer: RecordingWriter) -> None:
    plain = ModelInfo(id="plain", provider="scripted", capabilities=frozenset({"tools"}))
    provider = ScriptedProvider(*answer("hi"))
    picture = ChatRequest(model="plain", messages=(Message(role="user", parts=(ImagePart(url="http://x/y.png"),)),))
    with pytest.raises(UnsupportedParameter, match="images") as error:
        await play(registry(provider, entries=(plain,)).chat("plain"), writer, picture)
    assert error.value.field == "input"
    assert provider.requests == []


async def test_a_fallback_that_cannot_do_it_is_passed_over(writer: RecordingWriter) -> None:
    plain = ModelInfo(id="plain", provider="blind")
    blind = spare("blind")
    picture = ChatRequest(model="m", messages=(Message(role="user", parts=(ImagePart(url="http://x/y.png"),)),))
    chain = registry(
        FailingProvider(ProviderRefused("bad key")),
        blind,
        spare(),
        entries=(plain,),
        fallbacks={"failing/m": ("plain", "spare/b")},
    ).chat("failing/m")
    await play(chain, writer, picture)
    assert (writer.model, blind.requests) == ("spare/b", [])


class Pushing:
    """A scripted provider that hands its answer out itself."""

    role: ClassVar[ProviderRole] = "chat"
    unavailable = None

    def __init__(self, *script: Step) -> None:
        self._provider = ScriptedProvider(*script)
        self.name = self._provider.name

    @property
    def running(self) -> int:
        return self._provider.running

    def stream(self, request: ChatRequest) -> PushedAnswer:
        return _Pushed(self._provider.stream(request))


class _Pushed:
    def __init__(self, answer: AsyncGenerator[ChatDeltas, None]) -> None:
        self._answer = answer

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        async with aclosing(self._answer) as answer:
            async for deltas in answer:
                take(deltas)


async def test_an_answer_that_hands_itself_out_is_pushed(writer: RecordingWriter) -> None:
    provider = Pushing(*answer("hi"))
    await play(registry(provider).chat("scripted/m"), writer)
    assert (writer.said, provider.running) == ("hi", 0)


@pytest.mark.parametrize("kind", [ScriptedProvider, Pushing])
async def test_what_the_taker_raises_is_its_own_and_closes_the_call(
    writer: RecordingWriter, kind: type[ScriptedProvider | Pushing]
) -> None:
    def take(deltas: ChatDeltas) -> None:
        raise ProviderRefused("not of the provider")

    provider, other = kind("one", asyncio.Event()), spare()
    chain = registry(provider, other, fallbacks={"scripted/m": ("spare/b",)}).chat("scripted/m")
    with pytest.raises(ProviderRefused, match="not of the provider"):
        await chain.ask(ask(), writer, take)
    assert (provider.running, other.requests) == (0, [])


async def test_cancelling_the_task_closes_the_providers_and_stays_a_cancellation(writer: RecordingWriter) -> None:
    provider = ScriptedProvider("one", asyncio.Event())
    task = asyncio.create_task(play(registry(provider).chat("scripted/m"), writer))
    await provider.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.running == 0


async def test_cancelling_between_two_attempts_ends_at_once(writer: RecordingWriter) -> None:
    provider = FailingProvider(lambda: ProviderRateLimited("slow down", retry_after=9))
    chain = registry(provider).chat("failing/m")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(play(chain, writer), 1)
    assert len(provider.requests) == 1


async def test_a_failing_provider_is_left_alone_and_tried_again_later(writer: RecordingWriter) -> None:
    policy = ResiliencePolicy(retries=0, breaker_failures=2, breaker_reset=30)
    provider = FailingProvider(down, 2, *answer("back"))
    providers = registry(provider, policy=policy)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match="acme is down"):
            await play(providers.chat("failing/m"), writer)
    with pytest.raises(ProviderUnavailable, match="left alone for 30 s") as open_:
        await play(providers.chat("failing/m"), writer)
    assert open_.value.retry_after == 30
    assert len(provider.requests) == 2
    await asyncio.sleep(31)
    await play(providers.chat("failing/m"), writer)
    assert writer.said == "back"


async def test_an_open_breaker_is_passed_over_where_another_serves(writer: RecordingWriter) -> None:
    policy = ResiliencePolicy(retries=0, breaker_failures=1)
    provider = FailingProvider(down)
    providers = registry(provider, spare(), policy=policy, fallbacks={"failing/m": ("spare/b",)})
    await play(providers.chat("failing/m"), writer)
    await play(providers.chat("failing/m"), writer)
    assert len(provider.requests) == 1
    assert "failed 1 times in a row" in (writer.statuses[-1][1] or "")


async def test_refusals_do_not_open_the_breaker(writer: RecordingWriter) -> None:
    policy = ResiliencePolicy(retries=0, breaker_failures=1)
    provider = FailingProvider(ProviderRefused("bad key"))
    providers = registry(provider, policy=policy)
    for _ in range(3):
        with pytest.raises(ProviderRefused):
            await play(providers.chat("failing/m"), writer)
    assert len(provider.requests) == 3


async def test_a_provider_whose_stream_raises_at_once_falls_back_too(writer: RecordingWriter) -> None:
    class Eager(ScriptedProvider):
        def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
            raise ProviderRefused("bad key")

    chain = registry(Eager(name="eager"), spare(), fallbacks={"eager/m": ("spare/b",)}).chat("eager/m")
    await play(chain, writer)
    assert writer.said == "spare"


def test_a_request_can_be_checked_before_anything_is_called() -> None:
    plain = ModelInfo(id="plain", provider="spare")
    chain = Registry([("plugin", spare())], Catalogue([plain])).chat("plain")
    chain.check(ask())
    picture = ChatRequest(model="m", messages=(Message(role="user", parts=(ImagePart(url="http://x/y.png"),)),))
    with pytest.raises(UnsupportedParameter, match="images"):
        chain.check(picture)


class _GoingOn(_Pushed):
    """An answer for which the vendor may be asked again, which has the engine's question to its call."""

    again: Callable[[], Awaitable[None]] | None = None


class GoingOn(Pushing):
    def stream(self, request: ChatRequest) -> PushedAnswer:
        return _GoingOn(self._provider.stream(request))


@pytest.mark.parametrize("kind", [Pushing, GoingOn])
async def test_nothing_of_a_call_waits_for_the_collector(kind: type[Pushing]) -> None:
    chain = registry(kind(*answer("there"))).chat("scripted/m")
    writer = RecordingWriter()
    held = weakref.ref(writer)
    gc.disable()
    try:
        await play(chain, writer)
        del writer
        assert held() is None
    finally:
        gc.enable()
