"""This machine speaks so that it understands itself, refuses what it cannot say, and says who speaks; over HTTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from tests.databases import unavailable
from tests.journeys.client import connected
from tests.server import PROGRAM, engine_inside
from tests.words import words_of, wrong_words

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTENCES = (
    "The boat is green.",
    "Hello, how are you today?",
    "What is the weather like?",
    "My sister bought a new car last week.",
    "Please turn off the lights before you leave the house.",
    "The train to London leaves in ten minutes.",
    "I cannot find my keys, have you seen them?",
    "She opened the window because the room was too warm.",
    "We are going to have dinner at seven o'clock.",
    "Could you tell me where the nearest hospital is?",
    "The children played in the garden all afternoon.",
    "There is a problem with my order, and I want my money back.",
    "Thank you very much for your help.",
)
MOST_WRONG_OF_FLITE = 0.1
PARAGRAPH = " ".join(SENTENCES)


class Here:
    """A server of this machine's own voices and ears."""

    def __init__(self, engine: Engine, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.http = http

    async def spoken(self, text: str, **fields: Any) -> bytes:
        async with self.http.post(
            f"{self.url}/api/v1/tts", json={"text": text, "format": "wav", "model": "local", **fields}
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def refused(self, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        async with self.http.post(f"{self.url}{path}", json=fields) as answer:
            return answer.status, await answer.json()

    async def heard(self, sound: bytes) -> str:
        form = aiohttp.FormData({"model": "local/whisper-tiny.en"})
        form.add_field("file", sound, filename="sound.wav")
        async with self.http.post(f"{self.url}/api/v1/audio/transcriptions", data=form) as answer:
            return str((await answer.json())["text"])

    async def speaking(self) -> tuple[str, str]:
        """State and detail of the line in `/health/ready`."""
        async with self.http.get(f"{self.url}/health/ready") as answer:
            [line] = [each for each in (await answer.json())["checks"] if each["name"] == "tts.speaking"]
        return line["state"], line["detail"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    settings = {"plugins.enabled": ["tts", "audio", "openai_api"]}
    async with (
        aiohttp.ClientSession() as http,
        engine_inside(tmp_path_factory.mktemp("server"), settings) as engine,
    ):
        yield Here(engine, http)


async def test_health_says_who_speaks(here: Here) -> None:
    await here.spoken("Hello.")
    state, detail = await here.speaking()
    assert state == "ok" and detail.startswith("heart, process ")


async def test_a_voice_is_loaded_while_its_text_is_still_written(tmp_path: Path) -> None:
    async with (
        aiohttp.ClientSession() as http,
        engine_inside(tmp_path, {"plugins.enabled": ["tts"]}) as engine,
        connected(f"http://127.0.0.1:{engine.port}") as socket,
    ):
        here = Here(engine, http)
        assert (await here.speaking())[1] == "heart, loaded at its first use"
        stream = (await socket.ask("tts.start", model="local"))["stream"]
        async with asyncio.timeout(60):
            while not (await here.speaking())[1].startswith("heart, process "):
                pass
        await socket.ask("stream.cancel", stream=stream)
        await socket.end_of(stream)
        assert (await here.speaking())[1].startswith("heart, process ")


async def test_the_program_takes_a_language(here: Here, tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        unavailable("espeak-ng is not installed (Debian's package espeak-ng)")

    async def run(*options: str) -> str:
        done = await asyncio.create_subprocess_exec(
            PROGRAM,
            "speak",
            "Привет, как дела?",
            "-o",
            "a.wav",
            *options,
            "--server",
            here.url,
            cwd=tmp_path,
            stderr=PIPE,
        )
        return " ".join((await done.communicate())[1].decode().split())

    assert "does not read Cyrillic" in await run()
    assert "a.wav" in await run("--language", "ru")
    assert (tmp_path / "a.wav").stat().st_size > 20_000


@pytest.mark.parametrize("said", SENTENCES)
async def test_what_the_default_voice_says_is_understood_word_for_word(here: Here, said: str) -> None:
    assert words_of(await here.heard(await here.spoken(said))) == words_of(said)


async def test_what_flite_says_is_understood_nearly(here: Here) -> None:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    said = wrong = 0
    for text in SENTENCES:
        said += len(words_of(text))
        wrong += wrong_words(text, await here.heard(await here.spoken(text, voice="kal16")))
    assert wrong / said < MOST_WRONG_OF_FLITE


async def test_four_speeches_at_once_are_the_same_as_alone(here: Here) -> None:
    texts: Sequence[str] = (PARAGRAPH, *SENTENCES[:3])
    alone = [await here.spoken(text) for text in texts]
    assert await asyncio.gather(*(here.spoken(text) for text in texts)) == alone


async def test_a_file_is_whole_though_the_process_is_killed_while_it_is_spoken(here: Here) -> None:
    undisturbed = await here.spoken(PARAGRAPH)
    body = {"text": PARAGRAPH, "format": "wav", "model": "local"}
    async with here.http.post(f"{here.url}/api/v1/tts", json=body) as answer:
        begin = await answer.content.readexactly(10_000)
        _, detail = await here.speaking()
        os.kill(int(detail.split("process ")[1].split()[0]), signal.SIGKILL)
        async with asyncio.timeout(60):
            rest = await answer.content.read()
    assert begin + rest == undisturbed


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"text": "你好，今天天气怎么样？"}, "text", "does not read Chinese characters"),
        ({"text": "你好，今天天气怎么样？", "voice": "heart"}, "text", "voices of this machine that do: cmn"),
        ({"text": "It begins well. Потом я говорю по-русски.", "voice": "kal16"}, "text", "does not read Cyrillic"),
        ({"text": "Hello.", "voice": "heart", "language": "fr"}, "voice", "does not speak 'fr'"),
        ({"text": "Hello.", "voice": "emma"}, "voice", "there is no voice 'emma'"),
        ({"text": "Hello.", "language": "tlh"}, "language", "no voice of this machine speaks 'tlh'"),
        ({"text": "Hello.", "speed": 3.0}, "speed", "0.5 to 2 times"),
    ],
)
async def test_what_a_voice_cannot_say_is_refused_before_it_speaks(
    here: Here, fields: dict[str, Any], field: str, says: str
) -> None:
    status, problem = await here.refused("/api/v1/tts", model="local", **fields)
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", field)
    assert says in problem["detail"]


async def test_openais_clients_are_told_in_their_words(here: Here) -> None:
    status, answer = await here.refused("/v1/audio/speech", model="local", input="Привет, как дела?", voice="alloy")
    assert (status, answer["error"]["param"]) == (400, "input")
    assert "heart does not read Cyrillic" in answer["error"]["message"]


async def test_code_that_is_not_read_aloud_refuses_nothing(here: Here) -> None:
    assert await here.spoken("Here it is.\n\n```\nprint('Привет, как дела?')\n```\n\nThat was all.")


async def test_a_language_chooses_its_voice(here: Here) -> None:
    if shutil.which("espeak-ng") is None:
        unavailable("espeak-ng is not installed (Debian's package espeak-ng)")
    sound = await here.spoken("你好，今天天气怎么样？", language="zh")
    assert int.from_bytes(sound[24:28], "little") == 22_050 and len(sound) > 22_050
