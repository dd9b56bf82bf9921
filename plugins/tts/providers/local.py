"""The voices of this machine: models in a process of their own, and programs; the best that is there speaks by default."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import ClassVar, Protocol, TypeAlias

import structlog

from engine.api import (
    Health,
    InvalidRequest,
    ModelUnavailable,
    ProviderRole,
    Shared,
    Sound,
    SpeechRequest,
    Voice,
)
from plugins.tts.programs import piper, programs
from plugins.tts.scripts import by_size, reads, speaks, title_of, writing_of
from plugins.tts.settings import BEST, TtsSettings
from plugins.tts.speaking import ModelVoices
from plugins.tts.weights import HEART, find_models
from plugins.vendors.model_process import ProcessEnded

NAME = "local"
LISTED = 8
"""Voices that an error names."""

log = structlog.get_logger(__name__)


class Source(Protocol):
    """A model or a program with its voices."""

    name: str
    voices: tuple[Voice, ...]

    @property
    def refusal(self) -> str | None:
        """Why its model could not be loaded a short while ago; None where it may be tried."""
        ...

    def health(self) -> Health:
        """How it is."""
        ...

    def check(self, voice: Voice, speed: float) -> None:
        """Raise what it has against a request."""
        ...

    def speak(self, voice: Voice, speed: float, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        ...


Processes: TypeAlias = Sequence[ModelVoices]
Share: TypeAlias = Callable[[Callable[[], AbstractAsyncContextManager[Processes]]], Shared[Processes]]


class LocalVoices:
    """A speech provider that needs no key and no network. `share` is the context's way to close what was opened."""

    role: ClassVar[ProviderRole] = "speech"
    name = NAME
    default_model = "voice"
    reads_what_it_can = True
    """These voices fail loudly, and are silent only for characters that they do not know."""

    def __init__(self, settings: TtsSettings, share: Share) -> None:
        found = find_models(settings)
        self._preferred = settings.local_voice
        self._reasons = list(found.reasons)
        self._models = tuple(
            ModelVoices(model, settings.local_threads) for model in found.models if model.kind != "piper"
        )
        self._sources: list[Source] = []
        for model in found.models:
            if model.kind != "piper":
                self._sources.append(next(each for each in self._models if each.name == model.name))
            elif isinstance(made := piper(model), str):
                self._reasons.append(made)
            else:
                self._sources.append(made)
        self._sources += programs()
        self._open = share(self._processes_of_an_engine)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if self._sources:
            return None
        return (
            "no voice is installed on this machine: pip install 'betterai-engine[local-voice]', "
            "or install the program flite or espeak-ng"
        )

    async def voices(self) -> Sequence[Voice]:
        """Every voice that is there, the best first."""
        return [voice for _, voice in self._all()]

    def health(self) -> Health:
        """The line in `/health/ready`: who speaks where nobody is named, and why it is nobody better."""
        order = [each for each in self._in_order(None) if each[0].refusal is None]
        refusals = [source.refusal for source in self._sources if source.refusal is not None]
        why = "; ".join([*self._reasons, *refusals])
        if not order:
            return Health("degraded", why or self.unavailable or "")
        source, voice = order[0]
        told = source.health()
        detail = voice.id if source.name == voice.id else f"{voice.id} ({source.name})"
        if voice.id == self._preferred:
            return Health(told.state, f"{detail}, as plugins.tts.local_voice says: {told.detail}")
        if self._preferred not in (BEST, *(each.id for _, each in self._all())):
            why = "; ".join(filter(None, [f"plugins.tts.local_voice: there is no voice {self._preferred!r} here", why]))
        if why or source in programs():
            return Health("degraded", f"{detail} speaks, as the next best: {why or 'no better voice is installed'}")
        return told if source in self._models else Health(told.state, detail)

    def check(self, request: SpeechRequest) -> None:
        """Raise `InvalidRequest` for a voice, a language or a speed that is not there."""
        source, voice = self._choices(request)[0]
        source.check(voice, request.speed)

    def check_text(self, request: SpeechRequest, text: str) -> None:
        """Raise `InvalidRequest` for a text in a writing that the voice does not read."""
        if writing_of(text) is not None:
            _, voice = self._choices(request)[0]
            self._check_text(voice, text)

    async def warm(self, request: SpeechRequest) -> None:
        """Load the voice that a request is about to need."""
        await self._open.get()
        source, _ = self._choices(request)[0]
        if isinstance(source, ModelVoices):
            await source.warm()

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text, where no voice is named with the next one if the best cannot be loaded, or dies again and again."""
        await self._open.get()
        choices = self._choices(request)
        for number, (source, voice) in enumerate(choices, 1):
            source.check(voice, request.speed)
            self._check_text(voice, text)
            heard = False
            try:
                async with aclosing(source.speak(voice, request.speed, text)) as sounds:  # type: ignore[type-var]
                    async for sound in sounds:
                        heard = True
                        yield sound
            except (ModelUnavailable, ProcessEnded) as error:
                if heard or number == len(choices):
                    raise
                log.warning("voice_not_loaded", voice=voice.id, reason=error.message)
                continue
            if not heard and any(map(str.isalpha, text)):
                raise InvalidRequest(f"the voice {voice.id} has no sound for this text", field="text")
            return

    def _all(self) -> Iterator[tuple[Source, Voice]]:
        seen: set[str] = set()
        for source in self._sources:
            for voice in source.voices:
                if voice.id not in seen:
                    seen.add(voice.id)
                    yield source, voice

    def _choices(self, request: SpeechRequest) -> list[tuple[Source, Voice]]:
        """The voice that was named; or else those that speak the language, the first of each source that can serve."""
        if request.voice is not None:
            return [self._named(request.voice, request.language)]
        order = self._in_order(request.language)
        ready = [each for each in order if each[0].refusal is None]
        if not order:
            if request.language is None:
                raise ModelUnavailable(self.unavailable or "no voice is here")
            raise InvalidRequest(
                f"no voice of this machine speaks {request.language!r}; leave language out, name another model, "
                "or install espeak-ng; GET /api/v1/tts/voices lists what there is",
                field="language",
            )
        return ready or order

    def _in_order(self, language: str | None) -> list[tuple[Source, Voice]]:
        """The voice of the settings, where it speaks the language, and the first of each source that does."""
        known = [each for each in self._all() if language is None or speaks(each[1].languages, language)]
        preferred = [each for each in known if each[1].id == self._preferred]
        order: list[tuple[Source, Voice]] = list(preferred)
        # Where nobody says which, it is English; of several dialects, the one that was asked for.
        tag = (language or "en").lower()
        for source in self._sources:
            own = [each for each in known if each[0] is source]
            if own and (best := min(own, key=lambda each: _distance(each[1], tag))) not in order:
                order.append(best)
        return order

    def _named(self, id: str, language: str | None) -> tuple[Source, Voice]:
        found = next((each for each in self._all() if each[1].id == id), None)
        if found is None:
            listed = ", ".join(voice.id for _, voice in list(self._all())[:LISTED])
            why = "; ".join(self._reasons) if id == HEART.id else ""
            raise InvalidRequest(
                f"there is no voice {id[:60]!r} on this machine{f' ({why})' if why else ''}; "
                f"some that are there: {listed}; GET /api/v1/tts/voices lists all",
                field="voice",
            )
        if language is not None and not speaks(found[1].languages, language):
            others = self._few([voice for _, voice in self._all() if speaks(voice.languages, language)])
            raise InvalidRequest(
                f"the voice {id} does not speak {language!r}; voices of this machine that do: {others}", field="voice"
            )
        return found

    def _check_text(self, voice: Voice, text: str) -> None:
        writing = writing_of(text)
        if writing is None or reads(voice.languages, writing):
            return
        able = [each for _, each in self._all() if reads(each.languages, writing)]
        others = self._few(sorted(able, key=lambda each: by_size(each.languages, writing)))
        raise InvalidRequest(
            f"the voice {voice.id} does not read {title_of(writing)}; voices of this machine that do: {others}; "
            "name one of them as voice, or the language",
            field="text",
        )

    def _few(self, voices: Sequence[Voice]) -> str:
        return ", ".join(voice.id for voice in voices[:LISTED]) or "none"

    @asynccontextmanager
    async def _processes_of_an_engine(self) -> AsyncIterator[Processes]:
        """They start at their first use, and end with the plugin or when a reload has made others."""
        try:
            yield self._models
        finally:
            for model in self._models:
                await model.aclose()


def _distance(voice: Voice, tag: str) -> int:
    """How far a voice is from a language: of its dialect, of its language, of another."""
    if tag in map(str.lower, voice.languages):
        return 0
    return 1 if speaks(voice.languages, tag) else 2
