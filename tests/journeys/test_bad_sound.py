"""Sound and text as nobody should send them: each has an outcome that is clear, and none holds up or fills the server."""

from __future__ import annotations

import asyncio
import io
import json
import random
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.wav import wav_header
from plugins.vendors.codecs import decode, encoder
from tests.databases import unavailable
from tests.emulators.deepgram import DeepgramEmulator, sound_of_words
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.sound import Sing
from tests.journeys.client import Frame, Socket, connected
from tests.server import behind, engine_inside, serving
from tests.words import bare

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "dg-test-0123456789"
WORDS = " ".join(f"word{number}" for number in range(60))
BACKLOG = 2
LONGEST = 600
MIB = 1 << 20


class Server:
    """A server that speaks and listens, and the vendors behind it."""

    def __init__(self, engine: Engine, openai: OpenAIEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.openai = openai
        self.http = http

    async def speak(self, **body: Any) -> tuple[int, bytes]:
        async with self.http.post(f"{self.url}/api/v1/tts", json={"format": "pcm", **body}) as answer:
            return answer.status, await answer.read()

    async def spoken(self, text: str, format: str) -> bytes:
        if shutil.which("flite") is None:
            unavailable("flite is not installed (Debian's package flite)")
        status, sound = await self.speak(text=text, model="local", voice="kal16", format=format)
        assert status == 200
        return sound

    async def hear(self, sound: bytes | io.BytesIO, **fields: str) -> tuple[int, Any]:
        async with self.http.post(f"{self.url}/api/v1/audio/transcriptions", data=form(sound, **fields)) as answer:
            return answer.status, await answer.json(content_type=None)

    async def stages(self, sound: bytes) -> list[str]:
        """The stages that are told of while a recording is heard."""
        url = f"{self.url}/api/v1/audio/transcriptions"
        async with self.http.post(url, data=form(sound), headers={"Accept": "text/event-stream"}) as answer:
            events = [json.loads(line[6:]) async for line in answer.content if line.startswith(b"data: {")]
        return [event["stage"] for event in events if event["type"] == "status"]


def form(sound: Any, **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData({"model": "local", **fields})
    made.add_field("file", sound, filename="sound")
    return made


def frame(number: int, n: int, pcm: bytes) -> bytes:
    return struct.pack(">IIBBHI", number, n, 1, 0, 0, 0) + pcm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with AsyncExitStack() as stack:
        openai = await stack.enter_async_context(OpenAIEmulator())
        deepgram = await stack.enter_async_context(DeepgramEmulator(WORDS, key=KEY))
        settings = {
            "plugins.enabled": ["tts", "audio"],
            "plugins.audio.backlog": BACKLOG,
            "plugins.audio.longest": LONGEST,
            "plugins.audio.local_parallel": 1,
            "models.retries": 0,
            "models.breaker_failures": 1000,
            "vendors.deepgram.base_url": deepgram.base_url,
            "vendors.deepgram.api_key": KEY,
        }
        folder = tmp_path_factory.mktemp("server")
        engine = await stack.enter_async_context(engine_inside(folder, settings, behind(openai)))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Server(engine, openai, http)


# Recordings

SAID = "Hello, how are you today?"


def cut(sound: bytes) -> bytes:
    return sound[: len(sound) * 2 // 3]


def holed(sound: bytes) -> bytes:
    middle = len(sound) // 2
    return sound[:middle] + bytes(1_000) + sound[middle + 1_000 :]


@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "aac"])
async def test_a_recording_that_is_cut_off_is_heard_as_far_as_it_goes(server: Server, format: str) -> None:
    status, told = await server.hear(cut(await server.spoken(SAID, format)))
    assert (status, told["status"]) == (200, "completed")
    assert bare(told["text"]).startswith("hello")
    assert 0.8 < told["usage"]["seconds"] < 1.6


@pytest.mark.parametrize("format", ["mp3", "flac", "aac"])
async def test_a_recording_with_a_hole_is_heard_behind_it_too(server: Server, format: str) -> None:
    sound = holed(await server.spoken(SAID, format))
    status, told = await server.hear(sound)
    assert (status, told["status"]) == (200, "completed")
    heard = bare(told["text"])
    assert heard.startswith("hello") and heard.endswith("are you today") and heard.count("hello") == 1
    if format != "flac":  # which finds its next frame by itself, and says nothing
        assert await server.stages(sound) == ["damaged"]


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac", "aac"])
async def test_the_first_bytes_of_a_recording_are_none(server: Server, format: str) -> None:
    status, told = await server.hear((await server.spoken(SAID, format))[:20])
    assert (status, told["code"], told["field"]) == (415, "unsupported_media", "file")


def header(**changes: int) -> bytes:
    """A WAV file of half a second whose header says something else."""
    places = {"channels": (22, 2), "rate": (24, 4)}
    made = bytearray(wav_header(16_000, 8_000))
    for name, value in changes.items():
        at, size = places[name]
        made[at : at + size] = value.to_bytes(size, "little")
    return bytes(made) + bytes(16_000)


@pytest.mark.parametrize(
    "sound",
    [
        header(rate=0),
        header(rate=4_000_000_000),
        header(channels=0),
        header(channels=200),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"<html>" * 100,
        "wørds".encode() * 1_000,
    ],
    ids=["no rate", "a high rate", "no channel", "many channels", "a picture", "a page", "words"],
)
async def test_what_is_no_recording_is_refused(server: Server, sound: bytes) -> None:
    status, told = await server.hear(sound)
    assert (status, told["code"], told["field"]) == (415, "unsupported_media", "file")
    assert "wav, mp3" in told["detail"]


@pytest.mark.parametrize("rate", [1, 100, 3_999, 400_000])
async def test_a_header_with_a_rate_of_no_recording_is_refused(server: Server, rate: int) -> None:
    status, told = await server.hear(header(rate=rate))
    assert (status, told["code"], told["field"]) == (415, "unsupported_media", "file")
    assert f"it has {rate} samples a second; from 4000 to 384000 are read" in told["detail"]


def silence(seconds: int) -> bytes:
    """Many seconds of sound in few bytes."""
    made = encoder("flac", 8_000)
    return b"".join([*(made.feed(bytes(16_000)) for _ in range(seconds)), made.finish()])


async def test_few_bytes_that_hold_more_sound_than_a_recording_may_have_are_refused(server: Server) -> None:
    sound = silence(LONGEST + 10)
    status, told = await server.hear(sound)
    assert len(sound) < LONGEST * 500
    assert (status, told["code"], told["field"]) == (413, "too_large", "file")
    assert f"longer than {LONGEST} seconds" in told["detail"]


async def test_a_long_recording_keeps_no_other_from_its_turn(server: Server) -> None:
    long, short = form(silence(LONGEST - 10)), wav_header(16_000, 8_000) + bytes(16_000)
    url, headers = f"{server.url}/api/v1/audio/transcriptions", {"Accept": "text/event-stream"}
    async with server.http.post(url, data=long, headers=headers) as answer:
        lines = aiter(answer.content)
        while b"transcribing" not in await anext(lines):
            pass
        status, told = await server.hear(short)
        rest = [line async for line in lines if line.startswith(b"data: {")]
    assert (status, told["usage"]["seconds"]) == (200, 0.5)
    # It was heard while most of the long one was still to come.
    assert sum(b"transcribing" in line for line in rest) > 10
    assert json.loads(rest[-1][6:])["status"] == "completed"


async def test_a_disk_that_takes_no_temporary_file_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    status, told = await server.hear(io.BytesIO(wav_header(16_000, MIB) + bytes(2 * MIB)))
    assert (status, told["code"], told["retryable"]) == (503, "storage_unavailable", True)
    assert str(tmp_path) not in json.dumps(told)


async def test_half_a_sample_at_the_end_is_none(server: Server) -> None:
    status, told = await server.hear(wav_header(16_000, 8_000) + bytes(16_001))
    assert (status, told["text"], told["usage"]["seconds"]) == (200, "", 0.5)


@pytest.mark.parametrize(
    "sound",
    [bytes(64_000), random.Random(1).randbytes(64_000), b""],
    ids=["silence", "noise", "a header alone"],
)
async def test_where_nobody_speaks_nothing_is_heard(server: Server, sound: bytes) -> None:
    status, told = await server.hear(wav_header(16_000, len(sound) // 2) + sound)
    assert (status, told["status"], told["text"]) == (200, "completed", "")
    assert told["usage"]["seconds"] == len(sound) / 32_000


@pytest.mark.parametrize(
    "listing",
    [
        "ffconcat version 1.0\nfile {name}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{name}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
    ids=["a list", "a playlist", "a playlist of addresses", "a session"],
)
async def test_a_file_that_names_others_opens_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str
) -> None:
    (tmp_path / "secret.wav").write_bytes(wav_header(16_000, 8_000) + bytes(16_000))
    monkeypatch.chdir(tmp_path)
    sound = listing.format(name="secret.wav", path=tmp_path / "secret.wav").encode()
    async with asyncio.timeout(10):
        status, told = await server.hear(sound)
    assert (status, told["code"]) == (415, "unsupported_media")


async def test_a_recording_is_read_no_further_than_it_is_heard() -> None:
    file = io.BytesIO(wav_header(16_000, 16_000 * 600) + bytes(32_000 * 600))
    assert await asyncio.to_thread(next, decode(file, 16_000))
    assert file.tell() < MIB


async def test_two_hours_are_heard_piece_by_piece_in_the_memory_of_a_minute(server: Server, tmp_path: Path) -> None:
    async def silence(seconds: int) -> AsyncIterator[bytes]:
        yield wav_header(8_000, seconds * 8_000)
        for _ in range(seconds):
            yield bytes(16_000)

    with serving(tmp_path, {"plugins.enabled": ["audio"]}, {}) as program:
        process = psutil.Process(program.pid)
        url, headers = f"{program.url}/api/v1/audio/transcriptions", {"Accept": "text/event-stream"}

        async def hear(seconds: int) -> tuple[list[Frame], int]:
            events: list[Frame] = []
            most = 0
            async with server.http.post(url, data=form(silence(seconds)), headers=headers) as answer:
                async for line in answer.content:
                    most = max(most, process.memory_info().rss)
                    if line.startswith(b"data: {"):
                        events.append(json.loads(line[6:]))
            return events, most

        _, little = await hear(60)
        events, much = await hear(7_200)
    assert (events[-1]["status"], events[-1]["usage"]["seconds"]) == ("completed", 7_200)
    progress = [event["detail"] for event in events if event["type"] == "status"]
    assert progress[0].startswith("10 s") and progress[-1].startswith("7190 s") and len(progress) == 719
    # The recording alone has 110 MiB, and twice that where it is heard.
    assert much - little < 40 * MIB


# Live


async def started(socket: Socket, **fields: Any) -> tuple[str, int]:
    accepted = await socket.ask("audio.start", **fields)
    assert accepted["type"] == "accepted", accepted
    return accepted["stream"], accepted["number"]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"sample_rate": 4_000}, "sample_rate", "8000 or more"),
        ({"sample_rate": 96_000}, "sample_rate", "48000 or less"),
        ({"sample_rate": "16k"}, "sample_rate", "whole number"),
        ({"encoding": "opus"}, "encoding", "'mulaw'"),
        ({"language": "de"}, "language", "English only"),
    ],
)
async def test_audio_that_cannot_be_heard_is_refused_before_it_comes(
    server: Server, fields: dict[str, Any], field: str, says: str
) -> None:
    async with connected(server.url) as socket:
        error = (await socket.ask("audio.start", model="local", **fields))["error"]
    assert error["field"] == field and says in error["message"]


