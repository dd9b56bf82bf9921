"""One call: what the client sends goes to the model; what it tells becomes turns, words, and sound at the speed of play."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from msgspec import structs

from engine.api import (
    REALTIME_RATE,
    AssistantEnded,
    AssistantStarted,
    Commands,
    Cost,
    EngineError,
    ErrorBody,
    Event,
    InvalidFrame,
    InvalidRequest,
    LaneWriter,
    MessageSaved,
    Overloaded,
    PlaybackClear,
    RealtimeAnswer,
    RealtimeAudio,
    RealtimeClear,
    RealtimeCommit,
    RealtimeInput,
    RealtimeInterrupt,
    RealtimeModel,
    RealtimeRequest,
    RealtimeToolResult,
    RealtimeUpdate,
    Status,
    StatusChanged,
    TextDelta,
    Tool,
    ToolCall,
    TranscriptFinal,
    TranscriptPartial,
    Usage,
    UserEnded,
    UserStarted,
    Writer,
)
from plugins.realtime.media_time import MediaTime
from plugins.realtime.playing import Answer, Player
from plugins.realtime.recording import Recorder, TurnSound
from plugins.realtime.settings import RealtimeSettings
from plugins.realtime.sound import Codec
from plugins.realtime.tools import CallTools
from plugins.realtime.turns import Act, Happening, Phase, Turns, advance
from plugins.vendors.codecs import Resampler

LANE = "speech"

LOOK = 1.0
"""Seconds from one look at whether anybody is there to the next."""

STOPPED = 2.0
"""Seconds without a frame in mid-speech after which silence stands for those that do not come: else no turn would end."""


class Outcome(msgspec.Struct):
    """How an answer came out, as its provider told, until it has been played."""

    status: Status = "completed"
    usage: Usage | None = None
    cost: Cost | None = None
    conversation: str | None = None
    message: str | None = None
    answered_by: str | None = None
    error: ErrorBody | None = None


class RealtimeCall:
    """Implements `engine.api.RealtimeStage`, and serves the stream of one `realtime.start`."""

    def __init__(
        self,
        model: RealtimeModel,
        request: RealtimeRequest,
        settings: RealtimeSettings,
        commands: Commands,
        tools: Mapping[str, Tool],
        *,
        rate: int,
        codec: Codec,
        recorder: Recorder,
    ) -> None:
        self._model = model
        self._request = request
        self._settings = settings
        self._commands = commands
        self._calls = CallTools(tools, self._put)
        self._rate = rate
        self._codec = codec
        self._recorder = recorder
        self._driven = not getattr(model.target.provider, "answers_by_itself", True)
        """Whether the provider waits to be told when to answer, and can go on with an answer that was held."""
        self.listens_only = bool(request.options.get("listen_only"))
        self.forgets = getattr(model.target.provider, "forgets", False) and not request.store
        self._sounds = "audio" in request.modalities
        hears: int = getattr(model.target.provider, "rate", REALTIME_RATE)
        self._hears = hears
        self._up = Resampler(rate, hears) if rate != hears else None
        self._media = MediaTime(rate)
        self._inputs: deque[RealtimeInput] = deque()
        self._waiting = 0
        self._came = asyncio.Event()
        self._finished = False
        self._last = 0
        self._unacknowledged = 0
        self._touched = self._frame_at = asyncio.get_running_loop().time()
        self._turns = Turns(interrupt=self._interruptible(request))
        self._turn = 0
        self._muted = True
        self._answer: Answer | None = None
        self._outcome = Outcome()
        self._confirm: asyncio.TimerHandle | None = None
        self._owed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._down: Resampler | None = None
        self._down_rate = rate
        self._lane: LaneWriter | None = None
        self._player: Player | None = None
        self._stream: Writer | None = None
        self._said_last = ""
        self._heard: tuple[int, str] = 0, ""
        self._full = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._keeping = asyncio.Lock()
        self._kept: set[asyncio.Task[None]] = set()
        """Turns that are being written down; the call waits for them."""
        self._saving: asyncio.Future[MessageSaved | None] | None = None
        """Where an answer is kept that was stopped before its provider could say; a turn's sound waits for it."""

    # What the client sends

    def take(self, n: int, payload: bytes, at: int) -> int | None:
        """One frame of the client's audio; gives the count to acknowledge, from time to time."""
        if self._finished:
            raise InvalidFrame("this call is over; no more of its audio is taken")
        self._codec.check(payload)
        if n <= self._last:
            return self._last
        if n != self._last + 1 and self._last:
            raise InvalidFrame(f"after frame {self._last} comes {self._last + 1}, not {n}: send what is missing first")
        pcm = self._codec.decode(payload)
        if self._waiting + len(pcm) > self._settings.backlog * self._rate * 2:
            raise Overloaded("the model has not come so far yet; send this frame again", retry_after=0.5)
        self._last = n
        self._frame_at = asyncio.get_running_loop().time()
        self._media.took(len(pcm) // 2, at)
        self._touched = asyncio.get_running_loop().time()
        self._waiting += len(pcm)
        self._recorder.hear(pcm, manual=self._request.turn_detection.type == "manual")
        self._put(RealtimeAudio(pcm))
        self._unacknowledged += len(pcm)
        if self._unacknowledged < self._rate * 2 // 5:
            return None
        self._unacknowledged = 0
        return n

    def tell(self, item: RealtimeInput) -> None:
        """Something that the client says beside its audio."""
        self._touched = asyncio.get_running_loop().time()
        if isinstance(item, RealtimeClear):
            self._recorder.no_speech()
        self._put(item)

    def tool_answered(self, result: RealtimeToolResult) -> None:
        """What a tool of the client's says; raises `ToolCallNotFound` where nobody waits for it."""
        self._calls.answered(result.call_id)
        self.tell(result)

    def interrupt(self) -> None:
        """The client wants no more of the answer."""
        self._touched = asyncio.get_running_loop().time()
        if self._stream is not None:
            self._happened(Happening.STOPPED)

    def played(self, at: int) -> None:
        """The client has played up to this media time."""
        if self._player is not None:
            self._player.played(at)

    @property
    def request(self) -> RealtimeRequest:
        """What the model was asked last."""
        return self._request

    def change(self, **changes: Any) -> None:
        """Go on with other settings; raises what the model has against them, and then nothing changes."""
        request = structs.replace(self._request, **changes)
        if self._sounds < ("audio" in request.modalities):
            raise InvalidRequest("a call that began in writing alone has no sound", field="modalities")
        self._model.check(request)
        self._request = request
        self._turns = structs.replace(self._turns, interrupt=self._interruptible(request))
        self.tell(RealtimeUpdate(self._request))

    def _interruptible(self, request: RealtimeRequest) -> bool:
        may = getattr(self._model.target.provider, "interruptible", None)
        return request.turn_detection.interrupt and (may is None or may(request))

    def finish(self) -> int:
        """The client hangs up; gives the last count of a frame that was taken."""
        self._finished = True
        self._came.set()
        self._quiet.set()
        return self._last

    def _put(self, item: RealtimeInput) -> None:
        self._inputs.append(item)
        self._came.set()

    async def _intake(self) -> AsyncIterator[RealtimeInput]:
        while True:
            while self._inputs:
                item = self._inputs.popleft()
                if isinstance(item, RealtimeAudio):
                    self._waiting -= len(item.pcm)
                    if self._up is not None:
                        item = RealtimeAudio(self._up.feed(item.pcm))
                        if not item.pcm:
                            continue
                elif isinstance(item, RealtimeCommit) and self._up is not None:
                    # The last of what was spoken belongs to this turn, and not to the next.
                    if rest := self._up.feed(b"", last=True):
                        yield RealtimeAudio(rest)
                    self._up = Resampler(self._rate, self._hears)
                elif isinstance(item, RealtimeAnswer):
                    self._happened(Happening.ASKED)
                yield item
            if self._finished:
                return
            self._came.clear()
            await self._came.wait()

    # The call

    async def serve(self, stream: Writer) -> None:
        """Hold the call; it ends when the client hangs up, when the vendor does, and when nobody is there any more."""
        self._stream = stream
        async with AsyncExitStack() as lanes:
            if self._sounds:
                self._lane = await lanes.enter_async_context(
                    stream.lane(LANE, format=self._codec.name, rate=self._rate)
                )
                self._player = Player(
                    self._rate,
                    send=self._send,
                    began=lambda: self._happened(Happening.ANSWER_BEGAN),
                    over=lambda: self._happened(Happening.ANSWER_OVER),
                    listened=lambda: stream.watched,
                )
                self._own(self._player.run(), "playing")
            self._own(self._look(), "looking who is there")
            try:
                await self._model.converse(self._request, self._intake(), self)
                await self._played_out()
            finally:
                if self._confirm is not None:
                    self._confirm.cancel()
                for task in self._tasks:
                    task.cancel()
                self._saved(None)
                await self._calls.close()
                await asyncio.gather(*self._tasks, *self._kept, return_exceptions=True)

    async def _played_out(self) -> None:
        """A call that its client ended is over at once; of one that the vendor ended the last words are heard."""
        await self._quiet.wait()

    async def _look(self) -> None:
        """Hang up where nobody is there."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while not self._finished:
            await asyncio.sleep(min(LOOK, self._settings.grace))
            now = loop.time()
            self._fill(now)
            if self.stream.watched:
                seen = now
            if now - seen >= self._settings.grace:
                self.stream.status("left", f"nobody came back within {self._settings.grace:g} s")
            elif now - self._touched >= self._settings.idle and self._turns.phase is Phase.IDLE:
                self.stream.status("idle", f"nothing was said for {self._settings.idle:g} s")
            else:
                continue
            self.finish()

    def _fill(self, now: float) -> None:
        """Let a person be silent whose frames have stopped."""
        manual = self._request.turn_detection.type == "manual"
        if self._turns.talking and not manual and now - self._frame_at >= STOPPED:
            samples = int(self._rate * LOOK)
            self._media.silent(samples)
            self._waiting += samples * 2
            self._put(RealtimeAudio(bytes(samples * 2)))

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"{name}, call {self.stream.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the provider tells

    @property
    def stream(self) -> Writer:
        assert self._stream is not None
        return self._stream

    def speech_began(self, at: int | None = None) -> None:
        if not self._turns.talking:
            self._turn += 1
        self._recorder.speech_began()
        self._happened(Happening.SPEECH_BEGAN, at)
        if self._turns.phase is Phase.INTERRUPTED:
            if not self._driven:
                self._happened(Happening.WORDS)
            elif self._confirm is None:
                # Speech counts as ended only after its silence.
                wait = self._settings.interrupt_after + self._request.turn_detection.silence_duration_ms / 1000
                self._confirm = asyncio.get_running_loop().call_later(wait, self._lasts)

    def _lasts(self) -> None:
        self._confirm = None
        if self._turns.talking:
            self._happened(Happening.WORDS)

    def speech_ended(self, at: int | None = None) -> None:
        if self._confirm is not None:
            self._confirm.cancel()
            self._confirm = None
        self._recorder.speech_ended()
        self._happened(Happening.SPEECH_ENDED, at)

    def heard(self, text: str, *, final: bool) -> None:
        if not final:
            if text.strip():
                self._happened(Happening.WORDS)
            self.stream.publish(TranscriptPartial(text=text))
            return
        if not text.strip():
            self._recorder.no_speech()
            self.stream.publish(StatusChanged(stage="no_words", detail="what came was no speech, or not understood"))
            self._happened(Happening.NO_WORDS)
            self._pay()
            return
        self._happened(Happening.WORDS)
        self._said_last = f"{self._said_last} {text}".strip()
        self.stream.publish(TranscriptFinal(text=text))
        self._owed = self._driven and self._request.turn_detection.answer and not self.listens_only
        self._pay()

    def _pay(self) -> None:
        """Have the answer made that is owed, unless the person goes on or an answer that may not be stopped does."""
        if self._owed and not self._turns.talking and self._turns.phase in (Phase.IDLE, Phase.THINKING):
            self._owed = False
            self.tell(RealtimeAnswer())

    def answering(self) -> None:
        self._recorder.answering()
        self._saved(None)
        self._muted = False
        self._outcome = Outcome()
        self._full = False
        self._down = None
        if self._player is not None:
            self._answer = self._player.begin()
        else:
            self._answer = Answer(self._rate)

    def text(self, text: str) -> None:
        if self._muted or self._answer is None:
            return
        self._answer.words.append(text)
        if self._player is None:
            self._happened(Happening.ANSWER_BEGAN)
        self.stream.publish(TextDelta(text))

    def sound(self, pcm: bytes, rate: int, text: str = "") -> None:
        if self._muted or self._player is None:
            return
        if rate != self._rate:
            if self._down is None or self._down_rate != rate:
                self._down, self._down_rate = Resampler(rate, self._rate), rate
            pcm = self._down.feed(pcm)
        if not self._player.add(pcm, text) and not self._full:
            self._full = True
            self.stream.status("audio_left_out", "the model speaks much faster than it can be played")

    async def room(self) -> None:
        if self._player is not None:
            await self._player.room()

    def tool_call(self, call: ToolCall) -> None:
        self._calls.called(call, self.stream)

    def tool_cancelled(self, call_id: str) -> None:
        self._calls.cancelled(call_id, self.stream)

    def show(self, event: Event) -> None:
        if isinstance(event, MessageSaved):
            self._saved(event)
        self.stream.publish(event)

    def _saved(self, event: MessageSaved | None) -> None:
        saving, self._saving = self._saving, None
        if saving is not None and not saving.done():
            saving.set_result(event)

    def seam(self, detail: str) -> None:
        self.stream.publish(StatusChanged(stage="reconnected", detail=detail))

    def answered(
        self,
        *,
        usage: Usage | None = None,
        cost: Cost | None = None,
        conversation: str | None = None,
        message: str | None = None,
        stream: str | None = None,
        error: EngineError | ErrorBody | None = None,
    ) -> None:
        if usage is not None and stream is None:
            cost = self._model.spend(usage, self.stream)
        if self._muted:
            return
        self._outcome = Outcome(
            "failed" if error is not None else "completed",
            usage,
            cost,
            conversation,
            message,
            stream,
            error.body() if isinstance(error, EngineError) else error,
        )
        if self._player is None:
            self._happened(Happening.ANSWER_OVER)
            return
        if self._down is not None and (rest := self._down.feed(b"", last=True)):
            self._player.add(rest, "")
        self._player.finish()

    # Turns

    def _happened(self, happening: Happening, at: int | None = None) -> None:
        self._turns, acts = advance(self._turns, happening)
        for act in acts:
            self._act(act, at)
        if self._turns.phase is not Phase.SPEAKING:
            self._quiet.set()
        elif not self._finished:
            self._quiet.clear()
        if happening is Happening.ANSWER_OVER:
            self._pay()

    def _act(self, act: Act, at: int | None) -> None:
        stream, player = self.stream, self._player
        match act:
            case Act.TELL_USER_STARTED:
                stream.publish(UserStarted(turn=self._turn, at=self._in_recording(at)))
            case Act.TELL_USER_ENDED:
                stream.publish(UserEnded(turn=self._turn, at=self._in_recording(at)))
            case Act.TELL_ASSISTANT_STARTED:
                stream.publish(AssistantStarted(turn=self._turn, at=player.media_ms if player is not None else 0))
            case Act.TELL_ASSISTANT_ENDED:
                self._tell_end()
            case Act.HOLD:
                if player is not None:
                    player.hold()
                    if self._answer is not None:
                        self._recorder.held(self._answer.next)
                    stream.publish(PlaybackClear(lane=LANE))
            case Act.RESUME:
                if player is not None:
                    player.resume()
            case Act.STOP_ANSWER:
                self._stop()

    def _in_recording(self, at: int | None) -> int | None:
        return None if at is None else self._media.of(at)

    def _stop(self) -> None:
        """The provider is told how much was heard, and what it still makes of the answer is not."""
        answer, player = self._answer, self._player
        heard = player.heard if player is not None else 0
        ms = answer.ms(heard) if answer is not None else 0
        text = answer.heard(heard) if answer is not None else ""
        if player is None and answer is not None:
            text = "".join(answer.words)
        self._outcome = structs.replace(self._outcome, status="cancelled")
        self._heard = ms, text
        self._muted = True
        if player is not None:
            player.drop()
        self._put(RealtimeInterrupt(ms, text))

    def _tell_end(self) -> None:
        outcome, answer = self._outcome, self._answer
        if outcome.status == "cancelled":
            heard, text = self._heard
        elif answer is not None:
            heard, text = answer.ms(answer.size), "".join(answer.words)
        else:
            heard, text = 0, ""
        self.stream.publish(
            AssistantEnded(
                turn=self._turn,
                status=outcome.status,
                heard=heard,
                text=text,
                conversation=outcome.conversation,
                message=outcome.message,
                usage=outcome.usage,
                cost=outcome.cost,
                answered_by=outcome.answered_by,
                error=outcome.error,
            )
        )
        if self._request.store:
            sound = self._recorder.take()
            if not self._driven:
                self._write_down(self._keep(self._said_last, text, outcome, sound))
            elif self._recorder.on:
                self._write_down(self._keep_sound(sound, self._place(outcome)))
        self._said_last, self._answer, self._outcome = "", None, Outcome()

    def _send(self, pcm: bytes, at: int) -> None:
        assert self._lane is not None
        self._recorder.sent(pcm)
        self._lane.audio(self._codec.encode(pcm), at=at)

    # Keeping, for vendors that do not

    def _write_down(self, work: Coroutine[Any, Any, None]) -> None:
        keeping = asyncio.create_task(work, name=f"keeping a turn of {self.stream.id}")
        self._kept.add(keeping)
        keeping.add_done_callback(self._kept.discard)

    def _place(self, outcome: Outcome) -> asyncio.Future[MessageSaved | None]:
        """Where the answer is kept: as its provider told, or will tell once it has cut it to what was heard."""
        place: asyncio.Future[MessageSaved | None] = asyncio.get_running_loop().create_future()
        self._saved(None)
        if outcome.conversation is not None and outcome.message is not None:
            place.set_result(MessageSaved(conversation=outcome.conversation, message=outcome.message))
        else:
            self._saving = place
        return place

    async def _keep_sound(self, sound: TurnSound, place: asyncio.Future[MessageSaved | None]) -> None:
        ids = await self._recorder.keep(self.stream, sound)
        saved = await place
        if saved is None or not ids:
            return
        notes = {"metadata": _noted(ids, "assistant"), "question": _noted(ids, "user")}
        body = {"conversation": saved.conversation, "message": saved.message, **notes}
        try:
            await self._commands.call(self.stream.principal, "chat.annotate", body)
        except EngineError as error:
            self.stream.status("not_saved", error.message)

    async def _keep(self, said: str, answered: str, outcome: Outcome, sound: TurnSound) -> None:
        ids = await self._recorder.keep(self.stream, sound)
        messages: list[dict[str, Any]] = []
        if said.strip():
            messages.append({"role": "user", "text": said, "metadata": _noted(ids, "user")})
        if answered.strip():
            told: dict[str, Any] = {"role": "assistant", "text": answered, "status": outcome.status}
            told["metadata"] = _noted(ids, "assistant")
            told["model"] = self._model.target.name
            if outcome.usage is not None:
                told["usage"] = msgspec.to_builtins(outcome.usage)
            if outcome.cost is not None:
                told["cost"] = msgspec.to_builtins(outcome.cost)
            messages.append(told)
        if not messages:
            return
        try:
            async with self._keeping:
                body: dict[str, Any] = {"messages": messages}
                if self._request.conversation is not None:
                    body["conversation"] = self._request.conversation
                kept = await self._commands.call(self.stream.principal, "chat.record", body)
                self._request = structs.replace(self._request, conversation=kept["conversation"])
            self.stream.publish(MessageSaved(conversation=kept["conversation"], message=kept["messages"][-1]))
        except EngineError as error:
            self.stream.status("not_saved", error.message)


def _noted(ids: Mapping[str, str], role: str) -> dict[str, str]:
    """What the history is told of a message's sound."""
    return {"audio": ids[role]} if role in ids else {}
