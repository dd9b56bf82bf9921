"""`audio.start`, `audio.finish`, `audio.transcribe`: listening over the socket, and in process for the other doors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from engine.api import (
    Call,
    Command,
    PluginContext,
    Request,
    Serve,
    StreamNotFound,
    TranscriptionModel,
    TranscriptionRequest,
)
from engine.wire.g711 import LAWS
from plugins.audio.bodies import AudioFinish, AudioStart, ListeningOptions, Transcribe
from plugins.audio.listening import RATE, Ears, Listening
from plugins.audio.settings import AudioSettings
from plugins.vendors.codecs import load_resampling


class Handlers:
    """The commands, and the live audio that still comes."""

    def __init__(self, context: PluginContext) -> None:
        self._providers = context.providers
        self._settings = context.settings(AudioSettings)
        self._open: dict[tuple[str, str], Ears] = {}

    def commands(self) -> Iterable[Command[Any] | Call[Any]]:
        """The commands of this file."""
        return [
            Command(
                name="audio.start",
                body=AudioStart,
                prepare=self.start,
                summary="Listen to the binary frames that follow, and write what is said.",
                example={"type": "audio.start", "id": "a1", "model": "local", "sample_rate": 16000},
            ),
            Call(
                name="audio.finish",
                body=AudioFinish,
                handle=self.finish,
                summary="Say that no more audio comes.",
                example={"type": "audio.finish", "id": "a2", "stream": "s_…"},
            ),
            Command(
                name="audio.transcribe",
                body=Transcribe,
                prepare=self.transcribe,
                summary="Write what is said in a recording that came with a form.",
                inner=True,
            ),
        ]

    async def start(self, request: Request[AudioStart]) -> Serve:
        body = request.body
        model = self._providers.transcription(body.model)
        if body.sample_rate != RATE:
            await load_resampling()
        ears = Ears(
            body.sample_rate,
            self._settings.backlog,
            self._settings.idle,
            law=None if body.encoding == "pcm_s16le" else LAWS[body.encoding],
        )
        listening = self._listening(model, body, body.provider_options)
        slot = request.principal.id, request.stream
        self._open[slot] = ears
        return Serve(
            serve=partial(listening.live, ears),
            take=ears.take,
            model=body.model or model.target.name,
            released=partial(self._close, slot),
        )

    async def transcribe(self, request: Request[Transcribe]) -> Serve:
        body = request.body
        model = self._providers.transcription(body.model)
        listening = self._listening(model, body, {})
        return Serve(
            serve=partial(listening.file, body.file.file),
            model=body.model or model.target.name,
            released=body.file.close,
        )

    async def finish(self, request: Request[AudioFinish]) -> Mapping[str, Any]:
        ears = self._open.get((request.principal.id, request.body.stream))
        if ears is None:
            raise StreamNotFound(f"there is no stream {request.body.stream!r} that takes audio", field="stream")
        return {"n": ears.finish()}

    def _listening(self, model: TranscriptionModel, body: ListeningOptions, options: Mapping[str, Any]) -> Listening:
        asked = TranscriptionRequest(
            model=model.target.model,
            rate=RATE,
            language=body.language,
            prompt=body.prompt,
            translate=body.translate,
            diarize=body.diarize,
            words=body.words,
            provider_options=options,
        )
        model.check(asked)
        settings = self._settings
        return Listening(
            model, asked, rewrites=settings.rewrites, recording=body.recording_id, longest=settings.longest
        )

    def _close(self, slot: tuple[str, str]) -> None:
        self._open.pop(slot, None)
