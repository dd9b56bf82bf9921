"""How soon, and how well, this machine hears: python -m bench.hearing

Speakers say sentences at the speed of speech, each over a live recording of its own, and wait for the final text from the
moment their last sample is sent. The words come from the voice of this machine, whose seed is fixed, so that what was said
is known. A second part plays what is no speech (silence, noise, tones, chords) for some minutes: any text is a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import struct
import sys
import tempfile
import time
from array import array
from pathlib import Path

import aiohttp
import uvloop

from bench.voice import quantile
from engine.wire.wav import wav_header
from tests.journeys.client import Socket, connected
from tests.server import engine_inside
from tests.words import words_of, wrong_words

RATE = 16_000
FRAME = 640
"""Bytes of 20 ms."""

SENTENCES = (
    "The boat is green.",
    "What is the weather like today?",
    "Please read me the next message.",
    "I would like a table for four people at seven.",
    "The train to the harbour leaves in ten minutes.",
    "Turn off the light in the kitchen, please.",
    "How long does it take to boil an egg?",
    "My sister lives in a small town near the sea.",
    "Remind me to call the doctor tomorrow morning.",
    "There are three books on the table.",
)


async def spoken(http: aiohttp.ClientSession, url: str) -> list[bytes]:
    """The sentences as sound."""
    sounds = []
    for text in SENTENCES:
        body = {"text": text, "model": "local", "format": "pcm", "rate": RATE}
        async with http.post(f"{url}/api/v1/tts", json=body) as answer:
            answer.raise_for_status()
            sounds.append(await answer.read())
    return sounds


async def say(socket: Socket, pcm: bytes) -> tuple[str, float, int]:
    """Say one thing at the speed of speech; gives what was heard, the wait for it, and how many partial texts came."""
    accepted = await socket.ask("audio.start", model="local", sample_rate=RATE)
    begun = time.perf_counter()
    n = 0
    for n, at in enumerate(range(0, len(pcm), FRAME), 1):
        late = begun + n * 0.02 - time.perf_counter()
        if late > 0:
            await asyncio.sleep(late)
        await socket.send_raw(struct.pack(">IIBBHI", accepted["number"], n, 1, 0, 0, 0) + pcm[at : at + FRAME])
    ended = time.perf_counter()
    await socket.ask("audio.finish", stream=accepted["stream"])
    await socket.end_of(accepted["stream"])
    wait = time.perf_counter() - ended
    events = socket.of(accepted["stream"]).events
    finals = [event["text"] for event in events if event["type"] == "transcript.final"]
    return " ".join(finals), wait, sum(event["type"] == "transcript.partial" for event in events)


async def speaker(url: str, sounds: list[bytes], first: int, rounds: int) -> list[tuple[int, float, int]]:
    """Wrong words, wait and partial texts of each thing that one speaker says."""
    results = []
    async with connected(url) as socket:
        for turn in range(rounds):
            number = (first + turn) % len(sounds)
            heard, wait, partials = await say(socket, sounds[number])
            results.append((wrong_words(SENTENCES[number], heard), wait, partials))
    return results


def no_speech(kind: str, seconds: int) -> bytes:
    """Sound in which nobody speaks."""
    source = random.Random(kind)
    count = seconds * RATE
    if kind == "silence":
        return bytes(2 * count)
    if kind == "noise":
        return array("h", (source.randint(-2_500, 2_500) for _ in range(count))).tobytes()
    notes = [440.0] if kind == "tone" else [220.0, 277.2, 329.6, 440.0]
    made = array("h")
    for at in range(count):
        beat = 1.0 if kind == "tone" else 0.3 + 0.7 * abs(math.sin(at / RATE * math.pi))
        turn = notes if kind == "tone" else [each * 2 ** ((at // RATE % 4) / 12) for each in notes]
        made.append(int(8_000 / len(notes) * beat * sum(math.sin(2 * math.pi * each * at / RATE) for each in turn)))
    return made.tobytes()


async def said_of(http: aiohttp.ClientSession, url: str, pcm: bytes) -> str:
    """What is heard in a recording."""
    form = aiohttp.FormData({"model": "local"})
    form.add_field("file", wav_header(RATE, len(pcm) // 2) + pcm, filename="a.wav")
    async with http.post(f"{url}/api/v1/audio/transcriptions", data=form) as answer:
        answer.raise_for_status()
        return str((await answer.json())["text"])


async def measure(rounds: int, minutes: float) -> None:
    """All of it, on one server."""
    settings = {"plugins.enabled": ["tts", "audio"], "plugins.audio.local_parallel": 2}
    with tempfile.TemporaryDirectory() as folder:
        async with engine_inside(Path(folder), settings, {}) as engine, aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{engine.port}"
            sounds = await spoken(http, url)
            async with connected(url) as socket:
                await say(socket, sounds[0])
            for speakers in (1, 2, 4):
                together = await asyncio.gather(
                    *(speaker(url, sounds, number * 3, rounds) for number in range(speakers))
                )
                results = [each for one in together for each in one]
                waits = [wait for _, wait, _ in results]
                words = sum(
                    len(words_of(SENTENCES[(n * 3 + t) % len(SENTENCES)]))
                    for n in range(speakers)
                    for t in range(rounds)
                )
                wrong = sum(each for each, _, _ in results)
                partials = sum(each for _, _, each in results) / len(results)
                sys.stdout.write(
                    f"{speakers} at once, {len(results)} sentences: final text p50 {quantile(waits, 0.5):.0f} ms, "
                    f"p99 {quantile(waits, 0.99):.0f} ms after the last sample; {wrong} of {words} words wrong; "
                    f"{partials:.1f} partial texts a sentence\n"
                )
            for kind in ("silence", "noise", "tone", "music"):
                text = await said_of(http, url, await asyncio.to_thread(no_speech, kind, int(60 * minutes)))
                sys.stdout.write(f"{minutes:g} minutes of {kind}: {text!r}\n")


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.5)
    asked = parser.parse_args()
    uvloop.run(measure(asked.rounds, asked.minutes))


if __name__ == "__main__":
    main()
