"""Live speech is written down by emulated vendors over the socket: as it is spoken, and over sessions that break."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.wav import wav_header
from tests.emulators.google_hearing import GoogleHearingEmulator
from tests.emulators.google_hearing import Trouble as GoogleTrouble
from tests.emulators.openai_hearing import OpenAIHearingEmulator
from tests.emulators.openai_realtime import Trouble
from tests.emulators.reply import Condition, Fault
from tests.emulators.sound import levels_of
from tests.journeys.client import Socket, connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE = 16_000
WORDS = "One two three four five six seven eight nine."
SILENCE = levels_of(0, 0, 0, rate=RATE)
SPEECH = (
    levels_of(1, 2, 3, rate=RATE) + SILENCE + levels_of(4, 5, rate=RATE) + SILENCE + levels_of(6, 7, 8, 9, rate=RATE)
)
KEY = "sk-test-0123456789"


class Vendors:
    """The server, and who stands behind it."""

    def __init__(self, engine: Engine, openai: OpenAIHearingEmulator, google: GoogleHearingEmulator) -> None:
        self.url = f"http://127.0.0.1:{engine.port}"
        self.openai = openai
        self.google = google


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vendors]:
    async with OpenAIHearingEmulator(WORDS, key=KEY) as vendor, GoogleHearingEmulator(WORDS, key=KEY) as google:
        settings = {
            "plugins.enabled": ["audio"],
            "models.breaker_failures": 1000,
            "vendors.openai.base_url": vendor.base_url,
            "vendors.openai.api_key": KEY,
            "vendors.google.base_url": google.base_url,
            "vendors.google.api_key": KEY,
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
            yield Vendors(engine, vendor, google)


@pytest.fixture
def vendors(shared: Vendors) -> Vendors:
    shared.openai.script.clear()
    shared.openai.troubles.clear()
    shared.openai.transcripts.clear()
    shared.openai.hearings.clear()
    shared.openai.requests.clear()
    shared.openai.knows_sessions = True
    shared.google.troubles.clear()
    shared.google.sessions.clear()
    shared.google.script.clear()
    return shared


async def begin(socket: Socket, model: str, **fields: Any) -> dict[str, Any]:
    accepted = await socket.ask("audio.start", model=model, sample_rate=RATE, **fields)
    assert accepted["type"] == "accepted", accepted
    return accepted


async def speak(socket: Socket, accepted: dict[str, Any], sound: bytes, *, first: int = 1) -> int:
    """Speak in frames of 20 ms; gives the count of the last."""
    size = RATE // 50 * 2
    n = first - 1
    for n, at in enumerate(range(0, len(sound), size), first):
        await socket.send_raw(struct.pack(">IIBBHI", accepted["number"], n, 1, 0, 0, 0) + sound[at : at + size])
    return n


async def spoken(socket: Socket, model: str, sound: bytes = SPEECH, **fields: Any) -> dict[str, Any]:
    """Speak it all; gives the end."""
    accepted = await begin(socket, model, **fields)
    await speak(socket, accepted, sound)
    await socket.ask("audio.finish", stream=accepted["stream"])
    return await socket.end_of(accepted["stream"])


def told(socket: Socket, stream: str, kind: str = "final") -> list[str]:
    return [event["text"] for event in socket.of(stream).events if event["type"] == f"transcript.{kind}"]


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini-transcribe", "openai/gpt-live-transcribe"])
async def test_openai_hears_while_it_is_spoken(vendors: Vendors, model: str) -> None:
    async with connected(vendors.url) as socket:
        accepted = await begin(socket, model, language="en")
        stream = accepted["stream"]
        last = await speak(socket, accepted, SPEECH[: len(SPEECH) // 2])
        await socket.until(lambda: told(socket, stream) == ["One two three"], "the first stretch")
        await speak(socket, accepted, SPEECH[len(SPEECH) // 2 :], first=last + 1)
        await socket.ask("audio.finish", stream=stream)
        end = await socket.end_of(stream)
    assert told(socket, stream) == ["One two three", "four five", "six seven eight nine."]
    assert "One two" in told(socket, stream, "partial")
    assert (end["status"], end["model"]) == ("completed", model)
    assert end["usage"]["seconds"] == pytest.approx(len(SPEECH) / 2 / RATE)
    assert float(end["cost"]["amount"]) > 0


async def test_a_session_of_openai_that_breaks_loses_no_word_and_doubles_none(vendors: Vendors) -> None:
    vendors.openai.troubles.append(Trouble(on="input_audio_buffer.append", nth=120, cut=True))
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "openai/gpt-4o-transcribe")
    assert end["status"] == "completed", end
    assert " ".join(told(socket, end["stream"])) == WORDS
    assert len(vendors.openai.hearings) == 2


async def test_what_openai_closes_with_is_told(vendors: Vendors) -> None:
    vendors.openai.troubles.append(Trouble(on="input_audio_buffer.append", nth=3, code=4001, reason="no more of this"))
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "openai/whisper-1")
    assert (end["status"], end["error"]["code"]) == ("failed", "provider_error")
    assert "4001" in end["error"]["message"] and "no more of this" in end["error"]["message"]


@pytest.mark.parametrize(
    ("condition", "code"), [("invalid_key", "provider_refused"), ("rate_limit", "provider_rate_limited")]
)
async def test_a_refusal_of_openai_is_told(vendors: Vendors, condition: Condition, code: str) -> None:
    vendors.openai.script.append(Fault.because(condition))
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "openai/gpt-transcribe")
    assert (end["status"], end["error"]["code"]) == ("failed", code)
    assert KEY not in json.dumps(end)


async def test_a_cancel_reaches_openai(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        accepted = await begin(socket, "openai/gpt-4o-transcribe")
        await speak(socket, accepted, SPEECH)
        await vendors.openai.streaming(1)
        await socket.ask("stream.cancel", stream=accepted["stream"])
        end = await socket.end_of(accepted["stream"])
        assert end["status"] == "cancelled"
        await vendors.openai.streaming(0)


@pytest.mark.parametrize(
    ("knows_sessions", "fields"), [(False, {}), (True, {"words": True})], ids=["no sessions", "times"]
)
async def test_what_sessions_cannot_do_is_heard_as_a_recording(
    vendors: Vendors, knows_sessions: bool, fields: dict[str, Any]
) -> None:
    vendors.openai.knows_sessions = knows_sessions
    vendors.openai.transcripts.append("Heard at the end.")
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "openai/whisper-1", **fields)
    assert end["status"] == "completed", end
    assert told(socket, end["stream"]) == ["Heard at the end."]
    assert vendors.openai.requests[-1].path == "/v1/audio/transcriptions"


async def test_a_model_for_live_speech_takes_no_recording(vendors: Vendors) -> None:
    vendors.openai.knows_sessions = False
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "openai/gpt-live-transcribe")
    assert (end["error"]["code"], end["error"]["field"]) == ("invalid_request", "model")
    assert "live speech alone" in end["error"]["message"]


async def test_openais_own_client_is_understood_by_the_emulator(vendors: Vendors) -> None:
    async with (
        openai.AsyncOpenAI(base_url=vendors.openai.base_url, api_key=KEY) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        heard: Any = {"transcription": {"model": "whisper-1"}, "turn_detection": None}
        await connection.session.update(session={"type": "transcription", "audio": {"input": heard}})
        pcm = levels_of(1, 2, rate=24_000)
        await connection.input_audio_buffer.append(audio=b64encode(pcm).decode())
        await connection.input_audio_buffer.commit()
        while (event := await connection.recv()).type != "conversation.item.input_audio_transcription.completed":
            assert event.type != "error", event
    assert event.transcript == "One two"


async def test_gemini_hears_while_it_is_spoken(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        accepted = await begin(socket, "google/gemini-3.5-transcribe-live", language="en-GB")
        stream = accepted["stream"]
        last = await speak(socket, accepted, SPEECH[: len(SPEECH) // 2])
        await socket.until(lambda: told(socket, stream) == ["One two three"], "the first stretch")
        await speak(socket, accepted, SPEECH[len(SPEECH) // 2 :], first=last + 1)
        await socket.ask("audio.finish", stream=stream)
        end = await socket.end_of(stream)
    assert told(socket, stream) == ["One two three", "four five", "six seven eight nine."]
    assert "One two" in told(socket, stream, "partial")
    assert (end["status"], end["model"]) == ("completed", "google/gemini-3.5-transcribe-live")
    assert end["usage"]["seconds"] == pytest.approx(len(SPEECH) / 2 / RATE)


@pytest.mark.parametrize(
    "trouble",
    [GoogleTrouble(100, cut=True), GoogleTrouble(100, go_away="50s"), GoogleTrouble(100, go_away="0s")],
    ids=["cut", "its limit", "its limit, at once"],
)
async def test_a_session_of_gemini_that_ends_loses_no_word_and_doubles_none(
    vendors: Vendors, trouble: GoogleTrouble
) -> None:
    vendors.google.troubles.append(trouble)
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "google/gemini-3.5-transcribe-live")
    assert end["status"] == "completed", end
    assert " ".join(told(socket, end["stream"])) == WORDS
    assert len(vendors.google.sessions) == 2


async def test_what_gemini_closes_with_is_told(vendors: Vendors) -> None:
    vendors.google.troubles.append(GoogleTrouble(3, close=(1007, "Request contains an invalid argument.")))
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "google/gemini-3.5-transcribe-live")
    assert (end["status"], end["error"]["code"]) == ("failed", "invalid_request")
    assert "1007" in end["error"]["message"] and "invalid argument" in end["error"]["message"]


async def test_a_model_of_gemini_without_sessions_hears_each_stretch_at_its_end(vendors: Vendors) -> None:
    async with connected(vendors.url) as socket:
        end = await spoken(socket, "google/gemini-3.5-transcribe")
    assert end["status"] == "completed", end
    assert told(socket, end["stream"]) == ["One two three", "four five", "six seven eight nine."]


@pytest.mark.parametrize("model", ["google", "gemini-3.8-flash-transcription"])
async def test_gemini_writes_down_a_recording_with_its_times(vendors: Vendors, model: str) -> None:
    form = aiohttp.FormData({"model": model, "words": "true"})
    form.add_field("file", wav_header(RATE, len(SPEECH) // 2) + SPEECH, filename="a.wav")
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{vendors.url}/api/v1/audio/transcriptions", data=form) as answer,
    ):
        said = await answer.json()
    assert (answer.status, said["text"]) == (200, WORDS), said
    assert [word["text"] for word in said["segments"][1]["words"]] == ["four", "five"]
    assert said["segments"][1]["start"] == pytest.approx(1.5, abs=0.1)
