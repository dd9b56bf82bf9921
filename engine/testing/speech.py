"""What every speech provider must do, as tests to inherit.

    class TestAcme(SpeechProviderContract):
        model = "acme-voice-1"

        @pytest.fixture
        def provider(self) -> SpeechProvider:
            return AcmeVoices(...)

The provider is asked for real: give it an emulator of its vendor, or a voice of this machine.
"""

import asyncio
from contextlib import aclosing
from typing import ClassVar

import pytest

from engine.api.errors import EngineError
from engine.api.providers import SpeechProvider
from engine.api.speech import Sound, SpeechRequest
from engine.testing.conformance import Pulse, told_by


class SpeechProviderContract:
    """Inherit, and give the fixture `provider`; `refused_provider` and `secrets` are worth giving too."""

    model: ClassVar[str] = "default"
    text: ClassVar[str] = "Hello there. This is a sentence that takes a moment."
    secrets: ClassVar[tuple[str, ...]] = ()
    """Credentials that the provider was built with: none may stand in an error or in its `repr`."""

    spoken_within: ClassVar[float] = 60.0
    close_within: ClassVar[float] = 5.0
    longest_block: ClassVar[float] = 0.25
    """Seconds for which the provider may hold the event loop at a time."""

    @pytest.fixture
    def provider(self) -> SpeechProvider:
        """A provider that can serve."""
        pytest.fail("give the fixture `provider`")

    @pytest.fixture
    def refused_provider(self) -> SpeechProvider | None:
        """A provider whose vendor refuses the credential, or None where there is no such thing."""
        return None

    @pytest.fixture
    def request_for(self) -> SpeechRequest:
        """How it is to speak."""
        return SpeechRequest(model=self.model)

    async def test_is_a_speech_provider_with_a_name_and_can_serve(self, provider: SpeechProvider) -> None:
        assert provider.role == "speech"
        assert provider.name and "/" not in provider.name, "the name is what stands before the slash in vendor/model"
        assert provider.unavailable is None, provider.unavailable

    async def test_lists_its_voices(self, provider: SpeechProvider) -> None:
        voices = await provider.voices()
        assert voices, "there is no voice"
        assert len({voice.id for voice in voices}) == len(voices), "two voices have one id"

    async def test_speaks_in_whole_samples_of_one_rate(
        self, provider: SpeechProvider, request_for: SpeechRequest
    ) -> None:
        sounds = await self._spoken(provider, request_for)
        assert sum(sound.seconds for sound in sounds) > 0.2, "hardly anything is heard"
        assert {sound.rate for sound in sounds} == {sounds[0].rate}, "the rate changes in mid-speech"
        assert 8_000 <= sounds[0].rate <= 48_000
        assert all(len(sound.pcm) % 2 == 0 for sound in sounds), "a piece ends in the middle of a sample"

    async def test_a_longer_text_takes_longer(self, provider: SpeechProvider, request_for: SpeechRequest) -> None:
        once = sum(sound.seconds for sound in await self._spoken(provider, request_for))
        thrice = sum(sound.seconds for sound in await self._spoken(provider, request_for, f"{self.text} " * 3))
        assert thrice > 1.5 * once

    async def test_speaks_several_texts_at_once(self, provider: SpeechProvider, request_for: SpeechRequest) -> None:
        assert all(await asyncio.gather(*(self._spoken(provider, request_for) for _ in range(3))))

    async def test_closing_in_the_middle_ends_soon_and_leaves_nothing_behind(
        self, provider: SpeechProvider, request_for: SpeechRequest
    ) -> None:
        await self._spoken(provider, request_for)
        before = asyncio.all_tasks()
        async with asyncio.timeout(self.spoken_within), aclosing(provider.speak(request_for, self.text)) as sounds:  # type: ignore[type-var]
            await anext(sounds)
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun <= self.close_within
        left = asyncio.all_tasks() - before
        if left:
            _, left = await asyncio.wait(left, timeout=self.close_within)
        assert not left, f"tasks are left behind: {left}"
        assert await self._spoken(provider, request_for)

    async def test_never_blocks_the_event_loop(self, provider: SpeechProvider, request_for: SpeechRequest) -> None:
        await self._spoken(provider, request_for)  # what is loaded once on first use is not counted
        pulse = Pulse()
        await self._spoken(provider, request_for)
        longest = pulse.stop()
        assert longest <= self.longest_block, f"the event loop stood still for {longest:.2f} s"

    async def test_no_error_or_repr_tells_a_secret(
        self, provider: SpeechProvider, refused_provider: SpeechProvider | None, request_for: SpeechRequest
    ) -> None:
        if not self.secrets:
            pytest.skip("this provider has no secrets, or gives none in `secrets`")
        told = [repr(provider)]
        if refused_provider is not None:
            with pytest.raises(EngineError) as refusal:
                await self._spoken(refused_provider, request_for)
            told += [repr(refused_provider), *told_by(refusal.value)]
        for secret in self.secrets:
            assert not any(secret in text for text in told), "a credential stands in an error or in a repr"

    async def _spoken(self, provider: SpeechProvider, request: SpeechRequest, text: str | None = None) -> list[Sound]:
        async with asyncio.timeout(self.spoken_within):
            return [sound async for sound in provider.speak(request, text or self.text)]
