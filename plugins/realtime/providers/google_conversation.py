"""One conversation with Gemini Live, over as many sessions as it takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec

import plugins.realtime.providers.google_setup as say
from engine.api import (
    REALTIME_RATE,
    EngineError,
    ProviderTimeout,
    ProviderUnavailable,
    RealtimeAnswer,
    RealtimeAudio,
    RealtimeClear,
    RealtimeCommit,
    RealtimeInput,
    RealtimeInterrupt,
    RealtimeRequest,
    RealtimeStage,
    RealtimeText,
    RealtimeToolResult,
    RealtimeUpdate,
    Shared,
)
from engine.wire.trace import trace_headers
from plugins.realtime.providers.google_messages import ServerMessage, decode_message, usage_of
from plugins.realtime.providers.google_turns import GoogleTurns
from plugins.vendors.codecs import Resampler
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault
from plugins.vendors.transport import connecting

RECONNECTS = 3
"""Times in a row that a session is made anew without a word from it."""

MOST_REPLAYED = 60.0
"""Seconds of sound that are kept for a new session until they are answered."""

MARGIN = 1.5
"""Seconds before the end that Google announced at which even an answer in progress is left."""

LAST_WORD = 2.0
"""Seconds that an answer may take to begin, or to go on, after the call was finished."""

HEARTBEAT = 20.0
LONGEST_MESSAGE = 1 << 24

# Codes with which a session ends that is worth another; 1011 is Google's word for any trouble of its own.
_PASSES = frozenset({1000, 1001, 1006, 1011, 1012, 1013, None})


class SessionLost(Exception):
    """A session that is worth another."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


class _Leave(Exception):
    """The session is to be left for another; the message says why."""


