"""What the server itself adds to speech, and how soon this machine's own voice is heard: python -m bench.voice

Server, emulated vendor and clients share one process and one core, and the vendor answers at once, so that all figures hold
the vendor's and the clients' work, too: they are upper bounds of the server's own share.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import uvloop

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Say
from tests.journeys.client import Socket, connected
from tests.server import CHAT, MODEL, behind, engine_inside

SPEECHES = 200
CALLS = 50
SECONDS = 5
FRAME = 640
"""Bytes of 20 ms at 16,000 samples a second."""

SPOKEN_HERE = 40
HERE = ("The boat is green.", "Hello, how are you today?", "I would like to order a cup of tea with milk, please.")

_FIRST = "This is the first sentence of the answer. "


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


async def sentence_to_voice(vendor: OpenAIEmulator, url: str) -> None:
    """From the last letter of a first sentence, as the model's vendor sends it, to the voice's first sound at the client."""
    to_voice: list[float] = []
    to_sound: list[float] = []
    async with connected(url) as socket:
        for _ in range(SPEECHES):
            vendor.requests.clear()
            sent = 0.0

            def say(_: object) -> Say:
                nonlocal sent
                sent = time.perf_counter()
                return Say(pieces=[_FIRST, "And more."], join=True)

            vendor.script.append(say)
            heard = await socket.chat("Hi", model=MODEL, store=False, speak={"model": "openai/tts-1"})
            await vendor.received(2)
            to_voice.append(time.perf_counter() - sent)
            await socket.until(lambda: bool(heard.sound), "the first sound")  # noqa: B023
            to_sound.append(time.perf_counter() - sent)
            await socket.end_of(heard.stream)
    print(
        f"first sentence, {SPEECHES} turns: at the voice after p50 {quantile(to_voice, 0.5):.2f} ms, "
        f"p99 {quantile(to_voice, 0.99):.2f} ms; its sound at the client after p50 {quantile(to_sound, 0.5):.2f} ms, "
        f"p99 {quantile(to_sound, 0.99):.2f} ms"
    )


async def frames_up(url: str) -> None:
    """Live audio of many calls at the pace at which it is spoken: CPU for each second of audio."""
    async with connected(url) as socket:
        calls = [await socket.ask("audio.start", model="openai/whisper-1") for _ in range(CALLS)]
        cpu = time.process_time()
        begun = time.perf_counter()
        late: list[float] = []
        for n in range(1, SECONDS * 50 + 1):
            due = begun + n * 0.02
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            late.append(time.perf_counter() - due)
            for call in calls:
                await socket.send_raw(struct.pack(">IIBBHI", call["number"], n, 1, 0, 0, 0) + bytes(FRAME))
        used = time.process_time() - cpu
        await stop(socket, [call["stream"] for call in calls])
    print(
        f"{CALLS} calls of 20 ms frames for {SECONDS} s: {used / SECONDS:.3f} of a core with the client's work, "
        f"{used / (CALLS * SECONDS * 50) * 1e6:.0f} us a frame; frames sent late by p99 {quantile(late, 0.99):.2f} ms"
    )


async def stop(socket: Socket, streams: list[str]) -> None:
    for stream in streams:
        await socket.ask("stream.cancel", stream=stream)


async def voice_of_this_machine(url: str) -> None:
    """From the request for a speech to its first samples at the client, one after the other, once the model is loaded."""
    first: list[float] = []
    whole: list[float] = []
    seconds = 0.0
    async with aiohttp.ClientSession() as http:
        for number in range(-1, SPOKEN_HERE):
            body = {"text": HERE[number % len(HERE)], "model": "local", "voice": "heart", "format": "pcm"}
            begun = time.perf_counter()
            async with http.post(f"{url}/api/v1/tts", json=body) as answer:
                size = len(await answer.content.readany())
                heard = time.perf_counter() - begun
                size += len(await answer.content.read())
            if number < 0:
                print(f"this machine's voice, the first sound of all, its model loaded: {heard * 1000:.0f} ms")
                continue
            first.append(heard)
            whole.append(time.perf_counter() - begun)
            seconds += size / 48_000
    print(
        f"this machine's voice, {SPOKEN_HERE} sentences: first sound after p50 {quantile(first, 0.5):.0f} ms, "
        f"p99 {quantile(first, 0.99):.0f} ms; whole after p50 {quantile(whole, 0.5):.0f} ms; "
        f"{seconds / sum(whole):.0f} times as quick as speech"
    )


async def main() -> None:
    settings = {**CHAT, "plugins.enabled": ["chat", "tts", "audio"], "log.level": "error"}
    async with OpenAIEmulator() as vendor:
        with tempfile.TemporaryDirectory() as folder:
            async with engine_inside(Path(folder), settings, behind(vendor)) as engine:
                url = f"http://127.0.0.1:{engine.port}"
                await sentence_to_voice(vendor, url)
                await frames_up(url)
                await voice_of_this_machine(url)


if __name__ == "__main__":
    uvloop.run(main()) if sys.platform != "win32" else asyncio.run(main())
