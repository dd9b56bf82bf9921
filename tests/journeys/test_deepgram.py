"""Deepgram listens and speaks, emulated: live connections that break lose no word, and double none."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import deepgram
import httpx
import pytest
import pytest_asyncio
from deepgram.environment import DeepgramClientEnvironment

from engine.main import Engine
from engine.wire.wav import wav_header
from tests.emulators.deepgram import DeepgramEmulator, Hangup, sound_of_words
from tests.emulators.reply import Condition, Fault, Hold
from tests.emulators.sound import SECONDS_A_WORD, Sing, spoken
from tests.journeys.client import Socket, connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
COUNT = len(WORDS.split())
KEY = "dg-test-0123456789"
RATE = 24_000


class Server:
    """A server and Deepgram behind it."""

    def __init__(self, engine: Engine, vendor: DeepgramEmulator, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.vendor = vendor
        self.http = http

    async def file(self, sound: bytes, **fields: str) -> tuple[int, Any]:
        form = aiohttp.FormData({"model": "deepgram/nova-3", **fields})
        form.add_field("file", wav_header(16_000, len(sound) // 2) + sound, filename="a.wav")
        async with self.http.post(f"{self.url}/api/v1/audio/transcriptions", data=form) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with DeepgramEmulator(WORDS, key=KEY) as vendor, aiohttp.ClientSession() as http:
        settings = {
            "plugins.enabled": ["tts", "audio"],
            "models.retries": 0,
            "models.breaker_failures": 1000,
            "models.first_event_timeout": 3,
            "models.idle_timeout": 3,
            "vendors.deepgram.base_url": vendor.base_url,
            "vendors.deepgram.api_key": KEY,
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
            yield Server(engine, vendor, http)


@pytest.fixture
def server(shared: Server) -> Server:
    vendor = shared.vendor
    vendor.script.clear()
    vendor.hangups.clear()
    vendor.sounds.clear()
    vendor.requests.clear()
    vendor.live.clear()
    vendor.closed_by_client.clear()
    return shared


async def spoken_live(socket: Socket, sound: bytes, **fields: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Speak it all; gives the end and the events."""
    accepted = await socket.ask("audio.start", model="deepgram/nova-3", **fields)
    assert accepted["type"] == "accepted", accepted
    for n, at in enumerate(range(0, len(sound), 3_200), 1):
        await socket.send_raw(struct.pack(">IIBBHI", accepted["number"], n, 1, 0, 0, 0) + sound[at : at + 3_200])
    await socket.ask("audio.finish", stream=accepted["stream"])
    end = await socket.end_of(accepted["stream"])
    return end, socket.of(accepted["stream"]).events


def finals(events: list[dict[str, Any]]) -> str:
    return " ".join(event["text"] for event in events if event["type"] == "transcript.final")


async def test_live_speech_is_told_as_it_is_heard(server: Server) -> None:
    async with connected(server.url) as socket:
        end, events = await spoken_live(socket, sound_of_words(COUNT), words=True, language="en-GB", diarize=True)
    query = server.vendor.requests[0].query
    assert (query["language"], query["diarize"], query["interim_results"]) == ("en-GB", "true", "true")
    assert (end["status"], end["model"]) == ("completed", "deepgram/nova-3")
    assert finals(events) == WORDS
    assert any(event["type"] == "transcript.partial" for event in events)
    words = [word for event in events if event["type"] == "transcript.final" for word in event["words"]]
    assert [word["start"] for word in words] == [at * SECONDS_A_WORD for at in range(COUNT)]
    assert {word["speaker"] for word in words} == {"0"}
    assert end["usage"]["seconds"] == pytest.approx(COUNT * SECONDS_A_WORD)


@pytest.mark.parametrize(
    "hangups",
    [
        [Hangup(1.1)],
        [Hangup(0.3), Hangup(1.6, 1011, "internal error")],
        [Hangup(2.05, 1000), Hangup(0.55), Hangup(0.8, 1001, "going away")],
    ],
    ids=["once", "twice", "three times"],
)
async def test_a_connection_that_breaks_is_made_anew_and_no_word_is_lost_or_doubled(
    server: Server, hangups: list[Hangup]
) -> None:
    server.vendor.hangups.extend(hangups)
    async with connected(server.url) as socket:
        end, events = await spoken_live(socket, sound_of_words(COUNT), words=True)
    assert end["status"] == "completed", end
    assert len(server.vendor.live) == len(hangups) + 1
    assert finals(events) == WORDS
    words = [word for event in events if event["type"] == "transcript.final" for word in event["words"]]
    assert [round(word["start"], 2) for word in words] == [at * SECONDS_A_WORD for at in range(COUNT)]


async def test_a_vendor_that_closes_for_a_reason_is_told_with_its_code(server: Server) -> None:
    server.vendor.hangups.append(Hangup(0.5, 1008, "DATA-0000: unsupported audio"))
    async with connected(server.url) as socket:
        end, _ = await spoken_live(socket, sound_of_words(COUNT))
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_error")
    assert "1008" in end["error"]["message"] and "DATA-0000" in end["error"]["message"]


async def test_a_connection_that_breaks_again_and_again_is_given_up(server: Server) -> None:
    server.vendor.hangups.extend([Hangup(0.1)] * 5)
    async with connected(server.url) as socket:
        end, _ = await spoken_live(socket, sound_of_words(COUNT))
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert len(server.vendor.live) == 4


@pytest.mark.parametrize("hangup", [Hangup(code=1000), Hangup()], ids=["closed", "cut"])
async def test_a_connection_that_ends_before_its_last_word_is_asked_again(server: Server, hangup: Hangup) -> None:
    server.vendor.hangups.append(hangup)
    async with connected(server.url) as socket:
        # Of five words the fifth comes with the end.
        end, events = await spoken_live(socket, sound_of_words(5))
    assert (end["status"], finals(events)) == ("completed", "One two three four five")
    assert len(server.vendor.live) == 2


