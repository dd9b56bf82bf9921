"""Conversations with this server's own pipeline: speech is found and written, a chat model answers, a voice speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from engine.api import (
    PluginContext,
    ProviderRole,
    RealtimeAnswer,
    RealtimeAudio,
    RealtimeClear,
    RealtimeCommit,
    RealtimeForget,
    RealtimeInput,
    RealtimeInterrupt,
    RealtimeRequest,
    RealtimeStage,
    RealtimeText,
    RealtimeToolResult,
    RealtimeUpdate,
    Shared,
    SpeechModel,
    SpeechRequest,
    TranscriptionModel,
)
from plugins.realtime.detecting import SpeechFinder, missing
from plugins.realtime.providers.answering import Answering
from plugins.realtime.providers.hearing import RATE, Hearing, listening
from plugins.realtime.settings import RealtimeSettings

ANY = "default"
"""The model of a cascade whose chat model is the operator's choice; any other name is the chat model's."""

LOCAL = "local"

_INTERPRETER = (
    "You are an interpreter. Say what the user says in {language}, and nothing else: answer nothing, explain nothing."
)


class Cascade:
    """A realtime provider made of the other roles. The call decides when it answers and when it stops."""

    role: ClassVar[ProviderRole] = "realtime"
    answers_by_itself = False
    forgets = True
    bounds_answers = True
    default_model = ANY
    rate = RATE

    def __init__(self, name: str, context: PluginContext, finder: Shared[SpeechFinder], *, local: bool = False) -> None:
        self.name = name
        self._providers = context.providers
        self._commands = context.commands
        self._settings = context.settings(RealtimeSettings)
        self._finder = finder
        self._local = local

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return missing()

    def check(self, request: RealtimeRequest) -> None:
        """Raise what any of its models has against a request."""
        if not _listens_only(request):
            self._providers.chat(self._model(request, "chat"))
        ears = self._ears(request)
        ears.check(listening(ears, request))
        if (voice := self._voice(request)) is not None:
            language = request.translate_to or request.language
            voice.check(SpeechRequest(model=voice.target.model, voice=request.voice, language=language))

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """Hold one conversation."""
        answering = Answering(self._commands, request, stage, self._voice(request), self._body(request))
        said = _unanswered if _listens_only(request) else answering.hear
        hearing = Hearing(self._ears(request), request, stage, said)
        await hearing.open(await self._finder.get())
        reading = asyncio.create_task(_read(intake, hearing, answering), name=f"intake of {stage.stream.id}")
        halves = [
            asyncio.create_task(hearing.run(), name=f"hearing in {stage.stream.id}"),
            asyncio.create_task(answering.run(), name=f"answering in {stage.stream.id}"),
        ]
        try:
            done, _ = await asyncio.wait({reading, *halves}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            hearing.close()
            for task in (reading, *halves):
                task.cancel()
            await asyncio.gather(reading, *halves, return_exceptions=True)

    def _ears(self, request: RealtimeRequest) -> TranscriptionModel:
        return self._providers.transcription(self._model(request, "transcription"))

    def _voice(self, request: RealtimeRequest) -> SpeechModel | None:
        if "audio" not in request.modalities:
            return None
        return self._providers.speech(self._model(request, "speech"))

    def _model(self, request: RealtimeRequest, role: str) -> str | None:
        """The model of one role: the client's choice, else the operator's."""
        asked: str | None = request.options.get(f"{role}_model")
        if asked is None and role == "chat" and request.model != ANY:
            asked = request.model
        if asked is None:
            chosen: dict[str, str | None] = {
                "chat": self._settings.chat,
                "transcription": self._settings.transcription,
                "speech": self._settings.speech,
            }
            asked = LOCAL if self._local else chosen[role]
        return asked

    def _body(self, request: RealtimeRequest) -> dict[str, Any]:
        """What every turn's `chat.send` says."""
        body: dict[str, Any] = {"instructions": self._settings.instructions}
        if request.translate_to is not None:
            body = {"instructions": _INTERPRETER.format(language=request.translate_to), "server_tools": []}
        if (model := self._model(request, "chat")) is not None:
            body["model"] = model
            if model == LOCAL:
                body["max_output_tokens"] = self._settings.local_tokens
        if request.provider_options:
            body["provider_options"] = dict(request.provider_options)
        return body


def _listens_only(request: RealtimeRequest) -> bool:
    return bool(request.options.get("listen_only"))


def _unanswered(text: str, turn: int) -> None:
    """What nobody answers is not kept for an answer."""


async def _read(intake: AsyncIterator[RealtimeInput], hearing: Hearing, answering: Answering) -> None:
    async for item in intake:
        match item:
            case RealtimeAudio():
                hearing.feed(item.pcm)
            case RealtimeCommit():
                hearing.commit()
            case RealtimeClear():
                hearing.clear()
            case RealtimeText():
                answering.say(item.role, item.text, RealtimeForget(item=item.item))
            case RealtimeForget():
                answering.forget(item)
            case RealtimeAnswer():
                answering.ask(item.instructions)
            case RealtimeInterrupt():
                answering.stop(item.text)
            case RealtimeToolResult():
                await answering.tool_result(item)
            case RealtimeUpdate():
                hearing.update(item.request)
                answering.request = item.request
