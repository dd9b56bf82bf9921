"""`tts.start`, `tts.text`, `tts.finish`: a speech over the socket, and in process for the other doors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from engine.api import (
    Call,
    Command,
    InvalidRequest,
    PluginContext,
    Request,
    Serve,
    SpeechRequest,
    StreamNotFound,
)
from engine.wire.apart import LONG, apart_if
from engine.wire.spoken import Spoken
from plugins.tts.bodies import SpeakFinish, SpeakStart, SpeakText
from plugins.tts.settings import TtsSettings
from plugins.vendors.speaking import Speech, TextFeed, check_text, cleaned

DEFAULT_VOICE = "default"


class Handlers:
    """The commands, and the speeches that still take text."""

    def __init__(self, context: PluginContext) -> None:
        self._providers = context.providers
        self._settings = context.settings(TtsSettings)
        self._open: dict[tuple[str, str], TextFeed] = {}

    def commands(self) -> Iterable[Command[Any] | Call[Any]]:
        """The commands of this file."""
        return [
            Command(
                name="tts.start",
                body=SpeakStart,
                prepare=self.start,
                summary="Speak a text that is given now, or comes by tts.text.",
                example={"type": "tts.start", "id": "t1", "model": "local", "voice": "default", "text": "Hello you."},
            ),
            Call(
                name="tts.text",
                body=SpeakText,
                handle=self.text,
                summary="Give a speech more text.",
                example={"type": "tts.text", "id": "t2", "stream": "s_…", "text": "And one thing more."},
            ),
            Call(
                name="tts.finish",
                body=SpeakFinish,
                handle=self.finish,
                summary="Say that a speech has all its text.",
                example={"type": "tts.finish", "id": "t3", "stream": "s_…"},
            ),
        ]

    async def start(self, request: Request[SpeakStart]) -> Serve:
        body = request.body
        model = self._providers.speech(body.model)
        asked = SpeechRequest(
            model=model.target.model,
            voice=None if body.voice in (None, DEFAULT_VOICE) else body.voice,
            language=body.language,
            speed=body.speed,
            instructions=body.instructions,
            provider_options=body.provider_options,
        )
        model.check(asked)
        feed = TextFeed(self._settings.longest_text)
        if body.text is not None:
            feed.add(body.text)
            speaks = partial(Spoken().speaks if body.clean else str.strip, body.text)
            if not await apart_if(len(body.text) > LONG, speaks):
                raise InvalidRequest("the text has nothing that can be spoken", field="text")
            read = partial(check_text, model, asked, body.text, clean=body.clean)
            # It takes four times as long as cutting does.
            await apart_if(len(body.text) > LONG // 4, read)
            feed.finish()
        slot = request.principal.id, request.stream
        self._open[slot] = feed
        texts: AsyncIterator[str] = aiter(feed)
        speech = Speech(
            model,
            asked,
            cleaned(texts) if body.clean else texts,
            format=body.format,
            rate=body.rate,
            ahead=self._settings.ahead,
            instead_of=body.voice_instead_of,
        )
        return Serve(
            serve=speech.serve,
            model=body.model or model.target.name,
            keep=False,
            released=partial(self._close, slot),
        )

    def _close(self, slot: tuple[str, str]) -> None:
        self._open.pop(slot, None)

    async def text(self, request: Request[SpeakText]) -> None:
        self._feed(request.principal.id, request.body.stream).add(request.body.text)

    async def finish(self, request: Request[SpeakFinish]) -> None:
        self._feed(request.principal.id, request.body.stream).finish()

    def _feed(self, principal: str, stream: str) -> TextFeed:
        feed = self._open.get((principal, stream))
        if feed is None:
            raise StreamNotFound(f"there is no speech {stream!r} that takes text", field="stream")
        return feed