class GoogleConversation:
    """Tells Google what comes in and the stage what Google says."""

    def __init__(
        self,
        request: RealtimeRequest,
        intake: AsyncIterator[RealtimeInput],
        stage: RealtimeStage,
        *,
        url: str,
        headers: Mapping[str, str],
        http: Shared[aiohttp.ClientSession],
        vendor: Vendor,
        patience: float,
    ) -> None:
        self._request = request
        self._intake = intake
        self._stage = stage
        self._url = url
        self._headers = headers
        self._http = http
        self._vendor = vendor
        self._patience = patience
        self._turns = GoogleTurns(stage, request.past, audible="audio" in request.modalities)
        self._resampler = Resampler(REALTIME_RATE, say.INPUT_RATE)
        self._handle: str | None = None
        self._texts: list[str] = []
        self._active = False
        """In the manual way: the person speaks, as the client says."""
        self._asked = False
        """An answer was asked for and has not begun."""
        self._unanswered: deque[tuple[float, say.Message]] = deque()
        """What was told since the last answer began, with its seconds of sound: a new session is told it again."""
        self._leave_at: float | None = None
        self._reason = ""
        self._reading: asyncio.Future[RealtimeInput | None] | None = None
        self._over = False
        self._started = self._began = False
        """Whether any session was set up, and whether this one has said a word."""

    async def run(self) -> None:
        """Converse until the intake is over and answered."""
        lost = 0
        try:
            while True:
                try:
                    await self._session()
                    return
                except _Leave as leave:
                    self._stage.seam(str(leave))
                except SessionLost as error:
                    lost = 0 if self._began else lost + 1
                    # The start is tried again by whoever asked for it.
                    if not self._started or lost > RECONNECTS:
                        raise error.error from None
                    if self._turns.answering:
                        self._turns.end(self._vendor.cut_off())
                    self._stage.seam(error.error.message)
                    await asyncio.sleep(0.2 * lost)
        finally:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    async def _session(self) -> None:
        loop = asyncio.get_running_loop()
        self._began, self._leave_at = False, None
        async with self._open() as socket:
            # What was heard and not answered is told again, and heard again.
            self._turns.unhear()
            for _, message in list(self._unanswered):
                await self._send(socket, message)
            receiving = asyncio.ensure_future(socket.receive())
            try:
                while not (self._over and not self._owes()):
                    await self._wait(receiving, loop)
                    if receiving.done():
                        self._take(self._message(receiving.result()))
                        receiving = asyncio.ensure_future(socket.receive())
                    elif self._over and self._leave_at is None:
                        return
                    if self._reading is not None and self._reading.done():
                        told, self._reading = self._reading.result(), None
                        await self._tell(socket, told)
                    self._leave_if_due(loop.time())
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)

    async def _wait(self, receiving: asyncio.Future[aiohttp.WSMessage], loop: asyncio.AbstractEventLoop) -> None:
        waiting: set[asyncio.Future[object]] = {receiving}  # type: ignore[arg-type]
        if not self._over:
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._intake, None))
            waiting.add(self._reading)  # type: ignore[arg-type]
        bounds = [LAST_WORD] if self._over else []
        if self._leave_at is not None and self._leave_at < float("inf"):
            bounds.append(max(0.0, self._leave_at - loop.time()))
        await asyncio.wait(waiting, timeout=min(bounds, default=None), return_when=asyncio.FIRST_COMPLETED)

    def _owes(self) -> bool:
        return self._turns.waiting or self._asked or bool(self._unanswered)

    def _leave_if_due(self, now: float) -> None:
        busy = self._turns.waiting or self._asked
        if self._leave_at is None or (busy and now < self._leave_at):
            return
        if self._turns.answering:
            self._turns.end(self._vendor.cut_off())
        raise _Leave(self._reason)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A session that is set up and knows what was said before."""
        http = await self._http.get()
        headers = {**self._headers, **trace_headers()}
        past = list(self._turns.past)
        try:
            with connecting(self._vendor):
                socket = await http.ws_connect(
                    self._url, headers=headers, max_msg_size=LONGEST_MESSAGE, heartbeat=HEARTBEAT
                )
        except ProviderUnavailable as error:
            raise SessionLost(error) from None
        try:
            handle, self._handle = self._handle, None
            await self._send(socket, say.setup(self._request, past, handle))
            try:
                async with asyncio.timeout(self._patience):
                    message = self._message(await socket.receive(), resumed=handle is not None)
            except TimeoutError:
                raise SessionLost(
                    ProviderTimeout(f"{self._vendor.title} did not begin the session in {self._patience:g} s")
                ) from None
            if message.setup_complete is None:
                raise self._vendor.broke_protocol("a session begins with setupComplete")
            # Only a handle that was taken is good for another try.
            self._handle, self._started = handle, True
            if handle is None and (told := say.history(self._request, past)) is not None:
                await self._send(socket, told)
            yield socket
        finally:
            await socket.close()

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, message: say.Message) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await socket.send_str(msgspec.json.encode(message).decode())
        except TimeoutError:
            raise SessionLost(ProviderTimeout(f"{self._vendor.title} takes no more of what is said")) from None
        except (aiohttp.ClientError, ConnectionError, RuntimeError):
            # Whoever reads from it learns how it ended.
            pass

    async def _tell(self, socket: aiohttp.ClientWebSocketResponse, told: RealtimeInput | None) -> None:
        match told:
            case RealtimeAudio(pcm):
                await self._sound(socket, self._resampler.feed(pcm))
            case RealtimeText(text, role):
                self._turns.wrote(text, role)
                self._texts.append(text)
            case RealtimeAnswer(instructions):
                await self._answer(socket, instructions)
            case RealtimeCommit():
                await self._commit(socket)
            case RealtimeClear():
                self._clear()
            case RealtimeInterrupt(text=heard):
                self._turns.mute(heard)
            case RealtimeToolResult(call_id, output, error):
                if (name := self._turns.called(call_id)) is not None:
                    await self._send(socket, say.tool_response(call_id, name, output, error=error))
            case RealtimeUpdate(request):
                self._update(request)
            case None:
                self._over = True
                if self._unanswered and self._request.turn_detection.type != "manual":
                    await self._remember(socket, say.SOUND_OVER)

    async def _sound(self, socket: aiohttp.ClientWebSocketResponse, pcm: bytes) -> None:
        if not pcm:
            return
        if self._request.turn_detection.type == "manual" and not self._active:
            self._active = True
            self._turns.speech_began()
            await self._remember(socket, say.activity("activityStart"))
        await self._remember(socket, say.sound(pcm), len(pcm) / 2 / say.INPUT_RATE)

    async def _commit(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        rest = self._resampler.feed(b"", last=True)
        self._resampler = Resampler(REALTIME_RATE, say.INPUT_RATE)
        await self._sound(socket, rest)
        if self._request.turn_detection.type != "manual":
            await self._remember(socket, say.SOUND_OVER)
        elif self._active:
            self._active, self._asked = False, True
            await self._remember(socket, say.activity("activityEnd"))
            self._turns.speech_ended()

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, instructions: str | None) -> None:
        """Ask for an answer; a turn of speech that is over is answered unasked."""
        texts = [*self._texts, *([instructions] if instructions else ())]
        self._texts = []
        if not texts and (self._asked or self._turns.answering):
            return
        self._asked = True
        for message in say.written(self._request, texts):
            await self._remember(socket, message)

    def _clear(self) -> None:
        if not self._unanswered:
            return
        self._unanswered.clear()
        self._active = self._asked = False
        # Google forgets nothing that it was told, so that a session goes on which was not.
        self._leave("what was spoken is forgotten", None if self._turns.answering else 0.0)

    def _update(self, request: RealtimeRequest) -> None:
        before, self._request = say.setup(self._request, (), None), request
        if say.setup(request, (), None) != before:
            self._leave("the conversation goes on in another way")

    def _leave(self, reason: str, seconds: float | None = None) -> None:
        """Leave the session between two answers, or in `seconds` where it is closed then."""
        at = float("inf") if seconds is None else asyncio.get_running_loop().time() + max(0.0, seconds - MARGIN)
        self._leave_at = at if self._leave_at is None else min(at, self._leave_at)
        self._reason = reason

    async def _remember(
        self, socket: aiohttp.ClientWebSocketResponse, message: say.Message, seconds: float = 0.0
    ) -> None:
        self._unanswered.append((seconds, message))
        kept = sum(each for each, _ in self._unanswered) if seconds else 0.0
        while kept > MOST_REPLAYED and (oldest := self._oldest_sound()) is not None:
            kept -= self._unanswered[oldest][0]
            del self._unanswered[oldest]
        await self._send(socket, message)

    def _oldest_sound(self) -> int | None:
        return next((at for at, (seconds, _) in enumerate(self._unanswered) if seconds), None)

    def _message(self, message: aiohttp.WSMessage, *, resumed: bool = False) -> ServerMessage:
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
            raise self._closed(code, str(message.extra or "") if code is not None else "", resumed=resumed)
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return decode_message(message.data)
        raise self._vendor.broke_protocol("a message is not of the known form")

    def _closed(self, code: int | None, reason: str, *, resumed: bool) -> Exception:
        told = f"{reason.strip().rstrip('.') or 'it gave no reason'} (close code {code})."
        status = _status_of(code, reason)
        if status is None or resumed:
            # A handle that is refused is not tried again.
            how = f"closed the session: {told}" if code is not None else "cut off the session."
            return SessionLost(ProviderUnavailable(f"{self._vendor.title} {how}"))
        return self._vendor.failure(Fault(told), status=status)

    def _take(self, message: ServerMessage) -> None:
        self._began = True
        if message.usage_metadata is not None:
            self._turns.usage = usage_of(message.usage_metadata)
        answered = self._turns.answering
        began = False
        if message.server_content is not None:
            began = self._turns.take(message.server_content)
        if message.tool_call is not None:
            began |= self._turns.call(message.tool_call.function_calls or ())
        if began or (message.server_content is not None and message.server_content.turn_complete and not answered):
            self._unanswered.clear()
            self._asked = False
        if message.tool_call_cancellation is not None:
            self._turns.uncall(message.tool_call_cancellation.ids or ())
        if (update := message.session_resumption_update) is not None and update.resumable and update.new_handle:
            self._handle = update.new_handle
        if message.go_away is not None:
            self._leave("the vendor's connection reached its limit", _seconds(message.go_away.time_left))


def _status_of(code: int | None, reason: str) -> int | None:
    """The HTTP status that says the same as a close; None for one that is worth another session."""
    words = reason.lower()
    if "api key" in words or "denied access" in words:
        return 401
    if "quota" in words or "resource has been exhausted" in words:
        return 429
    if code in _PASSES:
        return None
    return 404 if "not found" in words else 400


def _seconds(told: str | None) -> float:
    try:
        return float((told or "").removesuffix("s"))
    except ValueError:
        return 0.0