@pytest.mark.parametrize("pcm", [bytes(32_000), random.Random(2).randbytes(32_000)], ids=["silence", "noise"])
async def test_live_audio_in_which_nobody_speaks_ends_without_a_word(server: Server, pcm: bytes) -> None:
    async with connected(server.url) as socket:
        stream, number = await started(socket, model="local")
        await socket.send_raw(frame(number, 1, b""))
        await socket.send_raw(frame(number, 2, pcm))
        await socket.ask("audio.finish", stream=stream)
        end = await socket.end_of(stream)
    assert (end["status"], end["usage"]["seconds"]) == ("completed", 1.0)
    assert not [event for event in socket.of(stream).events if event.get("text")]


async def test_frames_that_come_faster_than_they_can_be_taken_are_refused_and_no_word_is_lost(server: Server) -> None:
    pcm = sound_of_words(len(WORDS.split()))
    frames = [pcm[at : at + 32_000] for at in range(0, len(pcm), 32_000)]
    taken, codes = 0, set()
    async with connected(server.url) as socket:
        stream, number = await started(socket, model="deepgram")
        while taken < len(frames):
            for n in range(taken + 1, len(frames) + 1):
                await socket.send_raw(frame(number, n, frames[n - 1]))
            # What is answered to the frames comes before what is answered to what follows them.
            await socket.ask("ping")
            told = [socket.waiting.pop(0) for _ in range(len(socket.waiting))]
            taken = max([taken, *(each["n"] for each in told if each["type"] == "audio.ack")])
            codes |= {each["error"]["code"] for each in told if each["type"] == "rejected"}
        assert (await socket.ask("audio.finish", stream=stream))["n"] == len(frames)
        end = await socket.end_of(stream)
    finals = [event["text"] for event in socket.of(stream).events if event["type"] == "transcript.final"]
    # Behind a frame that was refused, the next one comes out of its turn.
    assert codes == {"overloaded", "invalid_frame"}
    assert (end["status"], " ".join(finals)) == ("completed", WORDS)


