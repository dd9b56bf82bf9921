"""A text is spoken: by the voices of this machine for real, by an emulated vendor, over every door."""

from __future__ import annotations

import asyncio
import io
import json
import math
import shutil
import wave
from array import array
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.g711 import LAWS, Law
from plugins.vendors.codecs import LINE_RATE, AudioFormat, decode
from tests.databases import unavailable
from tests.emulators.openai import SPEECH_RATE, OpenAIEmulator
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import SECONDS_A_WORD, Sing, spoken, tone
from tests.journeys.client import connected
from tests.server import PROGRAM, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"plugins.enabled": ["tts", "openai_api"], "models.retries": 1, "models.breaker_failures": 1000}
MODEL = "openai/gpt-4o-mini-tts"
FORMATS: tuple[AudioFormat, ...] = ("pcm", "wav", "mp3", "opus", "aac", "flac")


class Speaking:
    """A server with voices, its vendor, and plain HTTP."""

    def __init__(self, engine: Engine, vendor: OpenAIEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def post(self, **body: object) -> tuple[int, bytes]:
        async with self.http.post(f"{self.url}/api/v1/tts", json=body) as answer:
            return answer.status, await answer.read()

    def client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key="any", base_url=f"{self.url}/v1", max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Speaking]:
    async with (
        OpenAIEmulator() as vendor,
        aiohttp.ClientSession() as http,
        engine_inside(tmp_path_factory.mktemp("server"), SETTINGS, behind(vendor)) as engine,
    ):
        yield Speaking(engine, vendor, http)


@pytest.fixture
def speaking(shared: Speaking) -> Speaking:
    shared.vendor.script.clear()
    shared.vendor.sounds.clear()
    shared.vendor.requests.clear()
    shared.vendor.closed_by_client.clear()
    return shared


@pytest.fixture
def voice() -> str:
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    return "kal16"


def seconds(sound: bytes, format: AudioFormat, rate: int) -> float:
    if format == "pcm":
        return len(sound) / 2 / rate
    return sum(map(len, decode(io.BytesIO(sound), 16_000))) / 32_000


def samples_of(pcm: bytes) -> array[int]:
    return array("h", pcm)


def crossings(pcm: bytes) -> int:
    return sum((before < 0) != (after < 0) for before, after in pairwise(samples_of(pcm)))


def loudness(pcm: bytes) -> float:
    samples = samples_of(pcm)
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# For real


@pytest.mark.parametrize("format", FORMATS)
async def test_this_machine_speaks_in_each_format(speaking: Speaking, voice: str, format: AudioFormat) -> None:
    status, sound = await speaking.post(text="The boat is green. It sails at noon.", model="local", format=format)
    assert status == 200
    assert 1.5 < seconds(sound, format, 16_000) < 6


@pytest.mark.parametrize(("law", "media"), [("mulaw", "audio/PCMU"), ("alaw", "audio/PCMA")])
async def test_a_telephone_line_is_spoken_to(speaking: Speaking, law: Law, media: str) -> None:
    body = {"text": "one two three", "model": MODEL, "format": law}
    async with speaking.http.post(f"{speaking.url}/api/v1/tts", json=body) as answer:
        assert (answer.status, answer.content_type) == (200, media.lower())
        codes = await answer.read()
    heard, said = LAWS[law].decode(codes), tone(3 * SECONDS_A_WORD, LINE_RATE)
    assert len(heard) == pytest.approx(len(said), abs=200)
    # Of the middle, where the tone neither begins nor ends, the same pitch is heard: as often it crosses zero.
    assert crossings(heard[2_000:10_000]) == pytest.approx(crossings(said[2_000:10_000]), abs=2)
    assert loudness(heard) == pytest.approx(loudness(said), rel=0.05)


