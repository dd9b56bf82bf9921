"""Bounds in time of one call, on virtual time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from engine.api import (
    Answered,
    ChatDelta,
    ChatRequest,
    Finish,
    ProviderTimeout,
    ProviderUnavailable,
    StatusChanged,
    TextDelta,
)
from engine.providers import ResiliencePolicy
from engine.testing import RecordingWriter, ScriptedProvider, SlowProvider, answer
from tests.engine.providers.conftest import play, registry

POLICY = ResiliencePolicy(connect=5, first_event=20, idle=20, total=100, retries=2)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_silence_before_the_first_event_is_ended_and_not_waited_for_twice(writer: RecordingWriter) -> None:
    silent = ScriptedProvider(asyncio.Event(), name="silent")
    with pytest.raises(ProviderTimeout, match="silent/m was silent for 20 s"):
        await play(registry(silent, policy=POLICY).chat("silent/m"), writer)
    assert now() == pytest.approx(20, abs=0.01)
    assert (len(silent.requests), silent.running) == (1, 0)


async def test_silence_falls_back(writer: RecordingWriter) -> None:
    silent = ScriptedProvider(asyncio.Event(), name="silent")
    spare = ScriptedProvider(*answer("spare"), name="spare")
    providers = registry(silent, spare, policy=POLICY, fallbacks={"silent/m": ("spare/b",)})
    await play(providers.chat("silent/m"), writer)
    assert writer.said == "spare"


async def test_silence_in_the_middle_is_ended_too(writer: RecordingWriter) -> None:
    stuck = ScriptedProvider("one", asyncio.Event(), name="stuck")
    with pytest.raises(ProviderTimeout):
        await play(registry(stuck, policy=POLICY).chat("stuck/m"), writer)
    assert (writer.said, stuck.running) == ("one", 0)


async def test_every_delta_and_every_empty_batch_is_a_sign_of_life(writer: RecordingWriter) -> None:
    slow = SlowProvider(15, Answered("m"), [], "a", "b", *answer())
    await play(registry(slow, policy=POLICY).chat("slow/m"), writer)
    assert writer.said == "ab"
    assert now() == pytest.approx(75, abs=0.01)


async def test_a_vendor_that_has_begun_may_be_silent_for_longer_and_is_not_left_alone(writer: RecordingWriter) -> None:
    policy = ResiliencePolicy(first_event=20, idle=50, total=100, retries=0, breaker_failures=1)
    beginnings: list[Any] = [[], "one"]
    for begun in beginnings:
        started = now()
        stuck = ScriptedProvider(begun, asyncio.Event(), name="stuck")
        providers = registry(stuck, policy=policy)
        with pytest.raises(ProviderTimeout, match="stuck/m was silent for 50 s"):
            await play(providers.chat("stuck/m"), writer)
        assert now() - started == pytest.approx(50, abs=0.01)
        assert providers.left_alone() == {("chat", "stuck"): False}


async def test_a_vendor_that_never_begins_is_left_alone(writer: RecordingWriter) -> None:
    policy = ResiliencePolicy(first_event=20, idle=50, total=100, retries=0, breaker_failures=1)
    providers = registry(ScriptedProvider(asyncio.Event(), name="silent"), policy=policy)
    with pytest.raises(ProviderTimeout, match="20 s"):
        await play(providers.chat("silent/m"), writer)
    assert providers.left_alone() == {("chat", "silent"): True}


async def test_the_whole_call_is_bounded(writer: RecordingWriter) -> None:
    slow = SlowProvider(15, *"abcdefghij")
    with pytest.raises(ProviderTimeout, match="did not finish within 100 s"):
        await play(registry(slow, policy=POLICY).chat("slow/m"), writer)
    assert now() == pytest.approx(100, abs=0.01)
    assert writer.said == "abcdef"


async def test_loading_does_not_count(writer: RecordingWriter) -> None:
    loaded = asyncio.Event()
    local = ScriptedProvider(StatusChanged(stage="loading"), loaded, *answer("ready"), name="local")
    asyncio.get_running_loop().call_later(90, loaded.set)
    await play(registry(local, policy=POLICY).chat("local/m"), writer)
    assert writer.said == "ready"
    assert writer.statuses == [("loading", None)]


async def test_after_loading_the_deadlines_hold_again(writer: RecordingWriter) -> None:
    loaded = asyncio.Event()
    local = ScriptedProvider(
        StatusChanged(stage="loading"), loaded, StatusChanged(stage="loaded"), asyncio.Event(), name="local"
    )
    asyncio.get_running_loop().call_later(90, loaded.set)
    with pytest.raises(ProviderTimeout, match="20 s"):
        await play(registry(local, policy=POLICY).chat("local/m"), writer)
    assert now() == pytest.approx(110, abs=0.01)


async def test_connecting_has_a_bound_of_its_own_and_is_not_shown(writer: RecordingWriter) -> None:
    unreachable = ScriptedProvider(StatusChanged(stage="connecting"), asyncio.Event(), name="far")
    with pytest.raises(ProviderTimeout, match="5 s"):
        await play(registry(unreachable, policy=POLICY).chat("far/m"), writer)
    assert writer.statuses == []


async def test_once_connected_the_first_event_has_its_own_time(writer: RecordingWriter) -> None:
    thinking = asyncio.Event()
    provider = ScriptedProvider(StatusChanged(stage="connecting"), [], thinking, *answer("hi"), name="far")
    asyncio.get_running_loop().call_later(15, thinking.set)
    await play(registry(provider, policy=POLICY).chat("far/m"), writer)
    assert writer.said == "hi"


HEAD = StatusChanged(stage="answering")


async def test_the_head_of_an_answer_is_not_shown_and_moves_no_deadline(writer: RecordingWriter) -> None:
    asyncio.get_running_loop().call_later(15, (headed := asyncio.Event()).set)
    silent = ScriptedProvider(headed, HEAD, asyncio.Event(), name="far")
    with pytest.raises(ProviderTimeout, match="20 s"):
        await play(registry(silent, policy=POLICY).chat("far/m"), writer)
    assert now() == pytest.approx(20, abs=0.01)
    assert writer.statuses == []


@pytest.mark.parametrize("sign", [HEAD, [], Answered("m")])
async def test_the_first_sign_of_an_answer_says_that_it_has_begun(writer: RecordingWriter, sign: Any) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()
    provider = ScriptedProvider(began, sign, goes_on, *answer("hi"), name="far")
    playing = asyncio.create_task(play(registry(provider, policy=POLICY).chat("far/m"), writer))
    await asyncio.sleep(1)
    assert not writer.answers
    began.set()
    await asyncio.sleep(1)
    assert writer.answers
    goes_on.set()
    await playing
    assert writer.said == "hi"


async def test_an_answer_that_breaks_off_before_it_says_anything_has_not_begun(writer: RecordingWriter) -> None:
    broken = ScriptedProvider(HEAD, [], name="broken")
    with pytest.raises(ProviderUnavailable):
        await play(registry(broken, policy=POLICY).chat("broken/m"), writer)
    assert not writer.answers


async def test_a_cancellation_at_the_deadline_is_not_mistaken_for_it(writer: RecordingWriter) -> None:
    task = asyncio.create_task(
        play(registry(ScriptedProvider(asyncio.Event()), policy=POLICY).chat("scripted/m"), writer)
    )
    asyncio.get_running_loop().call_later(20, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_deadline_leaves_the_task_uncancelled(writer: RecordingWriter) -> None:
    with pytest.raises(ProviderTimeout):
        await play(registry(ScriptedProvider(asyncio.Event()), policy=POLICY).chat("scripted/m"), writer)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


class Deaf(ScriptedProvider):
    """Answers a cancellation with its next piece."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        for text in "ab":
            yield TextDelta(text)
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        yield Finish("stop")


async def test_an_answer_in_the_moment_of_the_deadline_is_taken(writer: RecordingWriter) -> None:
    await play(registry(Deaf(), policy=POLICY).chat("scripted/m"), writer)
    task = asyncio.current_task()
    assert task is not None
    assert (writer.said, task.cancelling()) == ("ab", 0)
    assert now() == pytest.approx(40, abs=0.01)
