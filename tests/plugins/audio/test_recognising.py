"""The recogniser of this machine hears people, hears nothing where nobody speaks, and loses nothing when it is killed."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import wave
from array import array
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from engine.api import InvalidRequest, ModelUnavailable, Segment, TranscriptionRequest
from plugins.audio.recognising import heard_by
from plugins.audio.settings import AudioSettings
from plugins.audio.weights import Ears, find_ears, kind_of
from plugins.vendors.model_process import ModelProcess
from tests.databases import unavailable
from tests.emulators.sound import tone
from tests.words import wrong_words

PROGRAM = "plugins.audio.recognising_child"
CLIPS = Path("/usr/share/pocketsphinx/test/data")
"""Debian's package pocketsphinx-testdata: five clips of a LibriVox reader, five of somebody who names cards."""

MOST_WRONG = 0.1
SECOND = 32_000
"""Bytes."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


def process_of(ears: Ears) -> ModelProcess:
    order = {
        "name": ears.name,
        "kind": ears.kind,
        "path": str(ears.path),
        "sha256": dict(ears.sha256),
        "threads": 1,
        "parallel": 2,
    }
    return ModelProcess(PROGRAM, ears.name, order)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[ModelProcess]:
    made = process_of(find_ears(AudioSettings()).ears[0])
    yield made
    await made.aclose()


def clips() -> list[tuple[str, bytes]]:
    """What people say, and how it sounds."""
    if not CLIPS.is_dir():
        unavailable("human speech is not installed (Debian's package pocketsphinx-testdata)")
    found = []
    for list_of_texts in ("librivox/transcription", "cards/cards.transcription"):
        for line in (CLIPS / list_of_texts).read_text().splitlines():
            text, name = re.fullmatch(r"<s> (.*?) *</s> \((.*)\)", line.strip()).groups()  # type: ignore[union-attr]
            with wave.open(str(next(CLIPS.rglob(f"{name}.wav")))) as file:
                # The text of one clip has a slip of its reader's that nobody says.
                found.append((text.replace("more a amiable", "more amiable"), file.readframes(file.getnframes())))
    return found


async def pieces(sound: bytes, size: int = SECOND) -> AsyncIterator[bytes]:
    for at in range(0, len(sound), size):
        yield sound[at : at + size]


async def heard(process: ModelProcess, sound: bytes, *, live: bool = False, words: bool = False) -> list[Segment]:
    request = TranscriptionRequest(model="any", words=words)
    async with aclosing(heard_by(process, request, pieces(sound), live=live)) as segments:  # type: ignore[type-var]
        return [segment async for segment in segments]


def text_of(segments: list[Segment]) -> str:
    return " ".join(segment.text for segment in segments if segment.final)


async def test_it_understands_people(process: ModelProcess) -> None:
    said, wrong = 0, 0
    for text, sound in clips():
        understood = text_of(await heard(process, sound))
        said += len(text.split())
        wrong += wrong_words(text, understood)
    assert wrong / said < MOST_WRONG


async def test_a_long_recording_is_cut_at_its_pauses_and_keeps_its_times(process: ModelProcess) -> None:
    spoken = [clip for clip in clips() if len(clip[0].split()) > 7]
    gap = bytes(2 * SECOND)
    segments = await heard(process, gap + gap.join(sound for _, sound in spoken), words=True)
    assert len(segments) == len(spoken)
    at = 2.0
    for segment, (_, sound) in zip(segments, spoken, strict=True):
        seconds = len(sound) / SECOND
        assert segment.start is not None and segment.end is not None
        assert at - 0.4 <= segment.start < segment.end <= at + seconds + 0.1
        assert [word.text for word in segment.words] == segment.text.split()
        assert all(word.start <= word.end <= segment.end + 0.6 for word in segment.words)
        at += seconds + 2.0


def noise(seconds: float, height: int) -> bytes:
    source = random.Random(1)
    return array("h", (source.randint(-height, height) for _ in range(int(seconds * 16_000)))).tobytes()


@pytest.mark.parametrize(
    "sound",
    [
        bytes(20 * SECOND),
        noise(20, 40),
        noise(20, 3_000),
        tone(20.0, 16_000, 440.0),
        (noise(0.02, 20_000) + bytes(SECOND)) * 10,
    ],
    ids=["silence", "a quiet room", "noise", "a tone", "clicks"],
)
async def test_where_nobody_speaks_nothing_is_heard(process: ModelProcess, sound: bytes) -> None:
    assert await heard(process, sound) == []
    assert [segment for segment in await heard(process, sound, live=True) if segment.text] == []


async def test_speech_after_a_minute_of_noise_is_heard(process: ModelProcess) -> None:
    text, sound = clips()[4]
    understood = text_of(await heard(process, noise(60, 300) + sound))
    assert wrong_words(text, understood) <= 1


async def test_a_process_that_is_killed_while_it_hears_loses_no_word(process: ModelProcess) -> None:
    spoken = clips()[:4]
    sound = b"".join(clip + bytes(SECOND) for _, clip in spoken)
    undisturbed = text_of(await heard(process, sound))
    for live in (True, False):
        understood: list[Segment] = []
        request = TranscriptionRequest(model="any")
        async with aclosing(heard_by(process, request, pieces(sound, 3_200), live=live)) as segments:  # type: ignore[type-var]
            async for segment in segments:
                understood.append(segment)
                if segment.final and len([each for each in understood if each.final]) == 2:
                    os.kill(int(process.health().detail.split("process ")[1].split()[0]), signal.SIGKILL)
        # What is given again begins a moment later than it did, so that a word may be written in another way.
        assert wrong_words(undisturbed, text_of(understood)) <= 2


async def test_many_are_heard_at_once_and_each_is_whole(process: ModelProcess) -> None:
    _, sound = clips()[4]
    alone = text_of(await heard(process, sound))
    together = await asyncio.gather(*(heard(process, sound, live=at % 2 == 0) for at in range(6)))
    assert [text_of(each) for each in together] == [alone] * 6


async def test_audio_that_breaks_off_says_so(process: ModelProcess) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(SECOND)
        raise InvalidRequest("the recording is broken here", field="file")

    with pytest.raises(InvalidRequest, match="broken here"):
        async for _ in heard_by(process, TranscriptionRequest(model="any"), broken(), live=False):
            pass


# What may be wrong with a model's files


async def test_a_file_that_is_cut_or_another_is_refused_by_name(tmp_path: Path) -> None:
    whole = find_ears(AudioSettings()).ears[0]
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((whole.path / name).read_bytes())
    (tmp_path / "model.bin").write_bytes((whole.path / "model.bin").read_bytes()[:1_000_000])
    assert kind_of(tmp_path) == "whisper-ct2"
    known = Ears("whisper-ct2", tmp_path, "cut", whole.sha256)
    for ears, says in (
        (known, "is not the file that is known"),
        (Ears("whisper-ct2", tmp_path, "cut"), "cannot be loaded"),
    ):
        process = process_of(ears)
        with pytest.raises(ModelUnavailable, match=says):
            await heard(process, bytes(SECOND))
        await process.aclose()
