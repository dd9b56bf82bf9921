"""Hears recordings with the process that holds this machine's recogniser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from engine.api import ProviderError, Segment, TranscriptionRequest, UnsupportedParameter, Word
from plugins.audio.tape import Lost, Tape, heard_live
from plugins.vendors.model_process import Exchange, ModelProcess, ProcessEnded

RATE = 16_000
PIECE = 1 << 13
"""Bytes that are given at a time, a quarter of a second: what is spoken live waits no longer for a recording."""


def heard_by(
    process: ModelProcess, request: TranscriptionRequest, audio: AsyncIterator[bytes], *, live: bool
) -> AsyncIterator[Segment]:
    """What is heard of `audio`. A process that dies meanwhile is replaced, and given again what was not told yet."""
    return heard_live(audio, RATE, partial(_connection, process, request, live))


def check_language(request: TranscriptionRequest, known: Sequence[str]) -> None:
    """Raise `UnsupportedParameter` for a language that is not `known`; with none known, nothing is wrong yet."""
    language = _code(request.language)
    if language is not None and known and language not in known:
        raise UnsupportedParameter(
            f"the local transcriber {request.model} hears {_few(known)}, not {request.language!r}; name another model",
            field="language",
        )


async def _connection(
    process: ModelProcess, request: TranscriptionRequest, live: bool, tape: Tape
) -> AsyncIterator[Segment]:
    begin = tape.rewind()
    language = _code(request.language)
    exchange = await _opened(process, {"live": live, "words": request.words, "language": language})
    known = tuple(process.description.get("languages", ()))
    try:
        check_language(request, known)
    except UnsupportedParameter:
        exchange.close()
        raise
    taken = asyncio.Semaphore(0)
    feeding = asyncio.create_task(_feed(exchange, tape, None if live else taken), name="audio for the recogniser")
    feeding.add_done_callback(partial(_stop, exchange))
    try:
        async for _, payload in exchange:
            told: dict[str, Any] = json.loads(payload)
            if "taken" in told:
                taken.release()
            elif "settled" in told:
                tape.told_until(begin + told["settled"])
            else:
                segment = _segment(told, begin, language or (known[0] if len(known) == 1 else None))
                if segment.final and segment.end is not None:
                    tape.told_until(segment.end)
                yield segment
        tape.told_all()
    except ProcessEnded as error:
        _raise_of(feeding)
        raise Lost(error) from None
    except ValueError:
        raise ProviderError("The recogniser said what is no JSON.") from None
    finally:
        exchange.close()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _opened(process: ModelProcess, wanted: dict[str, Any]) -> Exchange:
    try:
        return await process.open(wanted)
    except ProcessEnded as error:
        raise Lost(error) from None


async def _feed(exchange: Exchange, tape: Tape, taken: asyncio.Semaphore | None) -> None:
    while (piece := await tape.piece()) is not None:
        for at in range(0, len(piece), PIECE):
            await exchange.send(piece[at : at + PIECE])
            if taken is not None:
                await taken.acquire()
    tape.sent_all = True
    await exchange.finish()


def _stop(exchange: Exchange, feeding: asyncio.Task[None]) -> None:
    """Audio that cannot be read ends the exchange: its reader says why."""
    if not feeding.cancelled() and feeding.exception() is not None:
        exchange.lose(ProcessEnded("The audio ended."))


def _raise_of(feeding: asyncio.Task[None]) -> None:
    """What is wrong with the audio is told before what the recogniser made of it."""
    if feeding.done() and not feeding.cancelled():
        error = feeding.exception()
        if error is not None and not isinstance(error, ProcessEnded):
            raise error


def _segment(told: dict[str, Any], begin: float, language: str | None) -> Segment:
    words = tuple(
        Word(text=each["text"], start=_later(each["start"], begin), end=_later(each["end"], begin))
        for each in told.get("words", ())
    )
    return Segment(
        text=told["text"],
        final=told["final"],
        start=_later(told["start"], begin),
        end=_later(told["end"], begin) if "end" in told else None,
        language=language,
        words=words,
    )


def _later(seconds: float, begin: float) -> float:
    return round(seconds + begin, 2)


def _code(language: str | None) -> str | None:
    """The ISO 639 code of a language tag; "english" is how some clients write it."""
    if language is None:
        return None
    code = language.split("-")[0].lower()
    return "en" if code == "english" else code


def _few(languages: Sequence[str]) -> str:
    named = ", ".join(languages[:12])
    return "English only" if tuple(languages) == ("en",) else named + (" and more" if len(languages) > 12 else "")