@pytest.mark.parametrize("law", LAWS)
async def test_a_telephone_line_may_have_more_samples_than_is_usual(speaking: Speaking, law: Law) -> None:
    _, codes = await speaking.post(text="one two", model=MODEL, format=law, rate=SPEECH_RATE)
    assert codes == LAWS[law].encode(spoken("one two", SPEECH_RATE))


async def test_a_speech_over_the_socket_is_of_the_lines_own_rate(speaking: Speaking) -> None:
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL, text="one two", format="mulaw"))["stream"]
        await socket.end_of(stream)
        heard = socket.of(stream)
    (lane,) = [event for event in heard.events if event["type"] == "lane.started"]
    assert (lane["format"], lane["rate"]) == ("mulaw", LINE_RATE)
    assert len(heard.sound) == pytest.approx(2 * SECONDS_A_WORD * LINE_RATE, abs=100)


async def test_a_wave_file_has_a_rate_that_was_asked_for(speaking: Speaking, voice: str) -> None:
    _, whole = await speaking.post(text="A boat.", voice=voice, format="wav")
    _, sound = await speaking.post(text="A boat.", voice=voice, format="wav", rate=24_000)
    with wave.open(io.BytesIO(sound[:44])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
    assert (len(sound) - 44) / (len(whole) - 44) == pytest.approx(1.5, rel=0.01)


async def test_a_faster_voice_takes_less_time(speaking: Speaking, voice: str) -> None:
    slow, fast = [(await speaking.post(text="A boat with a name.", speed=speed, format="pcm"))[1] for speed in (0.5, 2)]
    assert len(slow) / len(fast) == pytest.approx(4, rel=0.3)


async def test_espeak_speaks_other_languages(speaking: Speaking) -> None:
    if shutil.which("espeak-ng") is None:
        unavailable("espeak-ng is not installed (Debian's package espeak-ng)")
    status, sound = await speaking.post(text="Guten Tag, wie geht es Ihnen?", language="de", format="pcm")
    assert status == 200 and seconds(sound, "pcm", 22_050) > 1


async def test_the_voices_of_this_machine_are_listed(speaking: Speaking, voice: str) -> None:
    async with speaking.http.get(f"{speaking.url}/api/v1/tts/voices") as answer:
        listed = (await answer.json())["voices"]
    assert {"kal16", "slt"} <= {each["id"] for each in listed if each["model"] == "local"}
    assert "alloy" in {each["id"] for each in listed if each["model"] == "openai"}


async def test_the_official_client_gets_a_file_and_a_stream_from_the_local_voice(
    speaking: Speaking, voice: str, tmp_path: Path
) -> None:
    async with speaking.client() as client:
        made = await client.audio.speech.create(model="local", voice="default", input="Hello there.")
        assert made.response.headers["content-type"] == "audio/mpeg"
        assert seconds(made.content, "mp3", 0) > 0.4
        async with client.audio.speech.with_streaming_response.create(
            model="local", voice="slt", input="Hello there. Here we are.", response_format="wav"
        ) as answer:
            await answer.stream_to_file(tmp_path / "a.wav")
    assert seconds((tmp_path / "a.wav").read_bytes(), "wav", 0) > 0.8


# The vendor


async def test_text_that_comes_piece_by_piece_is_spoken_sentence_by_sentence(speaking: Speaking) -> None:
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL, instructions="Be merry."))["stream"]
        for word in ["The", "first", "one", "is", "here.", "And", ""]:
            await socket.ask("tts.text", stream=stream, text=f"{word} ")
        await speaking.vendor.received(1)
        await socket.ask("tts.text", stream=stream, text="then **the second** [one](http://x.y).")
        await socket.ask("tts.finish", stream=stream)
        end = await socket.end_of(stream)
        heard = socket.of(stream)
    texts = [request.body["input"].strip() for request in speaking.vendor.requests]
    assert texts == ["The first one is here.", "And then the second one."]
    assert speaking.vendor.requests[0].body["instructions"] == "Be merry."
    assert (end["status"], end["model"]) == ("completed", MODEL)
    assert end["usage"]["characters"] >= len("The first one is here. And then the second one.")
    assert heard.sound == b"".join(spoken(text, SPEECH_RATE) for text in texts)
    assert [event["rate"] for event in heard.events if event["type"] == "lane.started"] == [SPEECH_RATE]