@pytest.mark.parametrize("over", ["ended", "unknown", "spoken"])
async def test_a_frame_for_a_stream_that_takes_none_is_refused(server: Server, over: str) -> None:
    async with connected(server.url) as socket:
        stream, number = await started(socket, model="local")
        if over == "spoken":
            accepted = await socket.ask("tts.start", model="openai", text="one")
            await socket.end_of(accepted["stream"])
            number = accepted["number"]
        await socket.ask("audio.finish", stream=stream)
        await socket.end_of(stream)
        await socket.send_raw(frame(number + (1_000 if over == "unknown" else 0), 1, bytes(640)))
        error = (await socket.take("rejected"))["error"]
        assert (await socket.ask("ping"))["type"] == "pong"
    assert error["code"] == "invalid_frame"
    assert "takes binary frames" in error["message"]


# Texts


@pytest.mark.parametrize(
    ("text", "sentences"),
    [("word " * 20_000, 250), ("a" * 100_000, 250), ("Yes, it is so. " * 6_666, 1_000)],
    ids=["without an end", "without a blank", "sentences"],
)
async def test_the_longest_text_is_spoken_to_its_end(server: Server, text: str, sentences: int) -> None:
    server.openai.requests.clear()
    server.openai.sounds.extend([Sing(pieces=[bytes(48)])] * 10_000)
    status, sound = await server.speak(text=text, model="openai")
    server.openai.sounds.clear()
    asked = [request.body["input"] for request in server.openai.requests]
    assert status == 200
    assert len(sound) == 48 * len(asked)
    assert len(asked) >= sentences and max(len(each.strip()) for each in asked) <= 400
    assert "".join("".join(asked).split()) == "".join(text.split())


