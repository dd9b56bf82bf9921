"""What every chat provider must do, as tests to inherit.

    class TestAcme(ChatProviderContract):
        model = "acme-1"

        @pytest.fixture
        def provider(self) -> ChatProvider:
            return AcmeProvider(...)

The provider is asked for real: give it an emulator of its vendor, or a model on this machine.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import ClassVar

import pytest

from engine.api.chat import ChatDelta, ChatRequest, Finish, Message, TextPart
from engine.api.errors import EngineError
from engine.api.events import TextDelta, Usage
from engine.api.providers import ChatProvider
from engine.testing.answers import batches_of, deltas_of


class ChatProviderContract:
    """Inherit, and give the fixture `provider`; `refused_provider` and `secrets` are worth giving too."""

    model: ClassVar[str] = "default"
    prompt: ClassVar[str] = "Say hello and tell me your name."
    secrets: ClassVar[tuple[str, ...]] = ()
    """Credentials that the provider was built with: none may stand in an error or in its `repr`."""

    answer_within: ClassVar[float] = 60.0
    close_within: ClassVar[float] = 5.0
    longest_block: ClassVar[float] = 0.25
    """Seconds for which the provider may hold the event loop at a time."""

    @pytest.fixture
    def provider(self) -> ChatProvider:
        """A provider that can serve."""
        pytest.fail("give the fixture `provider`")

    @pytest.fixture
    def refused_provider(self) -> ChatProvider | None:
        """A provider whose vendor refuses the credential, or None where there is no such thing."""
        return None

    @pytest.fixture
    def unavailable_provider(self) -> ChatProvider | None:
        """A provider that lacks what it needs (a key, a file), or None where it needs nothing."""
        return None

    @pytest.fixture
    def question(self) -> ChatRequest:
        """What is asked; the answer should take more than one delta."""
        message = Message(role="user", parts=(TextPart(self.prompt),))
        return ChatRequest(model=self.model, messages=(message,), max_output_tokens=64)

    async def test_is_a_chat_provider_with_a_name_and_can_serve(self, provider: ChatProvider) -> None:
        assert provider.role == "chat"
        assert provider.name, "a provider has a name: the prefix in vendor/model"
        assert "/" not in provider.name, "the name is what stands before the slash in vendor/model"
        assert provider.unavailable is None, provider.unavailable

    async def test_streams_text_and_ends_with_a_finish(self, provider: ChatProvider, question: ChatRequest) -> None:
        deltas = await self._answer(provider, question)
        text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert text.strip(), "the answer has no text"
        ends = [n for n, delta in enumerate(deltas) if isinstance(delta, Finish)]
        assert len(ends) == 1, f"one choice ends with one Finish, here are {len(ends)}"
        assert not any(isinstance(delta, TextDelta) for delta in deltas[ends[0] :]), "there is text after the Finish"

    async def test_tells_its_usage_once(self, provider: ChatProvider, question: ChatRequest) -> None:
        usages = [delta for delta in await self._answer(provider, question) if isinstance(delta, Usage)]
        assert len(usages) == 1, f"Usage comes once, here it came {len(usages)} times"
        assert usages[0].input_tokens > 0
        assert usages[0].output_tokens > 0
        assert usages[0].cached_tokens <= usages[0].input_tokens
        assert usages[0].reasoning_tokens <= usages[0].output_tokens

    async def test_answers_several_requests_at_once(self, provider: ChatProvider, question: ChatRequest) -> None:
        answers = await asyncio.gather(*(self._answer(provider, question) for _ in range(3)))
        assert all(any(isinstance(delta, TextDelta) for delta in deltas) for deltas in answers)

    async def test_closing_in_the_middle_ends_soon_and_leaves_it_usable(
        self, provider: ChatProvider, question: ChatRequest
    ) -> None:
        answer = batches_of(provider, question)
        await asyncio.wait_for(_until_text(answer), self.answer_within)
        await asyncio.wait_for(answer.aclose(), self.close_within)
        assert await self._answer(provider, question)

    async def test_cancelling_in_the_middle_ends_soon_and_leaves_it_usable(
        self, provider: ChatProvider, question: ChatRequest
    ) -> None:
        speaking = asyncio.Event()
        task = asyncio.create_task(_read(provider, question, speaking))
        await asyncio.wait_for(speaking.wait(), self.answer_within)
        task.cancel()
        _, pending = await asyncio.wait({task}, timeout=self.close_within)
        assert not pending, "the provider swallowed the cancellation"
        assert task.cancelled() or task.exception() is None, f"the cancellation became {task.exception()!r}"
        assert await self._answer(provider, question)

    async def test_leaves_no_task_behind(self, provider: ChatProvider, question: ChatRequest) -> None:
        await self._answer(provider, question)
        before = asyncio.all_tasks()
        await self._answer(provider, question)
        answer = batches_of(provider, question)
        await asyncio.wait_for(_until_text(answer), self.answer_within)
        await answer.aclose()
        left = asyncio.all_tasks() - before
        if left:
            _, left = await asyncio.wait(left, timeout=self.close_within)
        assert not left, f"tasks are left behind: {left}"

    async def test_never_blocks_the_event_loop(self, provider: ChatProvider, question: ChatRequest) -> None:
        await self._answer(provider, question)  # what is loaded once on first use is not counted
        pulse = Pulse()
        await self._answer(provider, question)
        longest = pulse.stop()
        assert longest <= self.longest_block, f"the event loop stood still for {longest:.2f} s"

    async def test_says_in_a_sentence_why_it_cannot_serve(self, unavailable_provider: ChatProvider | None) -> None:
        if unavailable_provider is None:
            pytest.skip("this provider can always serve, or gives no fixture `unavailable_provider`")
        reason = unavailable_provider.unavailable
        assert reason, "`unavailable` is None"
        assert " " in reason.strip(), f"{reason!r} is no sentence"
        assert len(reason) > 10, f"{reason!r} does not say what is missing"

    async def test_no_error_or_repr_tells_a_secret(
        self, provider: ChatProvider, refused_provider: ChatProvider | None, question: ChatRequest
    ) -> None:
        if not self.secrets:
            pytest.skip("this provider has no secrets, or gives none in `secrets`")
        told = [repr(provider)]
        if refused_provider is not None:
            with pytest.raises(EngineError) as refusal:
                await self._answer(refused_provider, question)
            told += [repr(refused_provider), *told_by(refusal.value)]
        for secret in self.secrets:
            assert not any(secret in text for text in told), "a credential stands in an error or in a repr"

    async def _answer(self, provider: ChatProvider, question: ChatRequest) -> list[ChatDelta]:
        async with asyncio.timeout(self.answer_within):
            return await deltas_of(provider, question)


class Pulse:
    """Beats every few milliseconds and remembers the longest pause between two beats."""

    _EVERY = 0.005

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._longest = 0.0
        self._handle = self._loop.call_later(self._EVERY, self._beat)

    def stop(self) -> float:
        """The longest pause, in seconds, beyond the time between two beats."""
        self._handle.cancel()
        self._note()
        return self._longest

    def _beat(self) -> None:
        self._note()
        self._handle = self._loop.call_later(self._EVERY, self._beat)

    def _note(self) -> None:
        now = self._loop.time()
        self._longest = max(self._longest, now - self._last - self._EVERY)
        self._last = now


async def _until_text(answer: AsyncIterator[Sequence[ChatDelta]]) -> None:
    async for batch in answer:
        if any(isinstance(delta, TextDelta) for delta in batch):
            return


async def _read(provider: ChatProvider, question: ChatRequest, speaking: asyncio.Event) -> None:
    async with aclosing(batches_of(provider, question)) as answer:
        async for batch in answer:
            if any(isinstance(delta, TextDelta) for delta in batch):
                speaking.set()


def told_by(error: BaseException) -> list[str]:
    """Everything that the error and what led to it say."""
    texts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen)]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return texts
