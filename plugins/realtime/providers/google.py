"""Google: Gemini Live, over our own connections: with a key the SDK knows no address but one with TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import aiohttp

from engine.api import (
    InvalidRequest,
    ProviderRole,
    RealtimeInput,
    RealtimeRequest,
    RealtimeStage,
    Shared,
    UnsupportedParameter,
)
from plugins.realtime.providers.google_conversation import GoogleConversation
from plugins.realtime.providers.google_interpreting import check_interpreter, interprets
from plugins.realtime.providers.google_line import GoogleLines
from plugins.realtime.providers.google_setup import INPUT_RATE
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.google_live import address
from plugins.vendors.google_voices import VOICES
from plugins.vendors.settings import GoogleSettings

PATIENCE = 10.0
"""Seconds that a session may take to begin, and a message to be taken."""

SILENCE = 30.0
"""Seconds without a message, while an answer is due, after which a session counts as lost."""


class GoogleRealtime:
    """Calls with Gemini Live (https://ai.google.dev/api/live).

    Gemini answers and is interrupted by itself. After a `RealtimeInterrupt` no more of the answer is told, but Google
    cannot be: its session remembers the whole answer that it made, and only a session without a handle is told what was heard.
    Text is answered when `RealtimeAnswer` follows. A new voice, other tools or instructions take a new session.
    """

    role: ClassVar[ProviderRole] = "realtime"
    name = "google"
    bounds_answers = True
    default_model = "gemini-3.8-live"
    rate = INPUT_RATE

    def __init__(
        self,
        settings: GoogleSettings,
        http: Shared[aiohttp.ClientSession],
        *,
        patience: float = PATIENCE,
        silence: float = SILENCE,
    ) -> None:
        self._settings = settings
        self._http = http
        self._patience = patience
        self._silence = silence
        self._headers = {"x-goog-api-key": settings.key} if settings.key else {}
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def check(self, request: RealtimeRequest) -> None:
        """Raise `InvalidRequest` for a voice that is not there, `UnsupportedParameter` for what Gemini cannot do."""
        if request.voice is not None and self.own_address and request.voice not in VOICES:
            raise InvalidRequest(f"Google has no voice {request.voice!r}; it has {', '.join(VOICES)}", field="voice")
        if interprets(request.model):
            check_interpreter(request)
        if not request.turn_detection.answer and request.turn_detection.type != "manual":
            raise UnsupportedParameter(
                "Gemini answers every turn; to be asked for each answer, use turn_detection manual",
                field="turn_detection",
            )

    def interruptible(self, request: RealtimeRequest) -> bool:
        """Whether speech may stop an answer: an interpreter goes on while they speak whom it interprets."""
        return not interprets(request.model)

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """Hold one conversation until `intake` ends; see `engine.api.RealtimeProvider`."""
        lines = GoogleLines(
            address(self._settings),
            self._headers,
            self._http,
            self._vendor,
            patience=self._patience,
            silence=self._silence,
        )
        await GoogleConversation(request, intake, stage, lines).run()