@pytest.mark.parametrize("clean", [True, False])
async def test_a_text_that_is_too_long_is_refused_for_its_length_before_it_is_read(server: Server, clean: bool) -> None:
    async with connected(server.url) as socket:
        error = (await socket.ask("tts.start", model="openai", text="\n" * 100_001, clean=clean))["error"]
        assert (error["code"], error["field"]) == ("invalid_request", "text")
        assert "at most 100000 characters" in error["message"]
        error = (await socket.ask("tts.start", model="openai", text="\n" * 100_000, clean=clean))["error"]
        assert "nothing that can be spoken" in error["message"]


async def test_a_text_that_grows_too_long_is_refused_and_what_came_before_is_spoken(server: Server) -> None:
    server.openai.sounds.extend([Sing(pieces=[bytes(48)])] * 1_000)
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="openai"))["stream"]
        assert (await socket.ask("tts.text", stream=stream, text="word " * 18_000))["type"] == "accepted"
        error = (await socket.ask("tts.text", stream=stream, text="word " * 4_000))["error"]
        await socket.ask("tts.finish", stream=stream)
        end = await socket.end_of(stream)
    server.openai.sounds.clear()
    assert (error["code"], error["field"]) == ("invalid_request", "text")
    assert "at most 100000" in error["message"]
    assert (end["status"], end["usage"]["characters"]) == ("completed", pytest.approx(90_000, rel=0.02))


@pytest.mark.parametrize("text", ["😀 👍🏽", "**\n---\n***", "```\ncode()\n```", "<b></b>", "\0", "…", " \n "])
async def test_a_text_without_a_word_is_refused_whole_and_passed_over_in_pieces(server: Server, text: str) -> None:
    server.openai.requests.clear()
    status, told = await server.speak(text=text, model="openai")
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="openai"))["stream"]
        assert (await socket.ask("tts.text", stream=stream, text=text))["type"] == "accepted"
        await socket.ask("tts.finish", stream=stream)
        end = await socket.end_of(stream)
    assert (status, json.loads(told)["field"]) == (400, "text")
    assert (end["status"], socket.of(stream).sound) == ("completed", b"")
    assert not server.openai.requests


async def test_a_text_that_makes_no_sound_here_is_told(server: Server) -> None:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    status, told = await server.speak(text="😀", clean=False, model="local", voice="kal16")
    assert (status, json.loads(told)["code"], json.loads(told)["field"]) == (400, "invalid_request", "text")
    assert "nothing that local/voice can speak" in json.loads(told)["detail"]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"model": "local", "voice": "nobody"}, "voice", "no voice 'nobody'"),
        ({"model": "openai", "voice": "nobody"}, "voice", "nobody"),
        ({"model": "local", "language": "tlh"}, "language", "no voice of this machine speaks 'tlh'"),
    ],
)
async def test_a_voice_that_there_is_not_is_named(
    server: Server, fields: dict[str, str], field: str, says: str
) -> None:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    status, told = await server.speak(text="one", **fields)
    problem = json.loads(told)
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", field)
    assert says in problem["detail"]
