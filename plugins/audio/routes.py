"""`/api/v1/audio`: a recording as text."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.api import (
    Answer,
    EventStream,
    HttpRequest,
    PluginContext,
    Result,
    Route,
    Said,
    StreamEnded,
    StreamReader,
    TranscriptFinal,
    Usage,
    WholeAnswer,
)
from engine.api import Cost as Money
from plugins.audio.bodies import FileOptions, Transcribe


class Transcript(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was heard: as a whole, and stretch by stretch."""

    stream: str
    status: str
    text: str
    segments: list[TranscriptFinal]
    model: str | None = None
    usage: Usage | None = None
    cost: Money | None = None
    recording_id: str | None = None


class AudioRoutes:
    """Starts `audio.transcribe`."""

    def __init__(self, context: PluginContext) -> None:
        self._commands = context.commands

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="POST",
                path=path,
                handler=handler,
                body=FileOptions,
                upload="file",
                returns=Transcript,
                events=True,
                summary=summary,
                tag="audio",
                statuses={502: "provider_error and its kin", 504: "provider_timeout"},
            )
            for path, handler, summary in (
                ("/api/v1/audio/transcriptions", self.transcribe, "Write what is said in a recording."),
                ("/api/v1/audio/translations", self.translate, "Write in English what is said in a recording."),
            )
        ]

    async def transcribe(self, request: HttpRequest[FileOptions, Any]) -> Result:
        return await self._listen(request, request.body)

    async def translate(self, request: HttpRequest[FileOptions, Any]) -> Result:
        return await self._listen(request, request.body.model_copy(update={"translate": True}))

    async def _listen(self, request: HttpRequest[FileOptions, Any], options: FileOptions) -> Result:
        fields = options.model_dump(exclude_none=True)
        assert request.upload is not None
        body = Transcribe(**fields, file=request.upload)
        reader = await self._commands.start(
            request.principal,
            "audio.transcribe",
            body,
            key=request.headers.get("idempotency-key"),
            on_disconnect="cancel",
        )
        if request.wants_events:
            return EventStream(reader)
        return await whole(reader)


async def whole(reader: StreamReader) -> WholeAnswer:
    """The transcript, once all of it was heard."""
    finals = [event async for _, event in reader if isinstance(event, TranscriptFinal)]

    def build(said: Said, ended: StreamEnded) -> Answer:
        return Answer(
            Transcript(
                stream=reader.stream,
                status=ended.status,
                text=said.text,
                segments=finals,
                model=ended.model,
                usage=ended.usage,
                cost=ended.cost,
                recording_id=(ended.extra or {}).get("recording_id"),
            )
        )

    return WholeAnswer(reader, build)