async def test_a_connection_that_never_tells_its_last_word_is_given_up(server: Server) -> None:
    server.vendor.hangups.extend([Hangup(code=1000)] * 5)
    async with connected(server.url) as socket:
        # Of five words the fifth comes with the end, which never comes.
        end, events = await spoken_live(socket, sound_of_words(5))
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    assert finals(events) == "One two three four"


@pytest.mark.parametrize("path", ["live", "file"])
async def test_a_vendor_says_when_it_can_be_asked_again(server: Server, path: str) -> None:
    server.vendor.script.append(Fault.because("rate_limit", retry_after=7))
    if path == "live":
        async with connected(server.url) as socket:
            end, _ = await spoken_live(socket, sound_of_words(1))
        told = end["error"]
    else:
        _, told = await server.file(sound_of_words(1))
    assert (told["code"], told["retryable"], told["retry_after"]) == ("provider_rate_limited", True, 7)


@pytest.mark.parametrize(
    ("condition", "code"),
    [("invalid_key", "provider_refused"), ("rate_limit", "provider_rate_limited"), ("bad_request", "invalid_request")],
)
async def test_a_refused_connection_is_told(server: Server, condition: Condition, code: str) -> None:
    server.vendor.script.append(Fault.because(condition))
    async with connected(server.url) as socket:
        end, _ = await spoken_live(socket, sound_of_words(1))
    assert (end["status"], end["error"]["code"]) == ("failed", code)
    assert KEY not in str(end)


async def test_a_recording_is_heard_with_its_speakers_and_times(server: Server) -> None:
    status, told = await server.file(sound_of_words(COUNT), words="true", diarize="true", prompt="Oslo Bergen")
    assert (status, told["text"]) == (200, WORDS)
    (segment,) = told["segments"]
    assert (segment["speaker"], segment["words"][1]) == (
        "0",
        {"text": "two", "start": 0.25, "end": 0.5, "confidence": 0.98, "speaker": "0"},
    )
    assert server.vendor.requests[0].query["utterances"] == "true"


@pytest.mark.parametrize(
    ("condition", "status", "code"),
    [
        ("invalid_key", 502, "provider_refused"),
        ("rate_limit", 429, "provider_rate_limited"),
        ("quota", 429, "provider_rate_limited"),
        ("server", 502, "provider_unavailable"),
        ("bad_request", 400, "invalid_request"),
    ],
)
async def test_a_refused_recording_is_told(server: Server, condition: Condition, status: int, code: str) -> None:
    server.vendor.script.append(Fault.because(condition))
    told, problem = await server.file(sound_of_words(2))
    assert (told, problem["code"]) == (status, code)
    assert KEY not in str(problem)


async def test_it_speaks(server: Server) -> None:
    hold = Hold()
    server.vendor.sounds.append(Sing(holds={1: hold}))
    body = {"text": "one two three", "model": "deepgram", "voice": "aura-2-orion-en", "format": "pcm"}
    async with server.http.post(f"{server.url}/api/v1/tts", json=body) as answer:
        first = await answer.content.readany()
        assert first
        hold.release()
        sound = first + await answer.content.read()
    assert sound == spoken("one two three", RATE)
    assert server.vendor.requests[0].query["model"] == "aura-2-orion-en"


async def test_a_voice_that_breaks_off_in_mid_word_keeps_what_was_heard(server: Server) -> None:
    server.vendor.sounds.append(Sing(cut=2))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="deepgram", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_unavailable")
    heard = socket.of(stream).sound
    assert heard and spoken("one two three", RATE).startswith(heard)


async def test_a_voice_that_falls_silent_in_mid_word_is_waited_for_no_longer(server: Server) -> None:
    server.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="deepgram", text="one two three"))["stream"]
        end = await socket.end_of(stream)
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_timeout")
    assert socket.of(stream).sound
    await server.vendor.hung_up()


async def test_a_voice_whose_limit_is_reached_says_when_it_can_be_asked_again(server: Server) -> None:
    server.vendor.script.append(Fault.because("rate_limit", retry_after=7))
    body = {"text": "one", "model": "deepgram"}
    async with server.http.post(f"{server.url}/api/v1/tts", json=body) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")
        assert (await answer.json())["code"] == "provider_rate_limited"


async def test_a_cancel_of_its_speech_hangs_up(server: Server) -> None:
    server.vendor.sounds.append(Sing(holds={1: Hold()}))
    async with connected(server.url) as socket:
        stream = (await socket.ask("tts.start", model="deepgram", text="one two three"))["stream"]
        await socket.until(lambda: bool(socket.of(stream).sound), "the first sound")
        await socket.ask("stream.cancel", stream=stream)
        await socket.end_of(stream)
    await server.vendor.hung_up()


@pytest.mark.filterwarnings("ignore:websockets.*is deprecated:DeprecationWarning")
async def test_the_official_client_understands_the_emulator(server: Server) -> None:
    url = server.vendor.base_url
    environment = DeepgramClientEnvironment(
        base=url, production=url.replace("http", "ws", 1), agent=url.replace("http", "ws", 1), agent_rest=url
    )
    async with httpx.AsyncClient() as http:
        client = deepgram.AsyncDeepgramClient(api_key=KEY, environment=environment, httpx_client=http)
        told: Any = await client.listen.v1.media.transcribe_file(
            request=sound_of_words(3),
            model="nova-3",
            encoding="linear16",
            request_options={"additional_query_parameters": {"sample_rate": 16_000}},
        )
    assert told.results.channels[0].alternatives[0].transcript == "One two three"
