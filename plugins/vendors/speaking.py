"""One speech: text in, piece by piece or whole, and the sound of it on a lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

from engine.api import (
    EngineError,
    InvalidRequest,
    LaneWriter,
    ProviderError,
    ProviderUnavailable,
    Sound,
    SpeechModel,
    SpeechRequest,
    StatusChanged,
    Writer,
)
from engine.wire.apart import LONG, apart_if
from engine.wire.sentences import Sentences
from engine.wire.spoken import Spoken
from plugins.vendors.codecs import AudioEncoder, AudioFormat, check_rate, is_cheap, open_encoder, rate_of

LANE = "speech"


class TextFeed:
    """The text of a speech: given whole, or as it comes."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._taken = 0
        # Bounded by the longest text.
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self.over = False

    def add(self, text: str) -> None:
        """Take a piece; raises `InvalidRequest` past the longest text, and when it was finished."""
        if self.over:
            raise InvalidRequest("this speech takes no more text: it was finished", field="stream")
        if self._taken + len(text) > self._longest:
            raise InvalidRequest(
                f"a speech has at most {self._longest} characters, this text would make it {self._taken + len(text)}",
                field="text",
            )
        self._taken += len(text)
        self._pieces.put_nowait(text)

    def finish(self) -> None:
        """No more comes; a second finish is none."""
        if not self.over:
            self.over = True
            self._pieces.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[str]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


def voice_replaced(name: str, voice: str) -> StatusChanged:
    """What is told where a model speaks with another voice than the one that was asked for."""
    return StatusChanged(stage="voice_replaced", detail=f"{name} has no voice {voice!r}; another one of it speaks")


def stand_in(model: SpeechModel) -> str | None:
    """What is heard in place of a voice, where the provider says so in an attribute `stand_in`."""
    told: str | None = getattr(model.target.provider, "stand_in", None)
    return told


def check_text(model: SpeechModel, request: SpeechRequest, text: str, *, clean: bool) -> None:
    """Raise what the provider has against the writing of a text, where it says so in a method `check_text`.

    Each of its sentences is looked at, unless it is all ASCII, which every voice reads.
    """
    check = getattr(model.target.provider, "check_text", None)
    if check is None or text.isascii():
        return
    sentences, spoken = Sentences(), Spoken()
    for sentence in [*sentences.feed(text), *sentences.finish()]:
        if words := spoken.clean(sentence) if clean else sentence:
            check(request, words)


@asynccontextmanager
async def warming(model: SpeechModel, request: SpeechRequest) -> AsyncIterator[None]:
    """Have a voice made ready while its text is still written, where the provider has a method `warm` for that."""
    warm = getattr(model.target.provider, "warm", None)
    if warm is None:
        yield
        return
    task = asyncio.create_task(warm(request), name=f"making {model.target.name} ready")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def whole_samples(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Samples of 16 bits out of bytes that come as the network cuts them; half a sample at the end is none."""
    odd = b""
    async with aclosing(pieces) as source:  # type: ignore[type-var]
        async for piece in source:
            data = odd + piece
            whole = len(data) - len(data) % 2
            odd = data[whole:]
            if whole:
                yield data[:whole]


async def cleaned(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The sentences of a text without what is not to be spoken. The event loop turns after each sentence."""
    sentences, spoken = Sentences(), Spoken()
    async for text in texts:
        for sentence in await apart_if(len(text) > LONG, partial(sentences.feed, text)):
            await asyncio.sleep(0)
            if words := spoken.clean(sentence):
                yield f"{words}\n\n"
    for sentence in sentences.finish():
        if words := spoken.clean(sentence):
            yield f"{words}\n\n"


class Speech:
    """Serves one speech; `beside` another model that the turn is about.

    Raises `InvalidRequest` for a rate that the format does not have.
    """

    def __init__(
        self,
        model: SpeechModel,
        request: SpeechRequest,
        texts: AsyncIterator[str],
        *,
        format: AudioFormat,
        rate: int | None,
        ahead: float,
        beside: bool = False,
        instead_of: str | None = None,
    ) -> None:
        check_rate(format, rate)
        self._model = model
        self._request = request
        self._texts = texts
        self._format = format
        self._rate = rate
        self._ahead = ahead
        self._beside = beside
        self._instead_of = instead_of
        self._asked = self._speakable = False

    async def serve(self, stream: Writer) -> None:
        """Write the turn's stream: the lane opens with the first sound. What only stands in for a voice is told first."""
        if (told := stand_in(self._model)) is not None:
            stream.status("canned", told)
        if self._instead_of is not None:
            stream.publish(voice_replaced(self._model.target.name, self._instead_of))
        async with (
            warming(self._model, self._request),
            AsyncExitStack() as lanes,
            aclosing(self._sounds(stream)) as sounds,  # type: ignore[type-var]
        ):
            lane: LaneWriter | None = None
            at, form, voiced = 0.0, None, 0
            async for sound in sounds:
                if lane is None or form is None:
                    voiced = sound.rate
                    form = await open_encoder(self._format, sound.rate, self._rate)
                    rate = rate_of(self._format, sound.rate, self._rate)
                    cheap = is_cheap(self._format, sound.rate, self._rate)
                    lane = await lanes.enter_async_context(stream.lane(LANE, format=self._format, rate=rate))
                if sound.rate != voiced:
                    # As the samples of the first voice they would be heard too fast or too slow.
                    raise ProviderUnavailable(f"{self._model.target.name} changed its voice in mid-speech")
                await self._write(lane, form, sound.pcm, at, cheap)
                at += sound.seconds
            if lane is not None and form is not None and (rest := form.finish()):
                lane.audio(rest, at=int(at * 1000))
            if lane is None and self._asked:
                raise self._silent()

    def _silent(self) -> EngineError:
        name = self._model.target.name
        if self._speakable and not getattr(self._model.target.provider, "reads_what_it_can", False):
            return ProviderError(f"{name} made no sound of the text")
        return InvalidRequest(f"the text has nothing that {name} can speak", field="text")

    def _sounds(self, stream: Writer) -> AsyncIterator[Sound]:
        return self._model.speak(self._request, self._given(), stream, answers=not self._beside)

    async def _given(self) -> AsyncIterator[str]:
        async for text in self._texts:
            self._asked = self._asked or bool(text.strip())
            self._speakable = self._speakable or any(map(str.isalnum, text))
            yield text

    async def _write(self, lane: LaneWriter, form: AudioEncoder, pcm: bytes, at: float, cheap: bool) -> None:
        data = form.feed(pcm) if cheap else await asyncio.to_thread(form.feed, pcm)
        if data:
            lane.audio(data, at=int(at * 1000))
            await lane.keep_pace(self._ahead)
