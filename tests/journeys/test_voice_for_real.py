"""With no key and no emulator: a question is spoken, heard, answered by the model of this machine, and the answer spoken."""

from __future__ import annotations

import shutil
import struct

import aiohttp

from tests.databases import unavailable
from tests.journeys.client import connected
from tests.server import RunningServer, local_server
from tests.words import bare

__all__ = ("local_server",)

QUESTION, HEARD = "Hello, how are you today?", "hello how are you today"


async def test_a_spoken_question_gets_a_spoken_answer_from_this_machine_alone(local_server: RunningServer) -> None:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    server = local_server
    async with connected(server.url) as socket, aiohttp.ClientSession() as http:
        body = {"text": QUESTION, "format": "pcm", "rate": 16_000}
        async with http.post(f"{server.url}/api/v1/tts", json=body) as answer:
            question = await answer.read() + bytes(32_000)
        accepted = await socket.ask("audio.start", model="local")
        for n, at in enumerate(range(0, len(question), 640), 1):
            await socket.send_raw(struct.pack(">IIBBHI", accepted["number"], n, 1, 0, 0, 0) + question[at : at + 640])
        await socket.ask("audio.finish", stream=accepted["stream"])
        await socket.end_of(accepted["stream"])
        finals = [e["text"] for e in socket.of(accepted["stream"]).events if e["type"] == "transcript.final"]
        heard = await socket.chat(
            " ".join(finals), model="local", max_output_tokens=40, speak={"voice": "default", "format": "wav"}
        )
        end = await socket.end_of(heard.stream)
    assert list(map(bare, finals)) == [HEARD]
    assert end["status"] == "completed"
    assert heard.text.strip()
    assert heard.sound[:4] == b"RIFF"
    assert len(heard.sound) > 16_000