async def test_sound_goes_out_while_the_vendor_still_speaks(speaking: Speaking) -> None:
    hold = Hold()
    speaking.vendor.sounds.append(Sing(holds={1: hold}))
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL, text="one two three"))["stream"]
        await socket.until(lambda: len(socket.of(stream).sound) > 0, "the first sound")
        assert not socket.of(stream).ended
        hold.release()
        await socket.end_of(stream)
        assert len(socket.of(stream).sound) == len(spoken("one two three", SPEECH_RATE))


async def test_a_cancel_reaches_the_vendor(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL, text="one two three"))["stream"]
        await socket.until(lambda: len(socket.of(stream).sound) > 0, "the first sound")
        await socket.ask("stream.cancel", stream=stream)
        end = await socket.end_of(stream)
    assert (end["status"], end["reason"]) == ("cancelled", "client_cancel")
    await speaking.vendor.hung_up()


async def test_who_hangs_up_on_a_file_stops_the_vendor(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(holds={1: Hold()}))
    answer = await speaking.http.post(
        f"{speaking.url}/api/v1/tts", json={"text": "one two", "model": MODEL, "format": "pcm"}
    )
    assert await answer.content.readany()
    answer.close()
    await speaking.vendor.hung_up()


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ("rate_limit", 429, "provider_rate_limited"),
        ("invalid_key", 502, "provider_refused"),
        ("server", 502, "provider_unavailable"),
    ],
)
async def test_a_failure_before_the_first_sound_is_an_answer_of_its_own(
    speaking: Speaking, condition: Condition, status: int, code: str
) -> None:
    speaking.vendor.script += [Fault.because(condition, retry_after=60)] * 2
    told, problem = await speaking.post(text="one", model=MODEL)
    assert (told, json.loads(problem)["code"]) == (status, code)
    assert b"0123456789" not in problem
    assert json.loads(problem).get("retry_after", 60) == 60


async def test_a_failure_that_passes_is_tried_again_before_the_first_sound(speaking: Speaking) -> None:
    speaking.vendor.script.append(Fault.because("server"))
    status, sound = await speaking.post(text="one two", model=MODEL, format="pcm")
    assert (status, sound) == (200, spoken("one two", SPEECH_RATE))
    assert len(speaking.vendor.requests) == 2


async def test_a_file_that_breaks_off_is_cut_off_and_not_ended(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(cut=2))
    with pytest.raises(aiohttp.ClientPayloadError):
        await speaking.post(text="one two three", model=MODEL, format="pcm")


async def test_a_stream_that_breaks_off_says_so_and_keeps_what_was_heard(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(cut=2))
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL, text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert 0 < len(socket.of(stream).sound) < len(spoken("one two three", SPEECH_RATE))


async def test_an_odd_byte_is_no_sample(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(odd=True))
    _, sound = await speaking.post(text="one", model=MODEL, format="pcm")
    assert sound == spoken("one", SPEECH_RATE)


async def test_a_voice_that_trickles_is_heard_whole(speaking: Speaking) -> None:
    sound = spoken("one", SPEECH_RATE)[:2_000]
    speaking.vendor.sounds.append(Sing(pieces=[sound[at : at + 1] for at in range(len(sound))]))
    assert await speaking.post(text="one", model=MODEL, format="pcm") == (200, sound)


async def test_a_voice_that_makes_no_sound_has_failed(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(pieces=[b""]))
    status, told = await speaking.post(text="one", model=MODEL, format="mp3")
    problem = json.loads(told)
    assert (status, problem["code"]) == (502, "provider_error")
    assert "openai/gpt-4o-mini-tts made no sound" in problem["detail"]


