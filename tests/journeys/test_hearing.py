"""Speech is written down: by this machine for real, by an emulated vendor, live and out of files, over every door."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import struct
import wave
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.g711 import LAWS, Law
from engine.wire.wav import wav_header
from tests.databases import unavailable
from tests.emulators.openai import OpenAIEmulator, form_of
from tests.emulators.reply import Condition, Fault
from tests.emulators.sound import tone
from tests.journeys.client import Socket, connected
from tests.server import PROGRAM, behind, engine_inside
from tests.words import bare

QUIET = wav_header(16_000, 4_000) + bytes(8_000)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "plugins.enabled": ["tts", "audio", "openai_api"],
    "models.retries": 1,
    "models.breaker_failures": 1000,
    "plugins.audio.rewrites": [{"pattern": r"(?i)\bpeter\b", "replacement": "Pete"}],
    "plugins.audio.backlog": 30,
}
KNOWN = (
    ("Hello, how are you today?", "hello how are you today"),
    ("I would like a cup of coffee.", "i would like a cup of coffee"),
    ("Good morning, my name is Peter.", "good morning my name is Pete"),
)
"""What flite says and is heard, but for capitals and points."""


class Hearing:
    """A server that speaks and listens, its vendor, and plain HTTP."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def spoken(self, text: str, format: str = "wav") -> bytes:
        body = {"text": text, "voice": "kal16", "format": format}
        async with self.http.post(f"{self.url}/api/v1/tts", json=body) as answer:
            assert answer.status == 200
            return await answer.read()

    async def post(self, sound: bytes, path: str = "transcriptions", **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData(fields)
        form.add_field("file", sound, filename="sound")
        async with self.http.post(f"{self.url}/api/v1/audio/{path}", data=form) as answer:
            return answer.status, await answer.json(content_type=None)

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key="any", base_url=f"{self.url}/v1", max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hearing]:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    async with (
        OpenAIEmulator() as vendor,
        aiohttp.ClientSession() as http,
        engine_inside(tmp_path_factory.mktemp("server"), SETTINGS, behind(vendor)) as engine,
    ):
        yield Hearing(engine, vendor, http)


@pytest.fixture
def hearing(shared: Hearing) -> Hearing:
    shared.vendor.script.clear()
    shared.vendor.transcripts.clear()
    shared.vendor.requests.clear()
    return shared


def frame(number: int, n: int, pcm: bytes) -> bytes:
    return struct.pack(">IIBBHI", number, n, 1, 0, 0, 0) + pcm


async def send(socket: Socket, number: int, pcm: bytes, *, first: int = 1, size: int = 640) -> int:
    """Send audio as frames of 20 ms; gives the count of the last."""
    n = first - 1
    for n, at in enumerate(range(0, len(pcm), size), first):
        await socket.send_raw(frame(number, n, pcm[at : at + size]))
    return n


# For real


@pytest.mark.parametrize("model", ["local", "local/pocketsphinx"])
@pytest.mark.parametrize(("said", "heard"), KNOWN)
async def test_what_this_machine_says_it_hears(hearing: Hearing, said: str, heard: str, model: str) -> None:
    status, told = await hearing.post(await hearing.spoken(said), model=model, words="true")
    assert (status, told["status"], bare(told["text"])) == (200, "completed", heard.lower())
    assert told["model"] == (model if "/" in model else "local/whisper-tiny.en")
    words = [word for segment in told["segments"] for word in segment["words"]]
    assert bare(" ".join(word["text"] for word in words)) == bare(said)
    assert all(before["end"] <= after["start"] + 0.02 for before, after in pairwise(words))
    assert told["usage"]["seconds"] > 1


@pytest.mark.parametrize("format", ["mp3", "opus", "flac", "aac"])
async def test_a_recording_may_come_in_any_container(hearing: Hearing, format: str) -> None:
    said, heard = KNOWN[0]
    status, told = await hearing.post(await hearing.spoken(said, format))
    assert (status, bare(told["text"])) == (200, heard)


