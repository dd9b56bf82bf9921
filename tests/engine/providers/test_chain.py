"""Retries, fallbacks, breakers and closing around a call."""

import asyncio
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from engine.api import (
    Answered,
    ChatChain,
    ChatDelta,
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
    Providers,
    ProviderUnavailable,
    StatusChanged,
    TextDelta,
    UnsupportedParameter,
)
from engine.providers import Catalogue, Chain, Registry, ResiliencePolicy
from engine.testing import FailingProvider, RecordingWriter, ScriptedProvider, answer, ask
from tests.engine.providers.conftest import registry


async def play(chain: Chain, writer: RecordingWriter, request: ChatRequest | None = None) -> list[ChatDelta]:
    deltas: list[ChatDelta] = []
    async for batch in chain.stream(request or ask(), writer):
        deltas.extend(batch)
        writer.extend(batch)
    return deltas


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
    batches = [list(batch) async for batch in chain.stream(ask(model="asked"), writer)]
    assert batches == [[TextDelta("a"), TextDelta("b")], [TextDelta("c")], [Finish("stop")]]
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


async def test_closing_the_stream_closes_the_providers(writer: RecordingWriter) -> None:
    provider = ScriptedProvider("one", asyncio.Event())
    async with aclosing(registry(provider).chat("scripted/m").stream(ask(), writer)) as stream:
        await anext(stream)
        assert provider.running == 1
    assert (provider.running, provider.closed.is_set()) == (0, True)


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
