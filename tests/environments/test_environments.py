"""In every environment that users have, all of the server answers, or says in a sentence what is missing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.databases import mysql_url  # noqa: F401  # a fixture
from tests.emulators.openai import OpenAIEmulator
from tests.environments.installing import MODEL, Venv, clone, run
from tests.environments.visitor import COMMANDS, HELP, Visitor, visiting
from tests.server import MODEL as VENDOR_MODEL
from tests.server import behind

pytestmark = [pytest.mark.environments, pytest.mark.timeout(900)]

EXTRAS: Mapping[str, Sequence[str]] = {
    "plain": (),
    "mysql,redis": ("mysql", "redis"),
    "local": ("local",),
    "local-voice": ("local-voice",),
    "mysql": ("mysql",),
    "otel": ("otel",),
    "redis": ("redis",),
    "voice": ("voice",),
}
"""Environments with the built wheel, by what is asked for beside it."""

SDKS = frozenset({"openai", "anthropic", "google-genai", "deepgram-sdk", "elevenlabs", "pytest"})
"""What developers have and users do not."""

HAS_VOICE = shutil.which("flite") is not None or shutil.which("espeak-ng") is not None


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[OpenAIEmulator]:
    """OpenAI on loopback, in the test's own process."""
    async with OpenAIEmulator() as emulator:
        yield emulator


def with_extras(plain: Venv, wheel: Path, name: str, folder: Path) -> Venv:
    """A copy of the plain environment with some extras."""
    venv = plain.copy(folder / "venv")
    asked = f"{wheel}[{name}]" if EXTRAS[name] else str(wheel)
    venv.install("--force-reinstall", "--no-deps", str(wheel))
    return venv.install(asked) if EXTRAS[name] else venv


async def visit(server: Visitor) -> None:
    """What holds everywhere: addresses, commands, a vendor with its key set."""
    assert await server.failures() == {}
    shown = await asyncio.gather(*(server.command(*arguments) for arguments in COMMANDS.values()))
    for name, outcome in zip(COMMANDS, shown, strict=True):
        # `check` says by its status that something which is on by default cannot work here.
        assert outcome.code == 0 or name == "check", f"{name}\n{outcome.output}"
    await vendor_answers(server)


async def vendor_answers(server: Visitor) -> None:
    """With a key set, everything of a vendor works without its SDK."""
    status, answer = await server.post("/api/v1/chat", json={"input": "Hello!", "model": VENDOR_MODEL})
    assert (status, bool(answer["text"])) == (200, True), answer
    status, answer = await server.post("/v1/embeddings", json={"input": ["a", "b"], "model": "openai/embed-1"})
    assert (status, len(answer["data"])) == (200, 2), answer
    speech = {"text": "Hello you.", "model": "openai/tts-1", "format": "pcm"}
    status, answer = await server.post("/api/v1/tts", json=speech)
    assert status == 200, answer
    chatted = await server.command("chat", "--model", VENDOR_MODEL, "Hello!")
    assert chatted.code == 0, chatted.output


async def local_chat(server: Visitor) -> tuple[int, Any]:
    body = {"input": "Hello!", "model": "local", "max_output_tokens": 5}
    return await server.post("/api/v1/chat", json=body)


async def heard(server: Visitor, sound: bytes, name: str, model: str = "local") -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("file", sound, filename=name)
    form.add_field("model", model)
    return await server.post("/v1/audio/transcriptions", data=form)


def says_what_is_missing(answer: Any) -> bool:
    """Whether an error tells in a sentence what to install or to set."""
    words = str(answer)
    return any(hint in words for hint in ("pip install", "not installed", "flite", "set ")) and "internal" not in words


