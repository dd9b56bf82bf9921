"""What tests of this machine's voices share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from engine.api import Shared, Sound, SpeechRequest
from plugins.tts.providers.local import LocalVoices, Processes
from plugins.tts.settings import TtsSettings

Factory = Callable[[], AbstractAsyncContextManager[Processes]]


@asynccontextmanager
async def local_voices(settings: TtsSettings | None = None) -> AsyncIterator[LocalVoices]:
    """The provider as an engine has it: what it opens is closed at the end."""
    async with AsyncExitStack() as stack:

        class Opened:
            def __init__(self, factory: Factory) -> None:
                self._factory = factory
                self._opened: Processes | None = None

            async def get(self) -> Processes:
                if self._opened is None:
                    self._opened = await stack.enter_async_context(self._factory())
                return self._opened

        def share(factory: Factory) -> Shared[Processes]:
            return Opened(factory)

        yield LocalVoices(settings or TtsSettings(), share)


async def spoken(
    provider: LocalVoices, text: str, voice: str | None = None, language: str | None = None, speed: float = 1.0
) -> list[Sound]:
    request = SpeechRequest(model="voice", voice=voice, language=language, speed=speed)
    return [sound async for sound in provider.speak(request, text)]


def pcm_of(sounds: list[Sound]) -> bytes:
    return b"".join(sound.pcm for sound in sounds)


def packaged() -> Path:
    """The model of the voice heart."""
    spec = find_spec("hibari")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "assets", "hibari.onnx")
