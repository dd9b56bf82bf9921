"""Live speech with Gemini Live, over as many sessions as it takes (types: `google.genai.types.LiveServerMessage`)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import msgspec

import plugins.vendors.google_live as live
from engine.api import ProviderTimeout, ProviderUnavailable, Segment, Shared, TranscriptionRequest
from engine.wire.trace import trace_headers
from plugins.audio.pauses import Pauses
from plugins.audio.providers.google_heard import Message, Turn, decode
from plugins.audio.providers.google_setup import setup
from plugins.audio.providers.google_transcript import transcribes
from plugins.audio.tape import PAUSE, Lost, Tape, heard_live
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, clean
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import connecting

SILENCE = 30.0
"""Seconds without a message, while one is due, after which a session counts as lost."""

PATIENCE = 10.0
"""Seconds that a session may take to begin, and a piece of sound to be taken."""

LAST_WORD = 1.0
"""Seconds for which words are waited for that come after the end of their turn: Gemini keeps no order between the two."""

MARGIN = 1.5
"""Seconds before the end that Google announced at which even a turn in progress is left; it is heard again."""

_BROKEN = (aiohttp.ClientError, ConnectionError, RuntimeError)


class GoogleSessions:
    """Gemini's sessions, of which each goes on where the last was lost, or had reached its limit."""

    def __init__(
        self,
        settings: GoogleSettings,
        http: Shared[aiohttp.ClientSession],
        vendor: Vendor,
        *,
        silence: float = SILENCE,
        patience: float = PATIENCE,
        last_word: float = LAST_WORD,
        pause: float = PAUSE,
    ) -> None:
        self._url = live.address(settings)
        self._headers = {"x-goog-api-key": settings.key} if settings.key else {}
        self._http = http
        self._pause = pause
        self.vendor = vendor
        self.silence = silence
        self.patience = patience
        self.last_word = last_word

    def listen(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """What is heard while it is spoken."""
        return heard_live(audio, request.rate, partial(self._to_the_end, request), self._pause)

    async def _to_the_end(self, request: TranscriptionRequest, tape: Tape) -> AsyncIterator[Segment]:
        """Session after session, each to its limit."""
        over = False
        while not over:
            socket = await self._connect()
            heard = _Session(socket, self, request, tape)
            try:
                await heard.begin()
                while not heard.over and not heard.left:
                    for segment in await heard.take():
                        yield segment
                over = heard.over
            finally:
                await heard.close()
                await socket.close()
            if not over:
                await asyncio.sleep(self._pause)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        http = await self._http.get()
        headers = {**self._headers, **trace_headers()}
        try:
            with connecting(self.vendor):
                return await http.ws_connect(
                    self._url, headers=headers, max_msg_size=live.LONGEST_MESSAGE, heartbeat=live.HEARTBEAT
                )
        except ProviderUnavailable as error:
            raise Lost(error) from None


class _Session:
    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        sessions: GoogleSessions,
        request: TranscriptionRequest,
        tape: Tape,
    ) -> None:
        self._socket = socket
        self._sessions = sessions
        self._vendor = sessions.vendor
        self._request = request
        self._tape = tape
        self._begin = tape.rewind()
        self._turn = Turn(self._begin, spaced=transcribes(request.model), language=request.language)
        self._free = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None
        self._receiving: asyncio.Future[aiohttp.WSMessage] | None = None
        self._leave_at: float | None = None
        # When the vendor last said something, or began to owe it.
        self._since = 0.0
        self._fed = False
        self.left = False

    @property
    def over(self) -> bool:
        """Whether all was heard."""
        return self._fed and not self._turn.open

    async def begin(self) -> None:
        """Have the session as it is asked for, and start to speak."""
        with suppress(*_BROKEN):
            await self._send(setup(self._request))
        message = await self._receive(self._sessions.patience)
        if message is None:
            raise Lost(
                ProviderTimeout(f"{self._vendor.title} did not begin the session in {self._sessions.patience:g} s.")
            )
        if message.setup_complete is None:
            raise self._vendor.broke_protocol("a session begins with setupComplete")
        self._free.set()
        self._feeding = asyncio.create_task(self._feed(), name="audio for Gemini")

    async def close(self) -> None:
        """Speak no more."""
        tasks = [task for task in (self._feeding, self._receiving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def take(self) -> list[Segment]:
        """Hear one message, or that none came in time."""
        turn = self._turn
        message = await self._receive(self._patience())
        if message is None:
            self._overdue()
        else:
            self._read(message)
        if turn.open and turn.ended is not None and turn.complete:
            return self._end()
        self.left = self.left or self._late
        return turn.partial()

    # What is sent

    async def _feed(self) -> None:
        pauses = Pauses(self._request.rate)
        with suppress(*_BROKEN):
            while (piece := await self._tape.piece()) is not None:
                await self._speak(piece)
                if pauses.feed(piece):
                    await self._pause()
            if self._turn.open and self._turn.ended is None:
                await self._pause()
            self._fed = True

    async def _speak(self, piece: bytes) -> None:
        if not self._turn.open or self._turn.ended is not None:
            # One turn at a time: whose words come late would else be anybody's guess.
            await self._free.wait()
            self._free.clear()
            self._turn.begin(self._tape.at - len(piece) / 2 / self._request.rate)
            await self._send({"realtimeInput": {"activityStart": {}}})
        data = base64.b64encode(piece).decode("ascii")
        await self._send(
            {"realtimeInput": {"audio": {"mimeType": f"audio/pcm;rate={self._request.rate}", "data": data}}}
        )

    async def _pause(self) -> None:
        self._turn.end(self._tape.at)
        self._since = asyncio.get_running_loop().time()
        await self._send({"realtimeInput": {"activityEnd": {}}})

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._sessions.patience):
                await self._socket.send_str(msgspec.json.encode(message).decode())
        except TimeoutError:
            raise Lost(ProviderTimeout(f"{self._vendor.title} takes no more of what is said.")) from None

    # What is told

    @property
    def _bound(self) -> float | None:
        """Seconds for which the vendor may say nothing; None where nothing is due."""
        turn = self._turn
        if not turn.open or turn.ended is None:
            return None
        return self._sessions.last_word if turn.completed or turn.worded else self._sessions.silence

    def _patience(self) -> float:
        """Seconds for which the next message is waited for."""
        now, bound = asyncio.get_running_loop().time(), self._bound
        until = now + self._sessions.silence if bound is None else self._since + bound
        return max(0.0, (until if self._leave_at is None else min(until, self._leave_at)) - now)

    def _overdue(self) -> None:
        bound = self._bound
        if self._late or bound is None or asyncio.get_running_loop().time() < self._since + bound:
            return
        if not self._turn.completed and not self._turn.worded:
            raise Lost(ProviderTimeout(f"{self._vendor.title} said nothing for {bound:g} s."))
        self._turn.settled = True

    @property
    def _late(self) -> bool:
        """Whether the session is about to be closed."""
        return self._leave_at is not None and asyncio.get_running_loop().time() >= self._leave_at

    def _end(self) -> list[Segment]:
        """The turn is over: its words are told, its sound is not needed any more."""
        self._tape.told_until(self._turn.ended or 0.0)
        told = self._turn.final()
        self.left = self._leave_at is not None and not self._fed
        if not self.left:
            self._free.set()
        return told

    def _read(self, message: Message) -> None:
        if message.error is not None:
            error = message.error
            raise self._vendor.failure(Fault(str(error.get("message") or ""), str(error.get("code") or "")))
        if message.server_content is not None:
            self._turn.take(message.server_content)
        if message.go_away is not None:
            left = max(0.0, live.seconds(message.go_away.time_left) - MARGIN)
            self._leave_at = asyncio.get_running_loop().time() + left
            # Between two turns at once.
            self.left = not self._turn.open

    async def _receive(self, timeout: float) -> Message | None:
        """The next message, None where none comes in time; what is wrong with what is sent is told first."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._socket.receive())
        waiting: set[asyncio.Future[Any]] = {self._receiving}
        feeding = self._feeding
        if feeding is not None:
            waiting.add(feeding)
        done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if feeding is not None and feeding in done:
            self._feeding = None
            feeding.result()
            return Message()
        if not done:
            return None
        received, self._receiving = self._receiving.result(), None
        self._since = asyncio.get_running_loop().time()
        return self._decoded(received)

    def _decoded(self, received: aiohttp.WSMessage) -> Message:
        if received.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = received.data if received.type is aiohttp.WSMsgType.CLOSE else None
            raise self._closed(code, str(received.extra or "") if code is not None else "")
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return decode(received.data)
        raise self._vendor.broke_protocol("a message is not of the known form")

    def _closed(self, code: int | None, reason: str) -> Exception:
        told = live.reason_of(code, clean(reason, self._vendor.secret))
        status = live.status_of(code, reason)
        if status is not None:
            return self._vendor.failure(Fault(told), status=status)
        how = f"closed the session: {told}" if code is not None else "cut off the session."
        return Lost(ProviderUnavailable(f"{self._vendor.title} {how}"))
