"""OpenAI's own client has what is said written: sessions of type `transcription`, and recordings in messages."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.wire.g711 import LAWS
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault
from tests.journeys.caller import spoken
from tests.journeys.openai_talk import Talk, client
from tests.server import CHAT, RunningServer, behind, engine_inside, local_server
from tests.words import bare

__all__ = ("local_server",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION, HEARD = "Hello, how are you today?", "hello how are you today"
RATE = 24_000
SILENCE = bytes(RATE * 2)
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.input_audio_transcription.completed",
]
COMPLETED, FAILED = TURN[-1], "conversation.item.input_audio_transcription.failed"
LISTENING: Any = {"intent": "transcription"}


def _item(event: dict[str, Any]) -> str | None:
    id: str | None = event.get("item_id") or event.get("item", {}).get("id")
    return id


async def test_every_turn_is_written_and_none_is_answered(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION, RATE)
    async with (
        client(local_server.url) as official,
        official.realtime.connect(model="local", extra_query=LISTENING) as connection,
    ):
        talk = Talk(connection)
        created = await talk.until("session.created")
        await talk.say((question + SILENCE) * 2)
        first = await talk.until(COMPLETED)
        second = await talk.until(COMPLETED)
    assert (created["session"]["type"], created["session"]["object"]) == (
        "transcription",
        "realtime.transcription_session",
    )
    assert created["session"]["audio"]["input"]["transcription"] == {"model": "local"}
    assert [bare(first["transcript"]), bare(second["transcript"])] == [HEARD, HEARD]
    assert first["item_id"] != second["item_id"]
    assert first["usage"]["seconds"] > 1
    committed = [event["item_id"] for event in talk.events if event["type"] == "input_audio_buffer.committed"]
    assert committed == [first["item_id"], second["item_id"]]
    deltas = [event["delta"] for event in talk.events if event["type"].endswith("transcription.delta")]
    assert deltas
    for each in (first, second):
        told = [event for event in talk.events if _item(event) == each["item_id"]]
        assert [event["type"] for event in told if not event["type"].endswith(".delta")] == TURN
    assert not [kind for kind in talk.kinds if kind.startswith("response.")]


async def test_a_session_becomes_one_that_only_listens_until_its_audio_comes(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION, rate=8_000)
    heard: Any = {"format": {"type": "audio/pcmu"}, "transcription": {"model": "local"}, "turn_detection": None}
    async with client(local_server.url) as official, official.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        created = await talk.until("session.created")
        await connection.session.update(session={"type": "transcription", "audio": {"input": heard}})
        updated = await talk.until("session.updated")
        await talk.say(LAWS["mulaw"].encode(question + bytes(16_000)))
        await connection.input_audio_buffer.commit()
        written = await talk.until(COMPLETED)
        await connection.session.update(session={"type": "realtime", "instructions": "Answer."})
        refused = (await talk.until("error"))["error"]
    assert created["session"]["type"] == "realtime"
    assert updated["session"]["id"] == created["session"]["id"]
    assert updated["session"]["audio"]["input"] == {**heard, "noise_reduction": None}
    # Of a telephone line the transcriber of this machine now and then takes the last word for another.
    assert bare(written["transcript"]).startswith("hello how are you")
    assert "input_audio_buffer.speech_started" not in talk.kinds
    assert refused["param"] == "session.type"


async def test_what_is_taken_back_is_no_turn(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION, RATE)
    async with (
        client(local_server.url) as official,
        official.realtime.connect(model="local", extra_query=LISTENING) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        await talk.say(question)
        begun = await talk.until("input_audio_buffer.speech_started")
        await connection.input_audio_buffer.clear()
        await talk.until("input_audio_buffer.cleared")
        await talk.say(SILENCE + question + SILENCE)
        written = await talk.until(COMPLETED)
    assert "are you" in written["transcript"]
    assert written["item_id"] != begun["item_id"]
    committed = [event["item_id"] for event in talk.events if event["type"] == "input_audio_buffer.committed"]
    assert committed == [written["item_id"]]


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "response.create"}, "transcription_session", None),
        ({"type": "response.cancel"}, "transcription_session", None),
        (
            {
                "type": "session.update",
                "session": {"type": "transcription", "audio": {"input": {"transcription": {"model": "nobody"}}}},
            },
            "model_not_found",
            "session.audio.input.transcription.model",
        ),
        (
            {"type": "session.update", "session": {"type": "transcription", "voice": "ash"}},
            "invalid_request",
            "session.voice",
        ),
        ({"type": "session.update", "session": {"type": "translation"}}, "invalid_request", "session.type"),
    ],
)
async def test_what_a_session_that_only_listens_cannot_do_is_an_error_event(
    local_server: RunningServer, event: dict[str, Any], code: str, param: str | None
) -> None:
    async with (
        client(local_server.url) as official,
        official.realtime.connect(model="local", extra_query=LISTENING) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.send(event)  # type: ignore[arg-type]
        told = (await talk.until("error"))["error"]
    assert (told["code"], told["param"]) == (code, param)


async def test_a_transcriber_that_is_not_there_is_an_http_error(local_server: RunningServer) -> None:
    async with aiohttp.ClientSession(local_server.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/v1/realtime?intent=transcription&model=nobody")
    assert refused.value.status == 404


async def test_a_recording_in_a_message_is_heard_as_if_it_were_spoken(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION, RATE)
    item: Any = {
        "id": "mine",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "audio": base64.b64encode(question).decode()}],
    }
    async with client(local_server.url) as official, official.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.conversation.item.create(item=item)
        written = await talk.until(COMPLETED)
        await connection.conversation.item.retrieve(item_id="mine")
        shown = await talk.until("conversation.item.retrieved")
        await connection.response.create()
        done = await talk.until("response.done")
    assert (written["item_id"], bare(written["transcript"])) == ("mine", HEARD)
    assert shown["item"]["content"] == [{"type": "input_audio", "transcript": written["transcript"]}]
    assert done["response"]["output"][0]["content"][0]["transcript"].strip()
    assert talk.kinds[:4] == [
        "session.created",
        "conversation.item.added",
        "conversation.item.done",
        COMPLETED,
    ]


@pytest_asyncio.fixture(loop_scope="module")
async def vendor(tmp_path: Path) -> AsyncIterator[tuple[OpenAIEmulator, str]]:
    """A vendor who writes, and a server that has nobody who answers."""
    settings = {**CHAT, "plugins.enabled": ["audio", "realtime", "openai_api"]}
    async with OpenAIEmulator() as emulator, engine_inside(tmp_path, settings, behind(emulator)) as engine:
        yield emulator, f"http://127.0.0.1:{engine.port}"


async def test_a_turn_that_a_vendor_cannot_write_fails_alone(vendor: tuple[OpenAIEmulator, str]) -> None:
    emulator, url = vendor
    emulator.script.append(Fault("status", code=400, message="This is no speech."))
    emulator.transcripts.append("It is late.")
    expected = {"prompt": "A harbour", "keywords": ["Oslo", "Bergen"]}
    manual: Any = {"transcription": {"model": "whisper-1", "language": "en", **expected}, "turn_detection": None}
    async with (
        client(url) as official,
        official.realtime.connect(model="whisper-1", extra_query=LISTENING) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.session.update(session={"type": "transcription", "audio": {"input": manual}})
        for _ in range(2):
            await talk.say(SILENCE)
            await connection.input_audio_buffer.commit()
        failed = await talk.until(FAILED)
        written = await talk.until(COMPLETED)
    committed = [event["item_id"] for event in talk.events if event["type"] == "input_audio_buffer.committed"]
    assert committed == [failed["item_id"], written["item_id"]]
    assert (failed["error"]["code"], written["transcript"]) == ("transcription_failed", "It is late.")
    assert "This is no speech." in failed["error"]["message"]
    assert b"A harbour, Oslo, Bergen" in emulator.requests[-1].raw
