"""One conversation with OpenAI, over as many sessions as it takes."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec

import plugins.realtime.providers.openai_events as wire
from engine.api import (
    REALTIME_RATE,
    EngineError,
    ProviderError,
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
    StatusChanged,
)
from engine.wire.trace import trace_headers
from plugins.realtime.providers.openai_answer import Answer
from plugins.realtime.providers.openai_memory import Memory, Tape
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, clean
from plugins.vendors.transport import connecting

# With these codes a session ends that is worth another.
_PASSES = frozenset({1000, 1001, 1006, 1011, 1012, 1013, None})
_EXPIRED = "session_expired"
_ACTIVE = "conversation_already_has_active_response"
# Two ends of a line see an answer end at different moments.
_CROSSED = frozenset({"response_cancel_not_active", _ACTIVE})
_FATAL = frozenset({"invalid_api_key", "insufficient_quota", "invalid_model", "model_not_found"})


class Lost(Exception):
    """A session that is worth another; `lived` says whether it had told anything."""

    def __init__(self, error: EngineError, *, lived: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.lived = lived


class Conversation:
    """What was said and what is due; only the tasks of its present session touch it."""

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
        self._memory = Memory(request.past)
        self._tape = Tape()
        self._reading: asyncio.Future[RealtimeInput | None] | None = None
        self._commits: deque[int] = deque()
        self._words: dict[str, str] = {}
        self._answer: Answer | None = None
        self._calls: set[str] = set()
        self._owed: str | None = None
        self._awaited = False
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
            raise self._closed(socket, None) from None
        finally:
            await socket.close()

    def seam(self, error: EngineError) -> None:
        """A session was lost: the answer that it was giving broke off, and is asked for again."""
        detail = f"{error.message} A new session goes on."
        if self._tape.lost:
            detail += f" {self._tape.lost / 2 / REALTIME_RATE:.1f} s of speech were too old to be told again."
            self._tape.lost = 0
        if self._answer is not None and self._answer.running:
            self._stage.answered(error=error)
            if not self._answer.stopped:
                self._awaited = True
            self._answer = None
        if self._awaited and self._owed is None:
            self._owed = wire.event("response.create")
        self._stage.seam(detail)

    async def close(self) -> None:
        """Wait for no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    # A session

    async def _begin(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self._until(socket, "session.created")
        await socket.send_str(wire.event("session.update", session=wire.session(self._request)))
        await self._until(socket, "session.updated")
        self.begun = self._open = True
        for until in self._commits:
            # The turn was over, but the vendor had not said that it took it.
            self._memory.keep(wire.spoken(self._tape.cut(until)))
            if self._request.turn_detection.answer:
                self._owed = self._owed or wire.event("response.create")
        self._commits.clear()
        for item in self._memory.items():
            await socket.send_str(wire.event("conversation.item.create", item=item))
        for pcm in self._tape.rewind():
            await socket.send_str(wire.audio(pcm))
        await self._create(socket)

    async def _until(self, socket: aiohttp.ClientWebSocketResponse, type: str) -> None:
        while (told := await self._receive(socket)).type != type:
            if told.type == "error":
                raise self._failure(told.error)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> wire.Told:
        while True:
            try:
                received = await socket.receive(self._silence)
                break
            except TimeoutError:
                if self._due:
                    raise self._silent() from None
        if received.type is not aiohttp.WSMsgType.TEXT:
            raise self._closed(socket, received)
        try:
            return wire.decode(received.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._vendor.broke_protocol("an event is not of the known form") from None

    @property
    def _due(self) -> bool:
        """Whether the vendor is to say something."""
        return not self._open or self._awaited or (self._answer is not None and self._answer.running)

    def _silent(self) -> Exception:
        error = ProviderTimeout(f"{self._vendor.title} said nothing for {self._silence:g} s.")
        return Lost(error, lived=self._lived) if self.begun else error

    def _closed(self, socket: aiohttp.ClientWebSocketResponse, last: aiohttp.WSMessage | None) -> Exception:
        closing = last is not None and last.type is aiohttp.WSMsgType.CLOSE
        code = last.data if closing and last is not None else socket.close_code
        reason = clean(str(last.extra), self._vendor.secret) if closing and last is not None and last.extra else ""
        told = f"{self._vendor.title} closed the session with code {code}{f': {reason}' if reason else ''}."
        if code not in _PASSES:
            return ProviderError(told)
        return Lost(ProviderUnavailable(told), lived=self._lived) if self.begun else ProviderUnavailable(told)

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

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, item: RealtimeInput) -> None:
        """Everything is remembered before it is sent, so that a session which ends between the two costs nothing."""
        turns = self._request.turn_detection
        match item:
            case RealtimeAudio(pcm):
                self._tape.add(pcm, manual=turns.type == "manual")
                await socket.send_str(wire.audio(pcm))
            case RealtimeText(text, role):
                self._memory.keep(said := wire.message(role, text))
                await socket.send_str(wire.event("conversation.item.create", item=said))
            case RealtimeCommit():
                self._commits.append(self._tape.end)
                if turns.answer:
                    self._owed = wire.event("response.create")
                await socket.send_str(wire.event("input_audio_buffer.commit"))
                await self._create(socket)
            case RealtimeClear():
                self._tape.clear()
                await socket.send_str(wire.event("input_audio_buffer.clear"))
            case RealtimeAnswer(instructions):
                response = {"response": {"instructions": instructions}} if instructions else {}
                self._owed = wire.event("response.create", **response)
                await self._create(socket)
            case RealtimeInterrupt(heard, text):
                await self._interrupt(socket, heard, text)
            case RealtimeToolResult(call_id, output):
                said = {"type": "function_call_output", "call_id": call_id, "output": output}
                self._memory.keep(said)
                self._calls.discard(call_id)
                # Whoever speaks is answered when they have finished, and with the result.
                if not self._calls and not (self._tape.talking and turns.answer):
                    self._owed = self._owed or wire.event("response.create")
                await socket.send_str(wire.event("conversation.item.create", item=said))
                await self._create(socket)
            case RealtimeUpdate(request):
                # A voice that has spoken cannot be changed, so it is named only where it is to.
                other = request.voice != self._request.voice
                self._request = request
                await socket.send_str(wire.event("session.update", session=wire.session(request, voice=other)))

    async def _create(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ask for the answer that is owed, unless one is still being given."""
        if self._owed is not None and (self._answer is None or not self._answer.running):
            self._awaited = True
            owed, self._owed = self._owed, None
            await socket.send_str(owed)

    async def _interrupt(self, socket: aiohttp.ClientWebSocketResponse, heard: int, text: str) -> None:
        self._owed = None
        if (answer := self._answer) is None:
            self._awaited = False
            return
        for item_id, said in answer.interrupt(text):
            self._memory.keep(wire.message("assistant", said), item_id)
        if answer.running:
            await socket.send_str(wire.event("response.cancel"))
        for item_id, end in answer.ends(heard):
            await socket.send_str(
                wire.event("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end)
            )

    # What the vendor tells

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            told = await self._receive(socket)
            self._lived = True
            try:
                await self._told(socket, told)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise self._vendor.broke_protocol(f"its event {clean(told.type)} is not of the known form") from None

    async def _told(self, socket: aiohttp.ClientWebSocketResponse, told: wire.Told) -> None:
        stage, answer = self._stage, self._answer
        match told.type:
            case "response.output_audio.delta":
                if answer is not None and not answer.stopped:
                    pcm = b64decode(told.delta)
                    answer.sound(told.item_id, len(pcm))
                    stage.sound(pcm, REALTIME_RATE)
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                if answer is not None and not answer.stopped:
                    self._memory.keep(wire.message("assistant", answer.words(told.item_id, told.delta)), told.item_id)
                    stage.text(told.delta)
            case "input_audio_buffer.speech_started":
                self._tape.talking = True
                stage.speech_began(told.audio_start_ms)
            case "input_audio_buffer.speech_stopped":
                self._tape.talking = False
                if told.audio_end_ms is not None:
                    self._commits.append(told.audio_end_ms)
                stage.speech_ended(told.audio_end_ms)
            case "input_audio_buffer.committed":
                until = self._commits.popleft() if self._commits else self._tape.end
                self._memory.unheard(told.item_id, self._tape.cut(until))
                turns = self._request.turn_detection
                self._awaited = self._awaited or (turns.answer and turns.type != "manual")
            case "conversation.item.input_audio_transcription.delta":
                self._words[told.item_id] = words = self._words.get(told.item_id, "") + told.delta
                stage.heard(words, final=False)
            case "conversation.item.input_audio_transcription.completed":
                self._words.pop(told.item_id, None)
                self._memory.heard(told.item_id, told.transcript)
                stage.heard(told.transcript, final=True)
            case "conversation.item.input_audio_transcription.failed":
                self._words.pop(told.item_id, None)
                self._show(told.error)
            case "response.created":
                self._awaited = False
                self._answer = Answer()
                stage.answering()
            case "response.output_item.done":
                if told.item.get("type") == "function_call":
                    call = wire.tool_call(told.item)
                    kept = {"type": "function_call", "call_id": call.call_id, "name": call.name}
                    self._memory.keep({**kept, "arguments": call.arguments}, told.item.get("id"))
                    self._calls.add(call.call_id)
                    stage.tool_call(call)
            case "response.done":
                if answer is not None:
                    answer.running = False
                stage.answered(usage=wire.usage(told.response.get("usage")), error=self._broken(told.response))
                await self._create(socket)
            case "error":
                self._error(told.error)

    def _broken(self, response: Mapping[str, Any]) -> EngineError | None:
        details: Mapping[str, Any] = response.get("status_details") or {}
        if response["status"] == "incomplete":
            self._stage.show(StatusChanged(stage="answer_cut", detail=f"the model stopped: {details.get('reason')}"))
        return self._failure(details.get("error") or {}) if response["status"] == "failed" else None

    def _error(self, error: Mapping[str, Any]) -> None:
        code = error.get("code")
        if code == _EXPIRED:
            raise Lost(ProviderUnavailable(self._words_of(error)), lived=self._lived)
        if code in _FATAL:
            raise self._failure(error)
        if code == _ACTIVE:
            self._owed = self._owed or wire.event("response.create")
        if code not in _CROSSED:
            self._awaited = False
            self._show(error)

    def _show(self, error: Mapping[str, Any]) -> None:
        self._stage.show(StatusChanged(stage="vendor_error", detail=self._words_of(error)))

    def _words_of(self, error: Mapping[str, Any]) -> str:
        told = clean(str(error.get("message") or "it gave no reason"), self._vendor.secret)
        return f"{self._vendor.title}: {told}" + (f" ({clean(str(error['code']))})" if error.get("code") else "")

    def _failure(self, error: Mapping[str, Any]) -> EngineError:
        names = {name: str(error.get(name) or "") for name in ("message", "code", "param")}
        fault = Fault(names["message"], names["code"], str(error.get("type") or ""), names["param"] or None)
        return self._vendor.failure(fault)