@pytest.mark.parametrize("rate", [16_000, 24_000])
async def test_speech_is_heard_while_it_is_spoken(hearing: Hearing, rate: int) -> None:
    said, heard = KNOWN[1]
    body = {"text": said, "voice": "kal16", "format": "pcm", "rate": rate}
    async with hearing.http.post(f"{hearing.url}/api/v1/tts", json=body) as answer:
        pcm = await answer.read()
    async with connected(hearing.url) as socket:
        accepted = await socket.ask("audio.start", model="local", sample_rate=rate, recording_id="r1")
        stream = accepted["stream"]
        last = await send(socket, accepted["number"], pcm + bytes(rate * 2), size=rate // 25)
        await socket.take("audio.ack", stream=stream)
        # Told before anybody said that it is over: a second of silence ends the stretch.
        await socket.until(lambda: socket.of(stream).kinds[-1:] == ["transcript.final"], "a final transcript")
        finished = await socket.ask("audio.finish", stream=stream)
        end = await socket.end_of(stream)
        events = socket.of(stream).events
    assert finished["n"] == last
    partials = [event["text"] for event in events if event["type"] == "transcript.partial"]
    assert partials and bare(partials[-1]).split()[0] == heard.split()[0]
    assert [bare(event["text"]) for event in events if event["type"] == "transcript.final"] == [heard]
    assert (end["status"], end["model"], end["extra"]) == ("completed", "local/whisper-tiny.en", {"recording_id": "r1"})


@pytest.mark.parametrize("law", LAWS)
async def test_speech_from_a_telephone_line_is_heard(hearing: Hearing, law: Law) -> None:
    said, heard = KNOWN[1]
    body = {"text": said, "voice": "kal16", "format": "pcm", "rate": 16_000}
    async with hearing.http.post(f"{hearing.url}/api/v1/tts", json=body) as answer:
        codes = LAWS[law].encode(await answer.read())
    async with connected(hearing.url) as socket:
        accepted = await socket.ask("audio.start", model="local", sample_rate=16_000, encoding=law)
        # Frames of an odd number of bytes: a code is a whole sample.
        last = await send(socket, accepted["number"], codes, size=321)
        assert (await socket.ask("audio.finish", stream=accepted["stream"]))["n"] == last
        end = await socket.end_of(accepted["stream"])
        events = socket.of(accepted["stream"]).events
    assert [bare(event["text"]) for event in events if event["type"] == "transcript.final"] == [heard]
    assert end["status"] == "completed"


async def test_a_client_that_was_cut_off_comes_back_and_no_word_is_lost_or_doubled(hearing: Hearing) -> None:
    said, heard = KNOWN[0]
    pcm = (await hearing.spoken(said))[44:] + bytes(32_000)
    half = len(pcm) // 1280 * 640
    async with connected(hearing.url) as socket:
        accepted = await socket.ask("audio.start", model="local")
        last = await send(socket, accepted["number"], pcm[:half])
        acknowledged = (await socket.take("audio.ack"))["n"]
    async with connected(hearing.url) as socket:
        resumed = await socket.ask("stream.resume", stream=accepted["stream"], after=0)
        # What was not acknowledged is sent once more, and some of it had been taken.
        await send(socket, resumed["number"], pcm[acknowledged * 640 :], first=acknowledged + 1)
        await socket.ask("audio.finish", stream=accepted["stream"])
        await socket.end_of(accepted["stream"])
        finals = [e["text"] for e in socket.of(accepted["stream"]).events if e["type"] == "transcript.final"]
    assert last > acknowledged
    assert list(map(bare, finals)) == [heard]


@pytest.mark.parametrize("sound", [bytes(64_000), tone(2.0, 16_000, 880.0)], ids=["silence", "a tone"])
async def test_where_nobody_speaks_nothing_is_heard(hearing: Hearing, sound: bytes) -> None:
    status, told = await hearing.post(wav_header(16_000, len(sound) // 2) + sound, model="local")
    assert (status, told["status"]) == (200, "completed")
    assert told["text"] == ""


async def test_a_recording_that_is_cut_off_is_heard_as_far_as_it_goes(hearing: Hearing) -> None:
    sound = await hearing.spoken(KNOWN[0][0])
    status, told = await hearing.post(sound[: len(sound) * 2 // 3], model="local")
    assert (status, told["status"]) == (200, "completed")
    assert bare(told["text"]).startswith("hello how")


async def test_the_official_client_gets_each_form(hearing: Hearing) -> None:
    said, heard = KNOWN[0]
    sound = await hearing.spoken(said)
    async with hearing.client() as client:
        create = client.audio.transcriptions.create
        assert bare((await create(model="local", file=("a.wav", sound))).text) == heard
        assert bare(str(await create(model="local", file=("a.wav", sound), response_format="text"))) == heard
        srt = str(await create(model="local", file=("a.wav", sound), response_format="srt")).splitlines()
        vtt = str(await create(model="local", file=("a.wav", sound), response_format="vtt")).splitlines()
        told = await create(
            model="local", file=("a.wav", sound), response_format="verbose_json", timestamp_granularities=["word"]
        )
        events = [event async for event in await create(model="local", file=("a.wav", sound), stream=True)]
    assert srt[0] == "1" and " --> " in srt[1] and "," in srt[1] and bare(srt[2]) == heard
    assert vtt[0] == "WEBVTT" and "." in vtt[2] and bare(vtt[3]) == heard
    assert told.duration > 1 and told.words is not None
    assert [bare(word.word) for word in told.words] == heard.split()
    assert [event.type for event in events][-1] == "transcript.text.done"
    assert bare("".join(event.delta for event in events if event.type == "transcript.text.delta")) == heard


async def test_the_program_writes_what_it_hears(hearing: Hearing, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(await hearing.spoken(KNOWN[0][0]))
    done = await asyncio.create_subprocess_exec(
        PROGRAM, "transcribe", str(file), "--times", "--server", hearing.url, stdout=PIPE, stderr=PIPE
    )
    told, problem = await done.communicate()
    assert done.returncode == 0, problem
    begin, _, words = told.decode().strip().partition("  ")
    assert 0 <= float(begin) < 1 and bare(words) == KNOWN[0][1]


# The vendor


async def test_the_vendor_is_sent_a_recording_and_its_times_are_told(hearing: Hearing) -> None:
    hearing.vendor.transcripts.append("Hello there, Anna.")
    status, told = await hearing.post(
        await hearing.spoken("Anything."), model="whisper-1", words="true", language="en-GB"
    )
    fields, sound = form_of(hearing.vendor.requests[0])
    with wave.open(io.BytesIO(sound)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes() * 2) == (16_000, 1, len(sound) - 44)
    assert fields["language"] == "en"
    assert (status, told["text"], told["model"]) == (200, "Hello there, Anna.", "openai/whisper-1")
    assert [word["text"] for word in told["segments"][0]["words"]] == ["Hello", "there", "Anna"]
    assert float(told["cost"]["amount"]) == pytest.approx(told["usage"]["seconds"] * 0.006 / 60, rel=0.01)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_a_translation_goes_where_it_can_be_made(hearing: Hearing) -> None:
    hearing.vendor.transcripts.append("Good day.")
    sound = await hearing.spoken("Anything.")
    status, told = await hearing.post(sound, "translations", model="whisper-1")
    assert (status, told["text"]) == (200, "Good day.")
    assert hearing.vendor.requests[0].path.endswith("/audio/translations")
    async with hearing.client() as client:
        made = await client.audio.translations.create(model="whisper-1", file=("a.wav", sound))
    assert made.text == "Hello there."


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ("rate_limit", 429, "provider_rate_limited"),
        ("server", 502, "provider_unavailable"),
        ("invalid_key", 502, "provider_refused"),
    ],
)
async def test_the_vendors_failures_are_told(hearing: Hearing, condition: Condition, status: int, code: str) -> None:
    hearing.vendor.script.append(Fault.because(condition))
    told, problem = await hearing.post(await hearing.spoken("Anything."), model="whisper-1")
    assert (told, problem["code"]) == (status, code)
    assert "0123456789" not in json.dumps(problem)


# What is wrong


@pytest.mark.parametrize(
    ("sound", "fields", "status", "says"),
    [
        (b"this is no recording", {}, 415, "no recording that can be read"),
        (b"", {}, 400, "the file is empty"),
        (b"RIFF", {"language": "de"}, 400, "hears English only"),
        (b"RIFF", {"translate": "true"}, 400, "does not translate"),
        (b"RIFF", {"diarize": "true"}, 400, "does not tell who speaks"),
        (b"RIFF", {"model": "nobody"}, 404, "there is no model"),
        (b"RIFF", {"modle": "local"}, 400, "did you mean"),
    ],
)
async def test_what_is_wrong_is_named(
    hearing: Hearing, sound: bytes, fields: dict[str, str], status: int, says: str
) -> None:
    told, problem = await hearing.post(sound, **fields)
    assert (told, says in problem["detail"]) == (status, True), problem


async def test_a_form_is_wanted_and_one_file_in_it(hearing: Hearing) -> None:
    url = f"{hearing.url}/api/v1/audio/transcriptions"
    async with hearing.http.post(url, json={"model": "local"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media")
    form = aiohttp.FormData({"model": "local"}, default_to_multipart=True)
    async with hearing.http.post(url, data=form) as answer:
        assert (answer.status, (await answer.json())["field"]) == (400, "file")
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    async with hearing.http.post(url, data=cut, headers={"Content-Type": "multipart/form-data; boundary=x"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")


async def test_a_frame_that_is_wrong_is_told_and_the_stream_goes_on(hearing: Hearing) -> None:
    async with connected(hearing.url) as socket:
        accepted = await socket.ask("audio.start", model="local")
        number, stream = accepted["number"], accepted["stream"]
        await socket.send_raw(frame(number, 1, bytes(641)))
        await socket.send_raw(frame(number, 3, bytes(640)))
        assert "after frame 1 comes 2" in (await socket.take("rejected"))["error"]["message"]
        await socket.send_raw(frame(number, 2, bytes(639)))
        assert (await socket.ask("audio.finish", stream=stream))["n"] == 2
        await socket.send_raw(frame(number, 3, bytes(640)))
        assert (await socket.take("rejected"))["error"]["code"] == "invalid_frame"
        assert (await socket.end_of(stream))["status"] == "completed"
        bad = await socket.ask("audio.start", model="local", encoding="mp3")
        assert bad["error"]["field"] == "encoding"
        whole = await socket.ask("audio.transcribe", model="local", file="a.wav")
        assert whole["error"]["code"] == "unknown_command"


async def test_audio_of_nobody_in_particular_is_not_taken(tmp_path: Path) -> None:
    settings = {**SETTINGS, "auth.mode": "keys", "auth.secret": "a secret of thirty-two characters"}
    async with (
        engine_inside(tmp_path, settings, {}) as engine,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"ws://127.0.0.1:{engine.port}/ws") as socket,
    ):
        await socket.send_bytes(frame(1, 1, bytes(640)))
        assert (await socket.receive_json(timeout=10))["error"]["code"] == "unauthenticated"


async def test_a_cancel_is_not_held_up_by_audio(hearing: Hearing) -> None:
    async with connected(hearing.url) as socket:
        accepted = await socket.ask("audio.start", model="local")
        await send(socket, accepted["number"], bytes(32_000 * 20))
        await socket.ask("stream.cancel", stream=accepted["stream"])
        end = await socket.end_of(accepted["stream"])
    assert (end["status"], end["reason"]) == ("cancelled", "client_cancel")


# As OpenAI's clients and their imitators ask


async def written_for_openai(
    hearing: Hearing, fields: Sequence[tuple[str, str]], file: str = "file", sound: bytes = QUIET
) -> tuple[int, str, dict[str, Any]]:
    """Status, the fields that were ignored, and the answer."""
    form = aiohttp.FormData([("model", "local"), *fields])
    form.add_field(file, sound, filename="a.wav")
    async with hearing.http.post(f"{hearing.url}/v1/audio/transcriptions", data=form) as answer:
        return answer.status, answer.headers.get("X-BetterAI-Ignored", ""), await answer.json()


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ([("language", "")], ""),
        ([("language", "auto")], ""),
        ([("temperature", ""), ("response_format", ""), ("prompt", ""), ("stream", "")], ""),
        ([("chunking_strategy", "auto"), ("user", "u1")], "chunking_strategy, user"),
        ([("known_speaker_names[]", "a"), ("known_speaker_names[]", "b")], "known_speaker_names[]"),
        ([("include[]", "logprobs")], "include"),
        ([("timestamp_granularities", "word"), ("response_format", "verbose_json")], ""),
    ],
)
async def test_what_says_nothing_is_absent_and_hints_are_named(
    hearing: Hearing, fields: list[tuple[str, str]], ignored: str
) -> None:
    status, told, answer = await written_for_openai(hearing, fields)
    assert (status, told, answer["text"]) == (200, ignored, "")


@pytest.mark.parametrize(
    ("fields", "file", "param", "says"),
    [
        ([("temperature", "warm")], "file", "temperature", "number"),
        ([("temperature", "nan")], "file", "temperature", ""),
        ([("temperature", "2")], "file", "temperature", "1"),
        ([("response_format", "docx")], "file", "response_format", "verbose_json"),
        ([("stream", "maybe")], "file", "stream", ""),
        ([("language", "x" * 36)], "file", "language", "35"),
        ([], "audio", "file", "the file came in the field 'audio'; send it in 'file'"),
    ],
)
async def test_a_form_that_is_wrong_names_its_field(
    hearing: Hearing, fields: list[tuple[str, str]], file: str, param: str, says: str
) -> None:
    status, _, answer = await written_for_openai(hearing, fields, file)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert says in answer["error"]["message"]


async def test_a_field_that_is_no_text_is_named(hearing: Hearing) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\xfe\r\n--x--\r\n'
    url, headers = f"{hearing.url}/v1/audio/transcriptions", {"Content-Type": "multipart/form-data; boundary=x"}
    async with hearing.http.post(url, data=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "prompt")
