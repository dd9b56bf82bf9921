"""`/api/v1/tts`: a text as a sound file, and the voices that can be asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from engine.api import (
    Answer,
    Audio,
    EngineError,
    Event,
    EventStream,
    HttpRequest,
    PluginContext,
    Result,
    Route,
    Voice,
)
from plugins.tts.bodies import QuotaQuery, SpeakPost, VoicesQuery
from plugins.tts.storing import KeptSpeech, StoredSpeech
from plugins.vendors.codecs import MEDIA_TYPES
from plugins.vendors.speaking import stand_in

CANNED_HEADER = "X-Canned"
"""Stands on a file that holds no voice."""


class VoiceList(msgspec.Struct):
    """Voices by the model that speaks with them; `missing` names the models whose voices are not in the list."""

    voices: list[ListedVoice]
    missing: list[MissingVoices] = []


class ListedVoice(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One voice. `model` is the name under which its provider is asked."""

    id: str
    name: str
    model: str
    languages: tuple[str, ...] = ()
    description: str = ""


class MissingVoices(msgspec.Struct, kw_only=True):
    """A model that did not list its voices, and the error."""

    model: str
    code: str
    message: str


class QuotaState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How much the operator's account at a vendor has spoken, and how much it may, in characters."""

    model: str
    used: int
    limit: int
    left: int
    resets_at: datetime | None = None
    plan: str = ""


class SoundFile:
    """The sound of a stream as the bytes of one file; implements `engine.api.Encoder`."""

    def encode(self, n: int, event: Event) -> bytes | None:
        return event.data if isinstance(event, Audio) else None

    def failed(self, error: EngineError) -> bytes:
        """Nothing: a file that is not whole is cut off."""
        return b""


class TtsRoutes:
    """Starts the same speech as `tts.start`."""

    def __init__(self, context: PluginContext) -> None:
        self._commands = context.commands
        self._providers = context.providers
        self._kept = KeptSpeech()

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            Route(
                method="POST",
                path="/api/v1/tts",
                handler=self.speak,
                body=SpeakPost,
                returns=StoredSpeech,
                media=tuple(dict.fromkeys(MEDIA_TYPES.values())),
                summary="Speak a text: the file comes as it is made, or is stored, and a link to it comes when it is whole.",
                tag="tts",
                statuses={
                    413: "too_large, quota_exceeded",
                    502: "provider_error and its kin",
                    503: "model_unavailable, storage_unavailable",
                    504: "provider_timeout",
                },
            ),
            Route(
                method="GET",
                path="/api/v1/tts/voices",
                handler=self.voices,
                query=VoicesQuery,
                returns=VoiceList,
                summary="The voices that can be asked for.",
                tag="tts",
                statuses={502: "provider_error and its kin", 504: "provider_timeout"},
            ),
            Route(
                method="GET",
                path="/api/v1/tts/quota",
                handler=self.quota,
                scope="admin",
                query=QuotaQuery,
                returns=QuotaState,
                summary="What the account at a vendor may still speak.",
                tag="tts",
                statuses={502: "provider_error and its kin", 504: "provider_timeout"},
            ),
        ]

    async def speak(self, request: HttpRequest[SpeakPost, Any]) -> Result:
        body = request.body
        # Asked for before anything is spoken: without a store nothing is.
        store = self._providers.objects() if body.store else None
        fields = body.model_dump(exclude_unset=True, exclude={"store"}) | {"format": body.format}
        key = request.headers.get("idempotency-key")
        reader = await self._commands.start(request.principal, "tts.start", fields, key=key, on_disconnect="cancel")
        if store is not None:
            return await self._kept.answer(store, request.principal, reader, body.format)
        canned = stand_in(self._providers.speech(body.model)) is not None
        headers = {CANNED_HEADER: "true"} if canned else {}
        return EventStream(reader, SoundFile(), hold=True, headers=headers, content_type=MEDIA_TYPES[body.format])

    async def voices(self, request: HttpRequest[Any, VoicesQuery]) -> Answer:
        asked = request.query.model
        names = [asked] if asked is not None else self._speaking()
        found: list[ListedVoice] = []
        missing: list[MissingVoices] = []
        for name in names:
            try:
                voices = await self._providers.speech(name).voices()
            except EngineError as error:
                if asked is not None:
                    raise
                # One vendor that is away hides no other's voices.
                missing.append(MissingVoices(model=name, code=error.code, message=error.message))
                continue
            found += [_listed(voice, name) for voice in voices]
        return Answer(VoiceList(found, missing))

    async def quota(self, request: HttpRequest[Any, QuotaQuery]) -> Answer:
        model = self._providers.speech(request.query.model)
        quota = await model.quota()
        return Answer(
            QuotaState(
                model=request.query.model or model.target.name,
                used=quota.used,
                limit=quota.limit,
                left=max(0, quota.limit - quota.used),
                resets_at=quota.resets_at,
                plan=quota.plan,
            )
        )

    def _speaking(self) -> list[str]:
        """The name of each provider of speech."""
        return sorted(name for role, name in self._providers.providers() if role == "speech")


def _listed(voice: Voice, model: str) -> ListedVoice:
    return ListedVoice(
        id=voice.id, name=voice.name, model=model, languages=voice.languages, description=voice.description
    )
