"""One conversation with Gemini Live, over as many sessions as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp

import plugins.realtime.providers.google_setup as say
import plugins.vendors.google_live as live
from engine.api import (
    ProviderTimeout,
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
    StatusChanged,
)
from plugins.realtime.providers.google_interpreting import Interpreting, interprets
from plugins.realtime.providers.google_line import GoogleLine, GoogleLines, SessionLost
from plugins.realtime.providers.google_messages import ServerMessage, usage_of
from plugins.realtime.providers.google_telling import Telling
from plugins.realtime.providers.google_turns import GoogleTurns

RECONNECTS = 3
"""Times in a row that a session is made anew without a word from it."""

MARGIN = 1.5
"""Seconds before the end that Google announced at which even an answer in progress is left."""

LAST_WORD = 2.0
"""Seconds that an answer may take to begin, or to go on, after the call was finished."""


class _Leave(Exception):
    """The session is to be left for another; the message says why."""


class GoogleConversation:
    """Tells Google what comes in and the stage what Google says."""

    def __init__(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage, lines: GoogleLines
    ) -> None:
        self._intake = intake
        self._stage = stage
        self._lines = lines
        turns = Interpreting if interprets(request.model) else GoogleTurns
        self._turns = turns(stage, request.past, audible="audio" in request.modalities)
        self._telling = Telling(request, self._turns)
        self._handle: str | None = None
        self._leave_at: float | None = None
        self._reason = ""
        self._reading: asyncio.Future[RealtimeInput | None] | None = None
        self._over = False
        self._heard_at = 0.0
        """When the last message came."""
        self._due_since: float | None = None
        """From when on a word is due."""
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
                    self._seam(str(leave))
                except SessionLost as error:
                    lost = 0 if self._began else lost + 1
                    # The start is tried again by whoever asked for it.
                    if not self._started or lost > RECONNECTS:
                        raise error.error from None
                    self._turns.lose(self._lines.vendor.cut_off())
                    self._seam(error.error.message)
                    await asyncio.sleep(0.2 * lost)
        finally:
            if self._reading is not None:
                self._reading.cancel()
                await asyncio.gather(self._reading, return_exceptions=True)

    async def _session(self) -> None:
        loop = asyncio.get_running_loop()
        self._began, self._leave_at, self._due_since = False, None, None
        async with self._open() as line:
            # What was heard and not answered is told again, and heard again.
            self._turns.unhear()
            await self._send(line, self._telling.unanswered)
            receiving, self._heard_at = line.receive(), loop.time()
            try:
                while not (self._over and not self._owes()):
                    await self._wait(receiving, loop)
                    if receiving.done():
                        self._take(line.read(receiving.result()))
                        receiving, self._heard_at = line.receive(), loop.time()
                    elif self._said_last(loop.time()):
                        self._pause()
                        return
                    if self._reading is not None and self._reading.done():
                        told, self._reading = self._reading.result(), None
                        await self._tell(line, told)
                    self._leave_if_due(loop.time())
                    self._look_for_silence(loop.time())
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)

    async def _wait(self, receiving: asyncio.Future[aiohttp.WSMessage], loop: asyncio.AbstractEventLoop) -> None:
        waiting: set[asyncio.Future[object]] = {receiving}  # type: ignore[arg-type]
        if not self._over:
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._intake, None))
            waiting.add(self._reading)  # type: ignore[arg-type]
        now = loop.time()
        bounds = [max(0.0, self._heard_at + LAST_WORD - now)] if self._over else []
        if self._leave_at is not None and self._leave_at < float("inf"):
            bounds.append(max(0.0, self._leave_at - now))
        if (silence := self._silence) is not None:
            bounds.append(max(0.0, self._quiet_since + silence - now))
        await asyncio.wait(waiting, timeout=min(bounds, default=None), return_when=asyncio.FIRST_COMPLETED)

    @property
    def _silence(self) -> float | None:
        """Seconds without a word after which something is to happen; None where no word is due."""
        if self._turns.pause is not None and self._turns.answering:
            return self._turns.pause
        due = self._telling.asked or (self._turns.answering and not self._turns.calling)
        return self._lines.silence if due else None

    @property
    def _quiet_since(self) -> float:
        return max(self._heard_at, self._due_since or 0.0)

    def _look_for_silence(self, now: float) -> None:
        silence = self._silence
        if silence is None:
            self._due_since = None
            return
        self._due_since = self._due_since or now
        if now < self._quiet_since + silence:
            return
        if self._turns.pause is None:
            title = self._lines.vendor.title
            raise SessionLost(ProviderTimeout(f"{title} said nothing for {silence:g} s"))
        self._pause()

    def _pause(self) -> None:
        if self._turns.pause is not None and self._turns.answering:
            self._turns.end()

    def _seam(self, detail: str) -> None:
        if lost := self._telling.unanswered.lost:
            detail += f" {lost:.1f} s of speech were too old to be told again."
            self._telling.unanswered.lost = 0.0
        self._stage.seam(detail)

    def _said_last(self, now: float) -> bool:
        return self._over and self._leave_at is None and now >= self._heard_at + LAST_WORD

    def _owes(self) -> bool:
        return self._turns.waiting or self._telling.asked or bool(self._telling.unanswered)

    def _leave_if_due(self, now: float) -> None:
        busy = self._turns.waiting or self._telling.asked or self._turns.calling
        if self._leave_at is None or (busy and now < self._leave_at):
            return
        self._turns.lose(self._lines.vendor.cut_off())
        raise _Leave(self._reason)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[GoogleLine]:
        """A session that is set up and knows what was said before."""
        past, request = list(self._turns.past), self._telling.request
        async with self._lines.open() as line:
            handle, self._handle = self._handle, None
            await line.begin(say.setup(request, past, handle), resumed=handle is not None)
            # Only a handle that was taken is good for another try.
            self._handle, self._started = handle, True
            if handle is None and (told := say.history(request, past)) is not None:
                await line.send(told)
            yield line

    @staticmethod
    async def _send(line: GoogleLine, messages: Iterable[say.Message]) -> None:
        # All are kept before any is sent, so that a session which ends between two costs nothing.
        for message in list(messages):
            await line.send(message)

    async def _tell(self, line: GoogleLine, told: RealtimeInput | None) -> None:
        telling = self._telling
        match told:
            case RealtimeAudio(pcm):
                await self._send(line, telling.audio(pcm))
            case RealtimeText() if interprets(telling.request.model):
                self._stage.show(
                    StatusChanged(stage="not_taken", detail="this model interprets speech, and reads nothing")
                )
            case RealtimeText(text, role):
                telling.write(text, role)
            case RealtimeAnswer(instructions):
                await self._send(line, telling.answer(instructions))
            case RealtimeCommit():
                await self._send(line, telling.commit())
            case RealtimeClear():
                if telling.clear():
                    # Google forgets nothing that it was told, so that a session goes on which was not.
                    self._leave("what was spoken is forgotten", None if self._turns.answering else 0.0)
            case RealtimeInterrupt(text=heard):
                self._turns.mute(heard)
            case RealtimeToolResult(call_id, output, error):
                if (name := self._turns.called(call_id)) is not None:
                    await line.send(say.tool_response(call_id, name, output, error=error))
            case RealtimeUpdate(request):
                self._update(request)
            case None:
                self._over, self._heard_at = True, asyncio.get_running_loop().time()
                await self._send(line, telling.over())

    def _update(self, request: RealtimeRequest) -> None:
        before, self._telling.request = say.setup(self._telling.request, (), None), request
        if say.setup(request, (), None) != before:
            self._leave("the conversation goes on in another way")

    def _leave(self, reason: str, seconds: float | None = None) -> None:
        """Leave the session between two answers, or in `seconds` where it is closed then."""
        at = float("inf") if seconds is None else asyncio.get_running_loop().time() + max(0.0, seconds - MARGIN)
        self._leave_at = at if self._leave_at is None else min(at, self._leave_at)
        self._reason = reason

    def _take(self, message: ServerMessage) -> None:
        self._began = True
        if message.usage_metadata is not None:
            self._turns.usage = usage_of(message.usage_metadata)
        answered = self._turns.answering
        began = False
        if message.server_content is not None:
            began = self._turns.take(message.server_content)
            if self._turns.pause is not None and message.server_content.model_turn is not None:
                self._telling.interpreted()
        if message.tool_call is not None:
            began |= self._turns.call(message.tool_call.function_calls or ())
        if began or (message.server_content is not None and message.server_content.turn_complete and not answered):
            self._telling.answered()
        if message.tool_call_cancellation is not None:
            self._turns.uncall(message.tool_call_cancellation.ids or ())
        if (update := message.session_resumption_update) is not None and update.resumable and update.new_handle:
            self._handle = update.new_handle
        if message.go_away is not None:
            self._leave("the vendor's connection reached its limit", live.seconds(message.go_away.time_left))
