"""One conversation with OpenAI, over as many sessions as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
import msgspec

import plugins.realtime.providers.openai_events as wire
import plugins.vendors.openai_realtime as line
from engine.api import (
    REALTIME_RATE,
    EngineError,
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
)
from engine.wire.trace import trace_headers
from plugins.realtime.providers.openai_faults import Faults, Lost
from plugins.realtime.providers.openai_listener import Listener
from plugins.vendors.failures import Vendor
from plugins.vendors.transport import connecting


class Conversation:
    """Tells the vendor what comes in; only the tasks of its present session touch it."""

    def __init__(
        self,
        request: RealtimeRequest,
        intake: AsyncIterator[RealtimeInput],
        stage: RealtimeStage,
        vendor: Vendor,
        silence: float,
    ) -> None:
        self._request = request
        self._intake = intake
        self._stage = stage
        self._vendor = vendor
        self._silence = silence
        self._faults = Faults(vendor)
        self._listener = Listener(request, stage, self._faults)
        self._memory, self._tape = self._listener.memory, self._listener.tape
        self._answers = self._listener.answers
        self._reading: asyncio.Future[RealtimeInput | None] | None = None
        self._lived = False
        self._open = False
        self.begun = False

    async def session(self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        """Go on in a session of its own until the intake ends; raises `Lost` where another is to follow."""
        self._lived = self._open = False
        with connecting(self._vendor):
            socket = await http.ws_connect(
                url,
                params={"model": self._request.model},
                headers={**headers, **trace_headers()},
                max_msg_size=1 << 24,
                heartbeat=20.0,
            )
        try:
            await self._begin(socket)
            await self._talk(socket)
        except (aiohttp.ClientError, ConnectionError):
            raise self._lost(self._faults.closed(socket, None)) from None
        finally:
            await socket.close()

    def seam(self, error: EngineError) -> None:
        """A session was lost: the answer that it was giving broke off, and is asked for again."""
        detail = f"{error.message} A new session goes on."
        if self._tape.lost:
            detail += f" {self._tape.lost / 2 / REALTIME_RATE:.1f} s of speech were too old to be told again."
            self._tape.lost = 0
        if self._answers.lose(line.event("response.create")):
            self._stage.answered(error=error)
        self._stage.seam(detail)

    async def close(self) -> None:
        """Wait for no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _lost(self, error: EngineError) -> Exception:
        """What is raised for the end of a session: once there was one, what passes is worth another."""
        return Lost(error, lived=self._lived) if self.begun and error.retryable else error

    # A session

    async def _begin(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self._until(socket, "session.created")
        await socket.send_str(line.event("session.update", session=wire.session(self._request)))
        await self._until(socket, "session.updated")
        self.begun = self._open = True
        for until in self._listener.commits:
            # The turn was over, but the vendor had not said that it took it.
            self._memory.keep(wire.spoken(self._tape.cut(until)))
            if self._request.turn_detection.answer:
                self._answers.owe(line.event("response.create"))
        self._listener.commits.clear()
        for item in self._memory.items():
            await socket.send_str(line.event("conversation.item.create", item=item))
        for pcm in self._tape.rewind():
            await socket.send_str(line.audio(pcm))
        await self._create(socket)

    async def _until(self, socket: aiohttp.ClientWebSocketResponse, type: str) -> None:
        while (told := await self._receive(socket)).type != type:
            if told.type == "error":
                raise self._faults.failure(told.error)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> line.Told:
        while True:
            try:
                received = await socket.receive(self._silence)
                break
            except TimeoutError:
                if not self._open or self._answers.awaited or self._answers.running:
                    raise self._lost(self._faults.silent(self._silence)) from None
        if received.type is not aiohttp.WSMsgType.TEXT:
            raise self._lost(self._faults.closed(socket, received))
        try:
            return line.decode(received.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._faults.malformed("an event") from None

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        feeding = asyncio.create_task(self._feed(socket), name=f"speech of {self._stage.stream.id}")
        hearing = asyncio.create_task(self._hear(socket), name=f"events of {self._stage.stream.id}")
        try:
            await asyncio.wait((feeding, hearing), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                # Why the session ended is told by whoever read its end, not by whoever wrote into it.
                hearing.result()
            if not feeding.result():
                await hearing
        finally:
            feeding.cancel()
            hearing.cancel()
            await asyncio.gather(feeding, hearing, return_exceptions=True)

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            told = await self._receive(socket)
            self._lived = True
            self._listener.take(told)
            if told.type == "response.done":
                await self._create(socket)

    async def _feed(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Send what comes; true once the intake is over, false where the session ended first."""
        while True:
            if self._reading is None:
                self._reading = asyncio.ensure_future(anext(self._intake, None))
            # A session that is lost meanwhile must not take what comes with it.
            await asyncio.wait((self._reading,))
            item, self._reading = self._reading.result(), None
            if item is None:
                return True
            try:
                await self._send(socket, item)
            except (aiohttp.ClientError, ConnectionError, RuntimeError):
                return False

    # What the vendor is told

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, item: RealtimeInput) -> None:
        """Everything is remembered before it is sent, so that a session which ends between the two costs nothing."""
        match item:
            case RealtimeAudio(pcm):
                self._tape.add(pcm, manual=self._request.turn_detection.type == "manual")
                await socket.send_str(line.audio(pcm))
            case RealtimeText(text, role):
                self._memory.keep(said := wire.message(role, text))
                await socket.send_str(line.event("conversation.item.create", item=said))
            case RealtimeCommit():
                self._listener.commits.append(self._tape.end)
                if self._request.turn_detection.answer:
                    self._answers.owe(line.event("response.create"), anew=True)
                await socket.send_str(line.event("input_audio_buffer.commit"))
                await self._create(socket)
            case RealtimeClear():
                self._tape.clear()
                await socket.send_str(line.event("input_audio_buffer.clear"))
            case RealtimeAnswer(instructions):
                response = {"response": {"instructions": instructions}} if instructions else {}
                self._answers.owe(line.event("response.create", **response), anew=True)
                await self._create(socket)
            case RealtimeInterrupt(heard, text):
                await self._interrupt(socket, heard, text)
            case RealtimeToolResult(call_id, output):
                await self._tool_result(socket, call_id, output)
            case RealtimeUpdate(request):
                # A voice that has spoken cannot be changed, so it is named only where it is to.
                other, bound = request.voice != self._request.voice, self._request.max_output_tokens is not None
                self._request = self._listener.request = request
                session = wire.session(request, voice=other, bound=bound)
                await socket.send_str(line.event("session.update", session=session))

    async def _create(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        if (owed := self._answers.ask()) is not None:
            await socket.send_str(owed)

    async def _tool_result(self, socket: aiohttp.ClientWebSocketResponse, call_id: str, output: str) -> None:
        said = {"type": "function_call_output", "call_id": call_id, "output": output}
        self._memory.keep(said)
        calls = self._listener.calls
        calls.discard(call_id)
        # Whoever speaks is answered when they have finished, and with the result.
        if not calls and not (self._tape.talking and self._request.turn_detection.answer):
            self._answers.owe(line.event("response.create"))
        await socket.send_str(line.event("conversation.item.create", item=said))
        await self._create(socket)

    async def _interrupt(self, socket: aiohttp.ClientWebSocketResponse, heard: int, text: str) -> None:
        self._answers.owed = None
        if (answer := self._answers.present) is None:
            self._answers.awaited = False
            return
        for item_id, said in answer.interrupt(text):
            self._memory.keep(wire.message("assistant", said), item_id)
        if answer.running:
            await socket.send_str(line.event("response.cancel"))
        for item_id, end in answer.ends(heard):
            await socket.send_str(
                line.event("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end)
            )
