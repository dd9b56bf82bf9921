"""A voice that reads a turn's answer aloud while the model still writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.api import EngineError, InvalidRequest, Providers, SpeechRequest, Writer
from plugins.chat.bodies import SpeakInput
from plugins.vendors.speaking import Speech, TextFeed, cleaned

LONGEST = 100_000
"""Characters of one answer that are read aloud."""

AHEAD = 10.0

FAILED = "speech_failed"
"""The stage of the `status` event that tells that nobody reads any further."""


class TurnVoice:
    """Reads one answer. What goes wrong with it is told, and never fails the text.

    Raises what refuses the voice, before anything is asked: no voice is on, or there is no such one.
    """

    def __init__(self, providers: Providers, asked: SpeakInput) -> None:
        model = providers.speech(asked.model)
        request = SpeechRequest(
            model=model.target.model,
            voice=None if asked.voice in (None, "default") else asked.voice,
            speed=asked.speed,
            instructions=asked.instructions,
        )
        model.check(request)
        self._feed = TextFeed(LONGEST)
        texts = cleaned(aiter(self._feed))
        self._speech = Speech(model, request, texts, format=asked.format, rate=asked.rate, ahead=AHEAD, beside=True)

    def say(self, text: str) -> None:
        """Read this, too."""
        try:
            self._feed.add(text)
        except InvalidRequest:
            self._feed.finish()  # past the longest answer that is read

    def pause(self) -> None:
        """What comes is another paragraph: what was said so far can be read."""
        self.say("\n\n")

    async def around(self, stream: Writer, answer: Callable[[Writer], Awaitable[None]]) -> None:
        """Have the answer written, and read to its end."""
        speaking = asyncio.create_task(self._speak(stream), name=f"reading {stream.id} aloud")
        try:
            await answer(stream)
            self._feed.finish()
            await speaking
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _speak(self, stream: Writer) -> None:
        try:
            await self._speech.serve(stream)
        except EngineError as error:
            self._feed.finish()
            stream.status(FAILED, error.message)