async def test_the_official_client_reads_events(speaking: Speaking) -> None:
    async with (
        speaking.client() as client,
        client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts", voice="ash", input="one two", stream_format="sse", response_format="pcm"
        ) as answer,
    ):
        lines = [line async for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert speaking.vendor.requests[0].body["voice"] == "ash"


async def test_a_reader_that_is_slow_loses_nothing(speaking: Speaking) -> None:
    text = " ".join(["word"] * 400) + "."
    answer = await speaking.http.post(
        f"{speaking.url}/api/v1/tts", json={"text": text, "model": MODEL, "format": "pcm"}
    )
    first = await answer.content.readexactly(1_000)
    # The vendor is done or waits, and what it made waits, too.
    await asyncio.wait({asyncio.ensure_future(speaking.vendor.streaming(0, timeout=1.0))}, timeout=1.0)
    rest = await answer.content.read()
    assert len(first + rest) == pytest.approx(400 * SECONDS_A_WORD * SPEECH_RATE * 2, rel=0.01)


# What is wrong


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"text": ""}, "text", "must not be empty"),
        ({"text": "😀 **  ** ```"}, "text", "nothing that can be spoken"),
        ({"text": "x" * 100_001}, "text", "at most 100000 characters"),
        ({"text": "one", "model": "local", "voice": "nobody"}, "voice", "no voice 'nobody'"),
        ({"text": "one", "format": "ogg"}, "format", "mp3"),
        ({"text": "one", "rate": 4_000}, "rate", "8000"),
        ({"text": "one", "speed": 9}, "speed", "4"),
        ({"text": "one", "model": "no-such-voice"}, "model", "there is no model"),
        ({"text": "one", "model": "openai/gpt-6.2-sol"}, "model", "for chat, not for speech"),
    ],
)
async def test_what_is_wrong_is_named(speaking: Speaking, body: dict[str, object], field: str, says: str) -> None:
    status, told = await speaking.post(**{"model": MODEL, **body})
    problem = json.loads(told)
    assert status in (400, 404)
    assert problem["field"] == field and says in problem["detail"]
    assert not speaking.vendor.requests


async def test_a_speech_takes_no_text_after_its_end_and_none_of_anothers(speaking: Speaking) -> None:
    async with connected(speaking.url) as socket:
        stream = (await socket.ask("tts.start", model=MODEL))["stream"]
        await socket.ask("tts.finish", stream=stream)
        late = await socket.ask("tts.text", stream=stream, text="more")
        unknown = await socket.ask("tts.text", stream="s_nothing", text="more")
        end = await socket.end_of(stream)
    assert late["error"]["code"] in ("invalid_request", "stream_not_found")
    assert unknown["error"]["code"] == "stream_not_found"
    assert (end["status"], socket.of(stream).sound) == ("completed", b"")