@pytest.mark.parametrize("name", EXTRAS)
async def test_a_wheel_serves_with_these_extras(
    name: str, wheel: Path, plain: Venv, tmp_path: Path, vendor: OpenAIEmulator, request: pytest.FixtureRequest
) -> None:
    venv = await asyncio.to_thread(with_extras, plain, wheel, name, tmp_path)
    assert venv.packages.isdisjoint(SDKS)
    settings = {**behind(vendor), **await prepared(venv, name, request)}
    async with visiting(venv, tmp_path / "server", settings) as server:
        await visit(server)
        status, answer = await local_chat(server)
        assert status == 503 and says_what_is_missing(answer), answer
        if name == "local":
            assert f"--no-deps {MODEL}" in str(answer)
        status, sound = await server.post("/api/v1/tts", json={"text": "The boat.", "format": "wav"})
        can_speak = HAS_VOICE or name == "local-voice"
        assert status == 200 if can_speak else says_what_is_missing(sound), sound
        if status == 200:
            # A recording is decoded by the extra `voice` and heard by the extra `local`.
            _, text = await heard(server, sound, "boat.wav")
            assert says_what_is_missing(text), text
            mp3_status, mp3 = await server.post("/api/v1/tts", json={"text": "The boat.", "format": "mp3"})
            assert mp3_status == 200 if name == "voice" else says_what_is_missing(mp3), mp3


async def prepared(venv: Venv, name: str, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The settings that put an extra to use."""
    settings: dict[str, str] = {}
    if "mysql" in EXTRAS[name]:
        settings["BETTERAI__DATABASES__DEFAULT"] = await asyncio.to_thread(request.getfixturevalue, "mysql_url")
        await asyncio.to_thread(partial(run, venv.betterai, "db", "upgrade", cwd=venv.folder, seconds=120, **settings))
    if "redis" in EXTRAS[name]:
        settings["BETTERAI__LIMITS__REDIS"] = "redis://127.0.0.1:6379/9"
    if "otel" in EXTRAS[name]:
        settings["BETTERAI__TRACING__ENDPOINT"] = "http://127.0.0.1:9"
    return settings


@pytest.mark.parametrize(
    ("setting", "value", "extra"),
    [
        ("BETTERAI__LIMITS__REDIS", "redis://127.0.0.1:6379/9", "redis"),
        ("BETTERAI__TRACING__ENDPOINT", "http://127.0.0.1:9", "otel"),
        ("BETTERAI__DATABASES__DEFAULT", "mysql+asyncmy://root@127.0.0.1:3306/nothing", "mysql"),
    ],
)
def test_a_setting_whose_library_is_missing_is_refused_with_what_installs_it(
    setting: str, value: str, extra: str, plain: Venv, tmp_path: Path
) -> None:
    for command in ("check", "serve"):
        with pytest.raises(AssertionError, match=rf"betterai-engine\[{extra}\]") as refused:
            run(plain.betterai, command, cwd=tmp_path, seconds=60, **{setting: value})
        assert "Traceback" not in str(refused.value)


async def test_make_serve_brings_all_that_the_readme_lists(
    tmp_path: Path, vendor: OpenAIEmulator, record_property: Callable[[str, object], None]
) -> None:
    source = await asyncio.to_thread(clone, tmp_path / "clone")
    begun = asyncio.get_running_loop().time()
    await asyncio.to_thread(run, "make", ".venv/.serve", cwd=source)
    took = asyncio.get_running_loop().time() - begun
    venv = Venv(source / ".venv")
    assert not (venv.folder / ".missing").exists()
    size = sum(file.lstat().st_size for file in venv.folder.rglob("*"))
    record_property("megabytes", size >> 20)
    record_property("seconds", round(took))
    assert size < 1_200_000_000
    assert venv.packages.isdisjoint(SDKS)
    settings = {**behind(vendor), "BETTERAI__PLUGINS__LOCAL__CONTEXT": "1024"}
    async with visiting(venv, source, settings, ["make", "serve"]) as server:
        await visit(server)
        assert (await server.command("check")).code == 0
        helped = await asyncio.gather(*(server.command(*name.split(), "--help") for name in HELP))
        assert [outcome.code for outcome in helped] == [0] * len(HELP)
        status, answer = await local_chat(server)
        assert status == 200, answer
        status, sound = await server.post("/api/v1/tts", json={"text": "The boat.", "format": "mp3"})
        assert status == 200, sound
        status, answer = await heard(server, sound, "boat.mp3")
        assert status == 200, answer
        spoken = await server.command("speak", "Hello you.", "-o", "hello.wav")
        assert spoken.code == 0, spoken.output
        transcribed = await server.command("transcribe", "hello.wav")
        assert transcribed.code == 0, transcribed.output
        talked = await server.command("talk", "--in", "hello.wav", "--out", "answer.wav")
        assert talked.code == 0, talked.output
