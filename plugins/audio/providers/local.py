"""The transcriber of this machine: the best recogniser that is installed, in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from importlib.util import find_spec
from typing import ClassVar

import structlog

from engine.api import (
    Health,
    InvalidRequest,
    ModelUnavailable,
    PluginContext,
    ProviderRole,
    Segment,
    TranscriptionRequest,
    UnsupportedParameter,
)
from plugins.audio.pocketsphinx_listener import Pocketsphinx
from plugins.audio.recognising import check_language, heard_by
from plugins.audio.settings import AudioSettings
from plugins.audio.weights import POCKETSPHINX, find_ears
from plugins.vendors.model_process import ModelProcess

NAME = "local"
PROGRAM = "plugins.audio.recognising_child"

log = structlog.get_logger(__name__)


class LocalTranscriber:
    """Listens without a key and without a network."""

    role: ClassVar[ProviderRole] = "transcription"
    name = NAME

    def __init__(self, context: PluginContext) -> None:
        settings = context.settings(AudioSettings)
        found = find_ears(settings)
        self._reasons = list(found.reasons)
        self._processes = {
            ears.name: ModelProcess(
                PROGRAM,
                ears.name,
                {
                    "name": ears.name,
                    "kind": ears.kind,
                    "path": str(ears.path),
                    "sha256": ears.sha256,
                    "threads": settings.local_threads,
                    "parallel": settings.local_parallel,
                },
            )
            for ears in found.ears
        }
        self._languages = {ears.name: ears.languages for ears in found.ears} | {POCKETSPHINX: ("en",)}
        self._loaded = context.shared(self._processes_of_an_engine)
        self._fallback = Pocketsphinx(settings.local_parallel)
        self._has_fallback = find_spec(POCKETSPHINX) is not None

    @property
    def default_model(self) -> str:
        """The best recogniser that has not refused to load."""
        return next((name for name, process in self._processes.items() if process.refusal is None), POCKETSPHINX)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if self._has_fallback or self.default_model != POCKETSPHINX:
            return None
        return self._why_no_better() or "no recogniser is installed: pip install 'betterai-engine[local-voice]'"

    def health(self) -> Health:
        """The line in `/health/ready`: who hears, and why it is nobody better."""
        model = self.default_model
        why = self._why_no_better()
        if model in self._processes:
            told = self._processes[model].health()
            return Health("degraded", f"{told.detail}; {why}") if why else told
        if not self._has_fallback:
            return Health("degraded", self.unavailable or "")
        return Health("degraded", f"pocketsphinx, the last resort: {why or 'no better recogniser is installed'}")

    def _why_no_better(self) -> str:
        refusals = (process.refusal for process in self._processes.values())
        return "; ".join([*self._reasons, *filter(None, refusals)])

    def check(self, request: TranscriptionRequest) -> None:
        """Raise `UnsupportedParameter` for what it has not learnt, `InvalidRequest` for a model that is not here."""
        if request.model not in self._processes and not (request.model == POCKETSPHINX and self._has_fallback):
            here = ", ".join(f"local/{name}" for name in self._names)
            raise InvalidRequest(
                f"this machine has no recogniser {request.model[:60]!r}; here are: {here}", field="model"
            )
        if request.translate:
            raise UnsupportedParameter(
                "the local transcriber does not translate; name another model", field="translate"
            )
        if request.diarize:
            raise UnsupportedParameter("the local transcriber does not tell who speaks; leave it out", field="diarize")
        check_language(request, self._languages.get(request.model, ()))

    def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken."""
        return self._listen(request, audio, live=True)

    def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording."""
        return self._listen(request, audio, live=False)

    @property
    def _names(self) -> list[str]:
        return [*self._processes, *([POCKETSPHINX] if self._has_fallback else [])]

    async def _listen(
        self, request: TranscriptionRequest, audio: AsyncIterator[bytes], *, live: bool
    ) -> AsyncIterator[Segment]:
        """By the recogniser that is asked for; where it cannot be loaded, by the next one."""
        processes = await self._loaded.get()
        names = list(processes)
        for name in names[names.index(request.model) :] if request.model in names else ():
            try:
                async with aclosing(heard_by(processes[name], request, audio, live=live)) as segments:  # type: ignore[type-var]
                    async for segment in segments:
                        yield segment
                return
            except ModelUnavailable as error:
                if name == names[-1] and not self._has_fallback:
                    raise
                log.warning("recogniser_not_loaded", model=name, reason=error.message)
        async with aclosing(self._fallback.listen(audio, partial=live)) as segments:  # type: ignore[type-var]
            async for segment in segments:
                yield segment

    @asynccontextmanager
    async def _processes_of_an_engine(self) -> AsyncIterator[Mapping[str, ModelProcess]]:
        """They start at their first use, and end with the plugin or when a reload has made others."""
        try:
            yield self._processes
        finally:
            for process in self._processes.values():
                await process.aclose()