async def test_without_a_voice_plugin_the_dialect_says_so(tmp_path: Path) -> None:
    async with (
        engine_inside(tmp_path, {"plugins.enabled": ["openai_api"]}, {}) as engine,
        openai.AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{engine.port}/v1", max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.audio.speech.create(model="local", voice="default", input="Hello")
    assert caught.value.code == "feature_disabled"


async def test_the_program_writes_a_file_and_names_what_keeps_it_from_that(
    speaking: Speaking, voice: str, tmp_path: Path
) -> None:
    async def run(*words: str) -> tuple[int | None, str]:
        done = await asyncio.create_subprocess_exec(
            PROGRAM, "speak", *words, "--server", speaking.url, cwd=tmp_path, stdout=PIPE, stderr=PIPE
        )
        _, told = await done.communicate()
        return done.returncode, " ".join(told.decode().split())

    assert (await run("The boat is green.", "-o", "boat.wav"))[0] == 0
    assert seconds((tmp_path / "boat.wav").read_bytes(), "wav", 0) > 0.5
    assert (await run("one two", "-o", "line.ulaw", "--model", MODEL))[0] == 0
    assert (tmp_path / "line.ulaw").stat().st_size == pytest.approx(2 * SECONDS_A_WORD * LINE_RATE, abs=100)
    status, told = await run("Hello", "-o", "a.mp3", "--voice", "nobody")
    assert status == 1 and "there is no voice 'nobody'" in told
    status, told = await run("Hello", "-o", "a.xyz")
    assert status == 2 and ".wav" in told
    speaking.vendor.sounds.append(Sing(cut=1))
    status, told = await run("one two three", "-o", "b.pcm", "--model", MODEL)
    assert status == 1 and "broke off" in told
    assert sorted(files_in(tmp_path)) == ["boat.wav", "line.ulaw"]


@pytest.mark.parametrize("format", ["mp3", "aac"])
async def test_a_rate_that_the_format_does_not_have_is_refused_before_anything_is_spoken(
    speaking: Speaking, format: str
) -> None:
    status, told = await speaking.post(text="Hello", model=MODEL, format=format, rate=12_345)
    problem = json.loads(told)
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "rate")
    assert "it has 8000, 11025, 12000" in problem["detail"]
    assert speaking.vendor.requests == []


async def test_a_text_without_a_letter_that_makes_no_sound_is_the_callers_mistake(speaking: Speaking) -> None:
    speaking.vendor.sounds.append(Sing(pieces=[b""]))
    status, told = await speaking.post(text="?! ...", model=MODEL, clean=False)
    problem = json.loads(told)
    assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "text")


# As OpenAI's clients ask


async def spoken_for_openai(speaking: Speaking, **body: object) -> tuple[int, str, bytes]:
    """Status, the fields that were ignored, and the answer."""
    async with speaking.http.post(f"{speaking.url}/v1/audio/speech", json={"input": "one two", **body}) as answer:
        return answer.status, answer.headers.get("X-BetterAI-Ignored", ""), await answer.read()


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"speed": None, "response_format": None, "voice": None, "instructions": None, "stream_format": None}, ""),
        ({"response_format": "", "instructions": ""}, ""),
        ({"stream": True, "user": "u1", "lang_code": "a"}, "stream, user, lang_code"),
    ],
)
async def test_what_says_nothing_is_absent_and_hints_are_named(
    speaking: Speaking, fields: dict[str, object], ignored: str
) -> None:
    status, told, sound = await spoken_for_openai(speaking, model="openai/tts-1", **fields)
    assert (status, told) == (200, ignored) and sound


async def test_a_voice_of_openai_is_another_vendors_default_one(speaking: Speaking) -> None:
    status, ignored, sound = await spoken_for_openai(speaking, model="local", voice="nova", response_format="wav")
    assert (status, ignored, sound[:4]) == (200, "voice", b"RIFF")
    body = {"input": "one two", "model": "local", "voice": "nova"}
    async with speaking.http.post(f"{speaking.url}/v1/audio/speech", json=body) as answer:
        await answer.read()
        stream = answer.headers["X-Stream-Id"]
    async with speaking.http.get(f"{speaking.url}/api/v1/streams/{stream}/events") as answer:
        events = await answer.text()
    assert '"stage":"voice_replaced"' in events and "'nova'" in events
    status, _, told = await spoken_for_openai(speaking, model="local", voice="af_heart")
    assert (status, json.loads(told)["error"]["param"]) == (400, "voice")


@pytest.mark.parametrize("speed", ["fast", float("nan"), 9, [], True])
async def test_a_speed_that_is_none_names_its_field(speaking: Speaking, speed: object) -> None:
    status, _, told = await spoken_for_openai(speaking, model="openai/tts-1", speed=speed)
    assert status == 400
    assert json.loads(told)["error"]["param"] in ("speed", None if speed != speed else "speed")
