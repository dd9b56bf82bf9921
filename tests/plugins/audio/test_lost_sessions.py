"""Sessions that end anywhere, for any reason that passes: every word is heard, once, and in its place."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from tests.emulators.google_hearing import GoogleHearingEmulator
from tests.emulators.google_hearing import Trouble as GoogleTrouble
from tests.emulators.openai_hearing import OpenAIHearingEmulator, Transcribe
from tests.emulators.openai_realtime import Trouble
from tests.emulators.sound import levels_of
from tests.plugins.audio import test_google_live as google
from tests.plugins.audio import test_openai_live as openai
from tests.plugins.audio.hearing import PIECE, RATE, Heard, Microphone

WORDS = "One two three four five six seven eight nine ten eleven twelve"
APPEND = "input_audio_buffer.append"
BROKEN = {"type": "server_error", "code": None, "message": "It broke.", "param": None}


def speech(random: Random) -> bytes:
    """The words, with a pause here and there."""
    sound, word = b"", 1
    while word <= 12:
        last = min(12, word + random.randint(0, 3))
        sound += levels_of(*range(word, last + 1), rate=RATE)
        sound += levels_of(0, rate=RATE, seconds=random.choice((0.7, 0.9, 1.3)))
        word = last + 1
    return sound


def heard_well(heard: Heard, sound: bytes) -> None:
    assert heard.words == WORDS
    bounds = [bound for segment in heard.finals for bound in (segment.start, segment.end) if bound is not None]
    assert len(bounds) == 2 * len(heard.finals)
    assert all(before <= after + 0.1 for before, after in pairwise([0.0, *bounds, len(sound) / 2 / RATE]))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "gpt-live-transcribe"])
async def test_openai(seed: int, model: str) -> None:
    random = Random(seed)
    sound = speech(random)

    def nth() -> int:
        return random.randint(1, len(sound) // PIECE)

    async with OpenAIHearingEmulator(WORDS, key=openai.KEY) as vendor:
        vendor.troubles.extend(
            random.choice(
                (
                    Trouble(on=APPEND, nth=nth(), cut=True),
                    Trouble(on=APPEND, nth=nth(), code=1001, reason="going away"),
                    Trouble(on="input_audio_buffer.clear", cut=True),
                )
            )
            for _ in range(3)
        )
        vendor.transcribes.append({random.randint(0, 3): Transcribe(error=BROKEN)})
        microphone = Microphone(sound)
        microphone.finish()
        async with openai.hearing(vendor, microphone, model=model) as heard:
            await heard.end()
    heard_well(heard, sound)


@pytest.mark.parametrize("seed", range(10))
async def test_gemini(seed: int) -> None:
    random = Random(seed)
    sound = speech(random)

    def at() -> int:
        return random.randint(1, len(sound) // PIECE)

    async with GoogleHearingEmulator(WORDS) as vendor:
        vendor.late = bool(seed % 2)
        vendor.troubles.extend(
            random.choice(
                (
                    GoogleTrouble(at(), cut=True),
                    GoogleTrouble(at(), close=(1011, "Internal error encountered.")),
                    GoogleTrouble(at(), go_away=random.choice(("0s", "50s"))),
                    GoogleTrouble(None, cut=True),
                )
            )
            for _ in range(3)
        )
        microphone = Microphone(sound)
        microphone.finish()
        async with google.hearing(vendor, microphone) as heard:
            await heard.end()
    heard_well(heard, sound)
