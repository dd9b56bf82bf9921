"""Live speech at OpenAI: transcription sessions of its Realtime API, over as many of them as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import msgspec

import plugins.vendors.openai_realtime as line
from engine.api import ProviderError, ProviderTimeout, ProviderUnavailable, Segment, Shared, TranscriptionRequest
from engine.wire.trace import trace_headers
from plugins.audio.pauses import Pauses
from plugins.audio.providers.openai_items import Items
from plugins.audio.providers.openai_setup import leaves_pauses, session
from plugins.audio.tape import PAUSE, Lost, Tape, heard_live
from plugins.vendors.codecs import Resampler, load_resampling
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import clean
from plugins.vendors.openai_compatible import bearer
from plugins.vendors.settings import OpenAISettings, account_headers
from plugins.vendors.transport import connecting

SILENCE = 30.0
"""Seconds without an event, while one is due, after which a session counts as lost."""

PATIENCE = 10.0
"""Seconds after which a session that takes no more sound counts as lost."""

FAREWELL = 2.0
"""Seconds for which the end of a session is waited for that has told all: not every server that speaks like OpenAI tells it."""

_NO_SESSIONS = frozenset({404, 405, 501})
_NOTHING = "input_audio_buffer_commit_empty"
_NO_SPEECH = "audio_unintelligible"
_BROKEN = (aiohttp.ClientError, ConnectionError, RuntimeError)


class NoSessions(Exception):
    """The server knows no Realtime API; nothing was sent."""


class Sessions:
    """OpenAI's transcription sessions, of which each goes on where the last was lost."""

    def __init__(
        self,
        settings: OpenAISettings,
        http: Shared[aiohttp.ClientSession],
        *,
        silence: float = SILENCE,
        patience: float = PATIENCE,
        pause: float = PAUSE,
    ) -> None:
        self._url = f"{settings.base_url}/realtime".replace("http", "ws", 1)
        self._headers = {**account_headers(settings), **bearer(settings.key)}
        self._http = http
        self._pause = pause
        self.vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)
        self.silence = silence
        self.patience = patience

    def listen(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """What is heard while it is spoken. Raises `NoSessions` before anything of the audio is taken."""
        return heard_live(audio, request.rate, partial(self._session, request), self._pause)

    async def _session(self, request: TranscriptionRequest, tape: Tape) -> AsyncIterator[Segment]:
        begin = tape.rewind()
        socket = await self._connect(fresh=tape.untouched)
        heard = _Session(socket, self, request, tape, begin)
        try:
            await heard.begin()
            while not heard.over:
                await heard.take()
                for segment in heard.items.tell():
                    yield segment
        finally:
            await heard.close()
            await socket.close()

    async def _connect(self, *, fresh: bool) -> aiohttp.ClientWebSocketResponse:
        http = await self._http.get()
        headers = {**self._headers, **trace_headers()}
        try:
            with connecting(self.vendor):
                try:
                    return await http.ws_connect(
                        self._url,
                        params={"intent": "transcription"},
                        headers=headers,
                        max_msg_size=1 << 22,
                        heartbeat=20.0,
                    )
                except aiohttp.WSServerHandshakeError as error:
                    if fresh and error.status in _NO_SESSIONS:
                        raise NoSessions from None
                    raise
        except ProviderUnavailable as error:
            raise Lost(error) from None


class _Session:
    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        sessions: Sessions,
        request: TranscriptionRequest,
        tape: Tape,
        begin: float,
    ) -> None:
        self._socket = socket
        self._silence, self._patience = sessions.silence, sessions.patience
        self._vendor = sessions.vendor
        self._session = session(request)
        self._language = request.language
        self._rate = request.rate
        self._tape = tape
        self._feeding: asyncio.Task[None] | None = None
        self._open = self._cleared = False
        # When the vendor last said something, or began to owe it.
        self._since = asyncio.get_running_loop().time()
        self.items = Items(tape, begin)

    @property
    def over(self) -> bool:
        """Whether all was heard."""
        return self._cleared and self.items.empty

    async def begin(self) -> None:
        """Have the session as it is asked for, and start to speak."""
        await self._until("session.created")
        # Where this is not taken, whoever reads learns how the session ended.
        with suppress(*_BROKEN):
            await self._send(line.event("session.update", session=self._session))
        await self._until("session.updated")
        self._open = True
        self._feeding = asyncio.create_task(self._feed(), name="audio for OpenAI")

    async def close(self) -> None:
        """Speak no more."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)

    async def take(self) -> None:
        """Hear one event."""
        told = await self._receive()
        items = self.items
        match told.type:
            case "input_audio_buffer.speech_started":
                items.began(told.item_id, told.audio_start_ms)
            case "input_audio_buffer.speech_stopped":
                items.ended(told.item_id, told.audio_end_ms)
            case "input_audio_buffer.committed":
                items.committed(told.item_id, told.previous_item_id)
            case "input_audio_buffer.cleared":
                # What came before it was committed, or was too short to hold a word.
                self._cleared = True
                items.finish()
            case "conversation.item.input_audio_transcription.delta":
                items.heard(told.item_id, told.delta)
            case "conversation.item.input_audio_transcription.completed":
                items.done(told.item_id, told.transcript, self._language or _language(told))
            case "conversation.item.input_audio_transcription.failed":
                self._unheard(told)
            case "error":
                self._fail(told.error)

    # What is sent

    async def _feed(self) -> None:
        await load_resampling()
        resampler = Resampler(self._rate, line.RATE)
        pauses, ours = Pauses(self._rate), leaves_pauses(self._session)
        with suppress(*_BROKEN):
            while (piece := await self._tape.piece()) is not None:
                await self._sound(resampler.feed(piece))
                if pauses.feed(piece) and ours:
                    await self._commit()
            await self._sound(resampler.feed(b"", last=True))
            self._tape.sent_all = True
            # Out of mere silence some models make words.
            if ours or not self.items.covers(pauses.loud):
                await self._commit()
            await self._send(line.event("input_audio_buffer.clear"))

    async def _sound(self, pcm: bytes) -> None:
        if pcm:
            await self._send(line.audio(pcm))

    async def _commit(self) -> None:
        self.items.commit()
        self._since = asyncio.get_running_loop().time()
        await self._send(line.event("input_audio_buffer.commit"))

    async def _send(self, event: str) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._socket.send_str(event)
        except TimeoutError:
            raise Lost(ProviderTimeout(f"{self._vendor.title} takes no more of what is said.")) from None

    # What is told

    async def _until(self, type: str) -> None:
        while (told := await self._receive()).type != type:
            if told.type == "error":
                self._fail(told.error)

    async def _receive(self) -> line.Told:
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            while not receiving.done():
                await self._wait(receiving)
                if not receiving.done() and self._overdue:
                    return self._missing()
            received = receiving.result()
            self._since = asyncio.get_running_loop().time()
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
        if received.type is not aiohttp.WSMsgType.TEXT:
            raise self._closed(received)
        try:
            return line.decode(received.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._vendor.broke_protocol("an event is not of the known form") from None

    async def _wait(self, receiving: asyncio.Future[aiohttp.WSMessage]) -> None:
        """Until something came, while what is sent goes well; what is wrong with it is told first."""
        feeding = self._feeding
        waiting: set[asyncio.Future[Any]] = {receiving} if feeding is None else {receiving, feeding}
        done, _ = await asyncio.wait(waiting, timeout=self._bound, return_when=asyncio.FIRST_COMPLETED)
        if feeding in done and feeding is not None:
            self._feeding = None
            feeding.result()

    @property
    def _owing(self) -> bool:
        """Whether the vendor is to say something, without which words would be missing."""
        return not self._open or self.items.due

    @property
    def _bound(self) -> float:
        """Seconds for which the vendor may say nothing."""
        return self._silence if self._owing or not self._tape.sent_all else min(self._silence, FAREWELL)

    @property
    def _overdue(self) -> bool:
        due = self._owing or self._tape.sent_all
        return due and asyncio.get_running_loop().time() >= self._since + self._bound

    def _missing(self) -> line.Told:
        """What to make of an event that does not come: all was told, where only the end of it is missing."""
        if self._owing:
            raise Lost(ProviderTimeout(f"{self._vendor.title} said nothing for {self._silence:g} s."))
        return line.Told("input_audio_buffer.cleared")

    def _closed(self, last: aiohttp.WSMessage) -> Exception:
        code, told = line.ending(self._vendor, self._socket, last)
        return Lost(ProviderUnavailable(told)) if code in line.PASSES else ProviderError(told)

    def _unheard(self, told: line.Told) -> None:
        """A stretch without a transcript: it is heard again in another session, if it was speech."""
        if told.error.get("code") != _NO_SPEECH:
            self._fail(told.error)
        self.items.done(told.item_id, "", None)

    def _fail(self, error: Mapping[str, Any]) -> None:
        code = error.get("code")
        if code == _NOTHING:
            return self.items.uncommit()
        if code == line.EXPIRED:
            told = clean(str(error.get("message") or code), self._vendor.secret)
            raise Lost(ProviderUnavailable(f"{self._vendor.title}: {told}"))
        failure = line.failure(self._vendor, error)
        raise Lost(failure) if failure.retryable else failure


def _language(told: line.Told) -> str | None:
    """The one that was heard most of, where the model tells any."""
    return next((str(each["code"]) for each in told.languages or () if "code" in each), None)
