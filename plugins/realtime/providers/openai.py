"""OpenAI's Realtime models: one WebSocket that hears and speaks, made anew when it is lost or over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import aiohttp

from engine.api import (
    EngineError,
    ProviderRole,
    RealtimeInput,
    RealtimeRequest,
    RealtimeStage,
    Shared,
)
from plugins.realtime.providers.openai_faults import Lost
from plugins.realtime.providers.openai_session import Conversation
from plugins.vendors.failures import Vendor
from plugins.vendors.openai_compatible import bearer
from plugins.vendors.settings import OpenAISettings, account_headers

RECONNECTS = 5
"""Times in a row that a session is made anew without anything told in between."""

PAUSE = 0.2
"""Seconds before the first of them; each waits as much longer."""

SILENCE = 30.0
"""Seconds without an event, while one is due, after which a session counts as lost."""


class OpenAIRealtime:
    """Conversations with gpt-realtime and its successors."""

    role: ClassVar[ProviderRole] = "realtime"
    name = "openai"
    bounds_answers = True
    default_model = "gpt-realtime-2.1-mini"

    def __init__(
        self,
        settings: OpenAISettings,
        http: Shared[aiohttp.ClientSession],
        *,
        silence: float = SILENCE,
        pause: float = PAUSE,
    ) -> None:
        self._settings = settings
        self._http = http
        self._silence = silence
        self._pause = pause
        self._vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)
        self._headers = {**account_headers(settings), **bearer(settings.key)}

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """Hold one conversation; a session that is lost is followed by another, `RECONNECTS` times in a row at most."""
        url = f"{self._settings.base_url}/realtime".replace("http", "ws", 1)
        http = await self._http.get()
        talk = Conversation(request, intake, stage, self._vendor, self._silence)
        lost = 0
        try:
            while True:
                try:
                    return await talk.session(http, url, self._headers)
                except Lost as error:
                    lost = 1 if error.lived else lost + 1
                    if lost > RECONNECTS:
                        raise error.error from None
                    talk.seam(error.error)
                except EngineError as error:
                    # A first session that does not come about is the engine's to try again.
                    if not talk.begun or not error.retryable or lost >= RECONNECTS:
                        raise
                    lost += 1
                await asyncio.sleep(self._pause * lost)
        finally:
            await talk.close()
