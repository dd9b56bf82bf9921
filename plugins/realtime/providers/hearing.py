"""The hearing half of a cascade: what the person says, cut into turns and written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from engine.api import (
    EngineError,
    ProviderUnavailable,
    RealtimeRequest,
    RealtimeStage,
    StatusChanged,
    TranscriptionModel,
    TranscriptionRequest,
)
from plugins.realtime.detecting import FrameProbabilities, SpeechFinder
from plugins.realtime.endpointing import FRAME_BYTES, FRAME_MS, START_FRAMES, Endpointer, silence_after

RATE = 16_000
"""Samples a second that transcribers and the detector of speech are given."""

LONGEST = 300
"""Seconds of one turn: what is longer is cut, so that somebody who never pauses is heard, too."""

ATTEMPTS = 2
"""How often one turn is listened to: its audio is kept until it was understood."""

FAILURES = 3
"""Turns in a row that could not be listened to, after which the call is over."""


class Utterance:
    """The audio of one turn: it may still come, and can be heard a second time."""

    def __init__(self) -> None:
        self.size = 0
        self.turn = 0
        self.forgotten = False
        self._pieces: list[bytes] = []
        self._over = False
        self._came = asyncio.Event()

    def add(self, pcm: bytes) -> None:
        """More of it."""
        self._pieces.append(pcm)
        self.size += len(pcm)
        self._came.set()

    def finish(self) -> None:
        """No more comes."""
        self._over = True
        self._came.set()

    def forget(self) -> None:
        """It was never said."""
        self.forgotten = True
        self._pieces.clear()
        self.finish()

    async def pieces(self) -> AsyncIterator[bytes]:
        """From its beginning, as it comes."""
        at = 0
        while True:
            while at < len(self._pieces):
                yield self._pieces[at]
                at += 1
            if self._over:
                return
            self._came.clear()
            await self._came.wait()


class Hearing:
    """Finds turns in the audio of one call, and has each written while it is spoken.

    `said` is given the words of each, and which turn of the call it is.
    """

    def __init__(
        self,
        model: TranscriptionModel,
        request: RealtimeRequest,
        stage: RealtimeStage,
        said: Callable[[str, int], None],
    ) -> None:
        self._model = model
        self._request = request
        self._stage = stage
        self._said = said
        self._rest = b""
        self._endpointer = Endpointer(request.turn_detection.threshold, request.turn_detection.silence_duration_ms)
        self._before: deque[bytes] = deque(maxlen=_frames(request))
        self._judging: deque[bytes] = deque()
        self._void = 0
        """Frames that are still looked at and were taken back."""
        self._probabilities: FrameProbabilities | None = None
        self._frames = 0
        """Frames whose probability of speech is known."""
        self._samples = 0
        self._speaking: Utterance | None = None
        self._began = 0
        self._turns = 0
        self._unheard: deque[Utterance] = deque()
        self._came = asyncio.Event()
        self._lost: ProviderUnavailable | None = None

    async def open(self, finder: SpeechFinder) -> None:
        """Begin to look for speech."""
        self._probabilities = await finder.open(self._judged, self._lose)

    def close(self) -> None:
        """Look no further."""
        if self._probabilities is not None:
            self._probabilities.close()

    def update(self, request: RealtimeRequest) -> None:
        """Go on in another way."""
        self._request = request
        self._endpointer.threshold = request.turn_detection.threshold
        self._endpointer.silence_ms = request.turn_detection.silence_duration_ms
        self._before = deque(self._before, maxlen=_frames(request))

    @property
    def _manual(self) -> bool:
        return self._request.turn_detection.type == "manual"

    @property
    def _at(self) -> int:
        return self._samples // (RATE // 1000)

    def feed(self, pcm: bytes) -> None:
        """Audio of the call, `RATE` samples a second."""
        data = self._rest + pcm
        if self._manual:
            self._rest = b""
            if data:
                self._collect(data)
            return
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        for begin in range(0, whole, FRAME_BYTES):
            frame = data[begin : begin + FRAME_BYTES]
            self._judging.append(frame)
            if self._probabilities is not None:
                self._probabilities.feed(frame)

    def commit(self) -> None:
        """What was spoken since the last turn is one."""
        spoken = self._speaking
        if spoken is None:
            self._stage.show(StatusChanged(stage="nothing_said", detail="no speech came since the last turn"))
            return
        if self._manual:
            # Who says himself when a turn is over is no turn's interruption before.
            self._tell_begin(spoken)
        self._end(spoken)

    def clear(self) -> None:
        """Forget what is no finished turn yet."""
        spoken, self._speaking = self._speaking, None
        self._endpointer.speaking = False
        self._before.clear()
        self._void, self._rest = len(self._judging), b""
        if spoken is None:
            return
        spoken.forget()
        if not self._manual:
            self._stage.show(StatusChanged(stage="speech_forgotten", detail="the client takes back what is being said"))
            self._stage.speech_ended(self._at)
            self._stage.heard("", final=True)

    def _collect(self, data: bytes) -> None:
        """Without a detector all that comes belongs to the turn."""
        spoken = self._speaking
        if spoken is None:
            spoken, self._began = self._begin(), self._at
        spoken.add(data)
        self._samples += len(data) // 2
        if spoken.size > LONGEST * RATE * 2:
            self.commit()

    def _judged(self, probability: float) -> None:
        frame = self._judging.popleft()
        self._samples += len(frame) // 2
        if self._void:
            self._void -= 1
            return
        happened = self._endpointer.feed(probability)
        if happened == "began":
            spoken = self._begin()
            for earlier in self._before:
                spoken.add(earlier)
            spoken.add(frame)
            self._began = max(0, self._at - (len(self._before) + 1) * FRAME_MS)
            self._before.clear()
            self._tell_begin(spoken)
            return
        spoken_now = self._speaking
        if spoken_now is None:
            self._before.append(frame)
            return
        spoken_now.add(frame)
        if happened == "ended" or spoken_now.size > LONGEST * RATE * 2:
            self._end(spoken_now)

    def _tell_begin(self, spoken: Utterance) -> None:
        self._turns += 1
        spoken.turn = self._turns
        self._stage.speech_began(self._began)

    def _begin(self) -> Utterance:
        spoken = self._speaking = Utterance()
        self._unheard.append(spoken)
        self._came.set()
        return spoken

    def _end(self, spoken: Utterance) -> None:
        self._speaking = None
        self._endpointer.speaking = False
        self._endpointer.silence_ms = self._request.turn_detection.silence_duration_ms
        spoken.finish()
        self._stage.speech_ended(self._at)

    def _lose(self, error: ProviderUnavailable) -> None:
        self._lost = error
        self._came.set()

    async def run(self) -> None:
        """Write one turn after the other, until cancelled; raises what makes hearing impossible."""
        failures = 0
        while True:
            while not self._unheard:
                if self._lost is not None:
                    raise self._lost
                self._came.clear()
                await self._came.wait()
            spoken = self._unheard.popleft()
            try:
                text = await self._heard(spoken)
                failures = 0
            except EngineError as error:
                failures += 1
                if failures == FAILURES:
                    raise
                text = ""
                self._stage.show(StatusChanged(stage="hearing_failed", detail=error.message))
            if spoken.forgotten:
                continue
            if text:
                self._said(text, spoken.turn)
            self._stage.heard(text, final=True)

    async def _heard(self, spoken: Utterance) -> str:
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                return await self._listen(spoken)
            except EngineError as error:
                if not left or not error.retryable:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _listen(self, spoken: Utterance) -> str:
        asked = listening(self._model, self._request)
        final = ""
        segments = self._model.live(asked, spoken.pieces(), self._stage.stream)
        async with aclosing(segments) as heard:  # type: ignore[type-var]
            async for segment in heard:
                text = f"{final} {segment.text}".strip()
                if segment.final:
                    final = text
                if not spoken.forgotten:
                    self._stage.heard(text, final=False)
                    self._shape(spoken, text)
        return final

    def _shape(self, spoken: Utterance, text: str) -> None:
        """The words so far say how long a pause may be."""
        detection = self._request.turn_detection
        if detection.type == "semantic" and spoken is self._speaking:
            self._endpointer.silence_ms = silence_after(text, detection.silence_duration_ms)


def listening(model: TranscriptionModel, request: RealtimeRequest) -> TranscriptionRequest:
    """What the transcriber of a call is asked."""
    prompt: str | None = request.options.get("transcription_prompt")
    return TranscriptionRequest(model=model.target.model, rate=RATE, language=request.language, prompt=prompt)


def _frames(request: RealtimeRequest) -> int:
    """Frames that are kept from before a turn is known to have begun: the padding, and the first frames of its speech."""
    return -(-request.turn_detection.prefix_padding_ms // FRAME_MS) + START_FRAMES - 1
