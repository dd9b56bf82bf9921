"""A voice that becomes another one in mid-speech ends the speech: its samples are of another rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from engine.api import Plugin, PluginContext, Provider, ProviderRole, Sound, SpeechRequest, Voice, hookimpl
from engine.loader.find import given_plugins, installed_plugins
from tests.journeys.client import connected
from tests.server import engine_inside


class Turncoat:
    """Speaks its second text at another rate."""

    role: ClassVar[ProviderRole] = "speech"
    name = "turncoat"
    default_model = "m1"
    unavailable: str | None = None

    def __init__(self) -> None:
        self._rates = iter((24_000, 16_000))

    async def voices(self) -> Sequence[Voice]:
        return [Voice(id="v1", name="One")]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        yield Sound(bytes(9_600), next(self._rates))


class Turncoats(Plugin):
    """Brings the voice."""

    name = "turncoats"

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [Turncoat()]


async def test_a_voice_that_changes_in_mid_speech_ends_it_with_an_error_that_passes(tmp_path: Path) -> None:
    installed = {**installed_plugins(), **given_plugins(Turncoats)}
    async with (
        engine_inside(tmp_path, {"plugins.enabled": ["tts", "turncoats"]}, installed=installed) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        text = "This is the first sentence. This is the second sentence."
        stream = (await socket.ask("tts.start", model="turncoat", text=text))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"], end["error"]["retryable"]) == ("failed", "provider_unavailable", True)
    assert "changed its voice" in end["error"]["message"]
    assert len(socket.of(stream).sound) == 9_600
