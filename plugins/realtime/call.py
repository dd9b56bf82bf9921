"""One call: what the client sends goes to the model; what it tells becomes turns, words, and sound at the speed of play."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from msgspec import structs

from engine.api import (
    REALTIME_RATE,
    AssistantEnded,
    AssistantStarted,
    BudgetExceeded,
    Commands,
    Cost,
    EngineError,
    ErrorBody,
    Event,
    InvalidRequest,
    LaneWriter,
    MessageSaved,
    PlaybackClear,
    RealtimeAnswer,
    RealtimeClear,
    RealtimeInput,
    RealtimeInterrupt,
    RealtimeModel,
    RealtimeRequest,
    RealtimeToolResult,
    RealtimeUpdate,
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
from engine.wire.counts import checked
from plugins.realtime.intake import Intake
from plugins.realtime.keeping import Keeping, Outcome
from plugins.realtime.playing import Answer, Player
from plugins.realtime.recording import Recorder
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


class RealtimeCall:
    """Implements `engine.api.RealtimeStage`, and serves the stream of one `realtime.start`; `first` begins it."""

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
        first: Sequence[StatusChanged] = (),
    ) -> None:
        self._model = model
        self._request = request
        self._first = first
        self._settings = settings
        self._commands = commands
        self._calls = CallTools(tools, self._put)
        self._rate = rate
        self._codec = codec
        self._recorder = recorder
        provider = model.target.provider
        self._driven = not getattr(provider, "answers_by_itself", True)
        """Whether the provider waits to be told when to answer, and can go on with an answer that was held."""
        self.listens_only = bool(request.options.get("listen_only"))
        self.forgets = getattr(provider, "forgets", False) and not request.store
        self._sounds = "audio" in request.modalities
        self._intake = Intake(
            codec,
            rate=rate,
            hears=getattr(provider, "rate", REALTIME_RATE),
            backlog=settings.backlog,
            heard=lambda pcm: recorder.hear(pcm, manual=self._manual),
            asked=lambda: self._happened(Happening.ASKED),
        )
        self._keeping = Keeping(
            commands, recorder, model=model.target.name, conversation=request.conversation, itself=self._driven
        )
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

    # What the client sends

    def take(self, n: int, payload: bytes, at: int) -> int | None:
        """One frame of the client's audio; gives the count to acknowledge, from time to time."""
        return self._intake.take(n, payload, at)

    def tell(self, item: RealtimeInput) -> None:
        """Something that the client says beside its audio."""
        self._intake.say(item)
        if isinstance(item, RealtimeClear):
            self._recorder.no_speech()

    def tool_answered(self, result: RealtimeToolResult) -> None:
        """What a tool of the client's says; raises `ToolCallNotFound` where nobody waits for it."""
        self._calls.answered(result.call_id)
        # A model waits for it: nobody could send it again.
        self._put(result)

    def interrupt(self) -> None:
        """The client wants no more of the answer."""
        self._intake.touched = asyncio.get_running_loop().time()
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

    @property
    def model(self) -> str:
        """The model that answers, as clients are told it."""
        return self._model.target.name

    def change(self, *notes: StatusChanged, **changes: Any) -> None:
        """Go on with other settings, and tell the notes of them.

        Raises what the model has against them, and then nothing changes.
        """
        self._intake.check_room()
        request = structs.replace(self._request, **changes)
        if self._sounds < ("audio" in request.modalities):
            raise InvalidRequest("a call that began in writing alone has no sound", field="modalities")
        self._model.check(request)
        self._request = request
        self._turns = structs.replace(self._turns, interrupt=self._interruptible(request))
        self.tell(RealtimeUpdate(self._request))
        for note in notes:
            self.stream.publish(note)

    @property
    def _manual(self) -> bool:
        return self._request.turn_detection.type == "manual"

    def _interruptible(self, request: RealtimeRequest) -> bool:
        may = getattr(self._model.target.provider, "interruptible", None)
        return request.turn_detection.interrupt and (may is None or may(request))

    def finish(self) -> int:
        """The client hangs up; gives the last count of a frame that was taken."""
        self._quiet.set()
        return self._intake.finish()

    def _put(self, item: RealtimeInput) -> None:
        self._intake.put(item)

    # The call

    async def serve(self, stream: Writer) -> None:
        """Hold the call; it ends when the client hangs up, when the vendor does, and when nobody is there any more."""
        self._stream = stream
        for note in self._first:
            stream.publish(note)
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
                try:
                    await self._model.converse(self._request, self._intake.items(), self)
                except BudgetExceeded:
                    # What was said until then is paid for.
                    await self._played_out()
                    raise
                await self._played_out()
            finally:
                if self._confirm is not None:
                    self._confirm.cancel()
                for task in self._tasks:
                    task.cancel()
                await self._calls.close()
                await asyncio.gather(*self._tasks, self._keeping.close(), return_exceptions=True)

    async def _played_out(self) -> None:
        """A call that its client ended is over at once; of one that the vendor ended the last words are heard."""
        await self._quiet.wait()

    async def _look(self) -> None:
        """Hang up where nobody is there."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while not self._intake.finished:
            await asyncio.sleep(min(LOOK, self._settings.grace))
            now = loop.time()
            self._fill(now)
            if self.stream.watched:
                seen = now
            if now - seen >= self._settings.grace:
                self.stream.status("left", f"nobody came back within {self._settings.grace:g} s")
            elif now - self._intake.touched >= self._settings.idle and self._turns.phase is Phase.IDLE:
                self.stream.status("idle", f"nothing was said for {self._settings.idle:g} s")
            else:
                continue
            self.finish()

    def _fill(self, now: float) -> None:
        """Let a person be silent whose frames have stopped."""
        if self._turns.talking and not self._manual and now - self._intake.frame_at >= STOPPED:
            self._intake.silence(LOOK)

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
            self._put(RealtimeAnswer())

    def answering(self) -> None:
        self._recorder.answering()
        self._keeping.saved(None)
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
            self._keeping.saved(event)
        self.stream.publish(event)

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
        if usage is not None:
            usage = checked(usage).usage
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
        elif not self._intake.finished:
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
        return None if at is None else self._intake.media.of(at)

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
            self._keeping.keep(self.stream, self._said_last, text, outcome)
        self._said_last, self._answer, self._outcome = "", None, Outcome()

    def _send(self, pcm: bytes, at: int) -> None:
        assert self._lane is not None
        self._recorder.sent(pcm)
        self._lane.audio(self._codec.encode(pcm), at=at)
