"""OpenAI's own client, unmodified, calls this server: its models, its tools, its mistakes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from engine.main import Engine
from engine.wire.g711 import LAWS
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say, ToolUse, Usage
from tests.journeys.caller import spoken
from tests.journeys.openai_talk import Talk, client
from tests.server import CHAT, RunningServer, behind, engine_inside, local_server
from tests.words import bare

__all__ = ("local_server",)

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION, HEARD = "Hello, how are you today?", "hello how are you today"
RATE = 24_000
SILENCE = bytes(RATE * 2)
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object"},
}


async def test_it_speaks_with_the_models_of_this_machine(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION, RATE)
    async with client(local_server.url) as official, official.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": {"model": "local"}}}}
        )
        await talk.until("session.updated")
        await talk.say(question + SILENCE)
        done = await talk.until("response.done")
    sound = b"".join(
        base64.b64decode(event["delta"]) for event in talk.events if event["type"] == "response.output_audio.delta"
    )
    (written,) = [event for event in talk.events if event["type"].endswith("input_audio_transcription.completed")]
    assert bare(written["transcript"]) == HEARD
    assert done["response"]["status"] == "completed"
    assert done["response"]["usage"]["output_tokens"] > 0
    (message,) = done["response"]["output"]
    assert message["content"][0]["transcript"].strip()
    assert len(sound) > RATE
    assert [kind for kind in talk.kinds if not kind.endswith(".delta")] == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Engine, OpenAIEmulator]]:
    settings = {
        **CHAT,
        "plugins.enabled": ["chat", "tts", "audio", "realtime", "openai_api"],
        "models.realtime": "cascade",
        "plugins.realtime.speech": "openai/tts-1",
        "plugins.realtime.transcription": "local",
    }
    async with (
        OpenAIEmulator() as vendor,
        engine_inside(tmp_path_factory.mktemp("server"), settings, behind(vendor)) as engine,
    ):
        yield engine, vendor


@pytest_asyncio.fixture(loop_scope="module")
async def talk(shared: tuple[Engine, OpenAIEmulator]) -> AsyncIterator[Talk]:
    engine, vendor = shared
    vendor.script.clear()
    vendor.requests.clear()
    vendor.closed_by_client.clear()
    async with (
        client(f"http://127.0.0.1:{engine.port}") as official,
        official.realtime.connect(model="cascade") as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk


async def test_a_written_question_is_answered(shared: tuple[Engine, OpenAIEmulator], talk: Talk) -> None:
    shared[1].script.append(Say("It is late.", usage=Usage(12, 4)))
    await talk.write("How late is it?")
    await talk.connection.response.create()
    done = await talk.until("response.done")
    assert done["response"]["usage"]["total_tokens"] == 16
    assert done["response"]["output"][0]["content"][0] == {"type": "output_audio", "transcript": "It is late."}


async def test_it_may_answer_in_writing(shared: tuple[Engine, OpenAIEmulator], talk: Talk) -> None:
    shared[1].script.append(Say("It is late."))
    await talk.connection.session.update(
        session={"type": "realtime", "output_modalities": ["text"], "instructions": "Be brief."}
    )
    await talk.write("How late is it?")
    await talk.connection.response.create()
    done = await talk.until("response.done")
    assert done["response"]["output"][0]["content"][0] == {"type": "output_text", "text": "It is late."}
    assert "".join(event["delta"] for event in talk.events if event["type"] == "response.output_text.delta")
    assert "Be brief." in shared[1].requests[-1].body["messages"][0]["content"]


async def test_a_tool_is_called_as_openai_calls_it(shared: tuple[Engine, OpenAIEmulator], talk: Talk) -> None:
    shared[1].script += [Say(tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"})]), Say("It is cold.")]
    await talk.connection.session.update(session={"type": "realtime", "tools": [TOOL]})
    await talk.write("Is it cold in Oslo?")
    await talk.connection.response.create()
    asked = await talk.until("response.done")
    (call,) = asked["response"]["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "weather", {"city": "Oslo"})
    output: Any = {"type": "function_call_output", "call_id": call["call_id"], "output": "-4"}
    await talk.connection.conversation.item.create(item=output)
    await talk.connection.response.create()
    done = await talk.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "It is cold."
    assert done["response"]["id"] != asked["response"]["id"]


async def test_a_message_goes_to_the_end_of_the_conversation_and_nowhere_else(talk: Talk) -> None:
    item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
    for before in ("root", None):
        await talk.connection.conversation.item.create(item=item, **({"previous_item_id": before} if before else {}))
        last = await talk.until("conversation.item.done")
    await talk.connection.conversation.item.create(item=item, previous_item_id=last["item"]["id"])
    followed = await talk.until("conversation.item.done")
    await talk.connection.conversation.item.create(item=item, previous_item_id="root")
    told = (await talk.until("error"))["error"]
    assert followed["previous_item_id"] == last["item"]["id"]
    assert (told["code"], told["param"]) == ("unsupported_parameter", "previous_item_id")


async def test_silence_after_an_answer_is_answered_once(shared: tuple[Engine, OpenAIEmulator], talk: Talk) -> None:
    shared[1].script += [Say("It is late."), Say("Are you still there?")]
    patient: Any = {"type": "server_vad", "idle_timeout_ms": 5_000}
    await talk.connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": patient}}})
    shown = await talk.until("session.updated")
    await talk.say(SILENCE)
    await talk.write("How late is it?")
    await talk.connection.response.create()
    await talk.until("response.done")
    silent = await talk.until("input_audio_buffer.timeout_triggered")
    done = await talk.until("response.done")
    assert shown["session"]["audio"]["input"]["turn_detection"]["idle_timeout_ms"] == 5_000
    assert (silent["audio_start_ms"], silent["audio_end_ms"]) == (1_000, 1_000)
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Are you still there?"
    told = [request.body for request in shared[1].requests if request.path.endswith("/chat/completions")][-1]
    assert told["messages"][-1]["content"] == "The user has said nothing for 5 seconds."
    committed = [event["item_id"] for event in talk.events if event["type"] == "input_audio_buffer.committed"]
    assert committed == [silent["item_id"]]


def asked_last(vendor: OpenAIEmulator) -> list[str]:
    """What the chat model was told last, behind its instructions."""
    bodies = [request.body for request in vendor.requests if request.path.endswith("/chat/completions")]
    return [message["content"] for message in bodies[-1]["messages"] if message["role"] != "system"]


async def test_what_is_deleted_is_known_to_the_model_no_more(
    shared: tuple[Engine, OpenAIEmulator], talk: Talk, local_server: RunningServer
) -> None:
    shared[1].script += [Say("First."), Say("Second."), Say("Third.")]
    await talk.say(await spoken(local_server.url, QUESTION, RATE) + SILENCE)
    aloud = await talk.until("input_audio_buffer.committed")
    await talk.until("response.done")
    await talk.write("In writing.")
    written = await talk.until("conversation.item.done")
    await talk.connection.response.create()
    done = await talk.until("response.done")
    first, *others = asked_last(shared[1])
    assert (bare(first), others) == (HEARD, ["First.", "In writing."])
    for id in (aloud["item_id"], written["item"]["id"], done["response"]["output"][0]["id"]):
        await talk.connection.conversation.item.delete(item_id=id)
        assert (await talk.until("conversation.item.deleted"))["item_id"] == id
    await talk.write("What is left?")
    last = await talk.until("conversation.item.done")
    await talk.connection.response.create()
    await talk.until("response.done")
    assert asked_last(shared[1]) == [
        "First.",
        "What is left?",
    ]
    await talk.connection.conversation.item.delete(item_id=last["item"]["id"])
    await talk.until("conversation.item.deleted")
    await talk.connection.conversation.item.delete(item_id=last["item"]["id"])
    assert (await talk.until("error"))["error"]["code"] == "item_not_found"


async def test_a_response_is_cancelled(shared: tuple[Engine, OpenAIEmulator], talk: Talk) -> None:
    hold = Hold()
    shared[1].script += [Say(pieces=["The boat is green. ", hold, "It has a name."]), Say("Yes.")]
    await talk.write("Tell me")
    await talk.connection.response.create()
    started = await talk.until("response.output_audio.delta")
    await talk.connection.conversation.item.truncate(item_id=started["item_id"], content_index=0, audio_end_ms=20)
    await talk.until("conversation.item.truncated")
    await talk.connection.response.cancel()
    done = await talk.until("response.done")
    await shared[1].hung_up()
    assert (done["response"]["status"], done["response"]["status_details"]["reason"]) == (
        "cancelled",
        "client_cancelled",
    )
    await talk.write("Are you there?")
    await talk.connection.response.create()
    again = await talk.until("response.done")
    assert again["response"]["output"][0]["content"][0]["transcript"] == "Yes."


async def test_the_client_may_say_when_a_turn_is_over(
    shared: tuple[Engine, OpenAIEmulator], talk: Talk, local_server: RunningServer
) -> None:
    shared[1].script.append(Say("Fine."))
    await talk.connection.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    await talk.say(await spoken(local_server.url, QUESTION, RATE) + SILENCE)
    await talk.connection.input_audio_buffer.commit()
    written = await talk.until("conversation.item.input_audio_transcription.completed")
    assert bare(written["transcript"]) == HEARD
    await talk.connection.response.create()
    done = await talk.until("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Fine."
    assert "input_audio_buffer.speech_started" not in talk.kinds


@pytest.mark.parametrize("format", ["audio/pcmu", "audio/pcma"])
async def test_it_speaks_over_a_telephone_line(
    shared: tuple[Engine, OpenAIEmulator], talk: Talk, local_server: RunningServer, format: str
) -> None:
    shared[1].script.append(Say("Fine."))
    law = LAWS["mulaw" if format == "audio/pcmu" else "alaw"]
    line: Any = {"format": {"type": format}}
    await talk.connection.session.update(session={"type": "realtime", "audio": {"input": line, "output": line}})
    pcm = await spoken(local_server.url, QUESTION, rate=8_000) + bytes(16_000)
    await talk.say(law.encode(pcm))
    done = await talk.until("response.done")
    assert done["response"]["status"] == "completed"
    sound = b"".join(
        base64.b64decode(event["delta"]) for event in talk.events if event["type"] == "response.output_audio.delta"
    )
    # A word takes the vendor's voice a quarter of a second.
    assert len(sound) == 2_000


def hearing(turn_detection: dict[str, Any]) -> dict[str, Any]:
    """A session that finds turns like this."""
    return {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}


def said(role: str, type: str) -> dict[str, Any]:
    """A message with one byte of audio, which is no sample."""
    return {"type": "message", "role": role, "content": [{"type": type, "audio": "AA=="}]}


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "session.create"}, "invalid_request", "type"),
        ({"type": "input_audio_buffer.append"}, "invalid_request", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_request", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
        (
            {"type": "session.update", "session": {"voice": "alloy", "modalities": ["audio", "text"]}},
            "invalid_request",
            "session.modalities",
        ),
        (
            {"type": "response.create", "response": {"conversation": "none"}},
            "unsupported_parameter",
            "response.conversation",
        ),
        ({"type": "response.create", "response": {"input": [{}]}}, "unsupported_parameter", "response.input"),
        (
            {"type": "session.update", "session": {"type": "realtime", "model": "other"}},
            "invalid_request",
            "session.model",
        ),
        ({"type": "conversation.item.create", "item": {"type": "mcp_call"}}, "invalid_request", "item.type"),
        (
            {"type": "conversation.item.create", "previous_item_id": "root", "item": said("user", "input_audio")},
            "invalid_request",
            "item.content.0.audio",
        ),
        (
            {"type": "conversation.item.create", "item": said("system", "input_audio")},
            "invalid_request",
            "item.content.0.type",
        ),
        (
            {"type": "conversation.item.create", "previous_item_id": "item_0", "item": said("user", "input_audio")},
            "item_not_found",
            "previous_item_id",
        ),
        ({"type": "conversation.item.retrieve", "item_id": "item_0"}, "item_not_found", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "item_0", "content_index": 0, "audio_end_ms": 1},
            "item_not_found",
            "item_id",
        ),
        (
            {"type": "session.update", "session": hearing({"type": "semantic_vad", "idle_timeout_ms": 6_000})},
            "invalid_request",
            "session.audio.input.turn_detection",
        ),
        (
            {"type": "session.update", "session": hearing({"type": "server_vad", "idle_timeout_ms": 1})},
            "invalid_request",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
)
async def test_a_mistake_is_an_error_event_and_the_session_goes_on(
    shared: tuple[Engine, OpenAIEmulator], talk: Talk, event: dict[str, Any], code: str, param: str | None
) -> None:
    shared[1].script.append(Say("Yes."))
    await talk.connection.send({"event_id": "mine", **event})  # type: ignore[arg-type]
    told = (await talk.until("error"))["error"]
    assert (told["code"], told["param"], told["event_id"]) == (code, param, "mine")
    await talk.write("Are you there?")
    await talk.connection.response.create()
    done = await talk.until("response.done")
    assert done["response"]["status"] == "completed"


async def test_an_id_is_given_to_one_item(talk: Talk) -> None:
    item = {**said("user", "input_text"), "id": "item_mine", "content": [{"type": "input_text", "text": "Hello."}]}
    for _ in range(2):
        await talk.connection.send({"type": "conversation.item.create", "item": item})  # type: ignore[arg-type]
    told = (await talk.until("error"))["error"]
    assert (told["code"], told["param"]) == ("invalid_request", "item.id")


async def test_a_voice_that_is_not_there_is_named_once(local_server: RunningServer) -> None:
    async with client(local_server.url) as official, official.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        asked: Any = {"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"voice": "nobody"}}}
        await connection.session.update(session=asked)
        updated = await talk.until("session.updated")
        told = (await talk.until("error"))["error"]
        await connection.session.update(session={"type": "realtime"})
        await talk.until("session.updated")
    assert told["param"] == "session.audio.output.voice"
    assert updated["session"]["instructions"] == "Be brief."


async def test_what_clients_ask_by_habit_is_taken_and_the_rest_of_an_update_holds(talk: Talk) -> None:
    asked: Any = {
        "type": "realtime",
        "tracing": "auto",
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        "include": ["item.input_audio_transcription.logprobs"],
        "max_output_tokens": "inf",
        "colour": "red",
        "output_modalities": ["audio", "text"],
        "instructions": "Be brief.",
        "tools": [{**TOOL, "strict": True}, {"type": "mcp", "server_label": "x", "server_url": "http://127.0.0.1:1"}],
        "tool_choice": "required",
        "audio": {
            "input": {"format": {"type": "audio/pcm", "rate": 16_000}, "noise_reduction": {"type": "near_field"}},
            "output": {"format": {"type": "audio/pcm", "rate": 16_000}, "voice": "marin", "speed": 1.2},
        },
    }
    await talk.connection.send({"type": "session.update", "event_id": "mine", "session": asked})
    session = json.loads(await talk.connection.recv_bytes())["session"]
    refused = [json.loads(await talk.connection.recv_bytes())["error"] for _ in range(2)]
    assert session["instructions"] == "Be brief."
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["format"]["rate"] == session["audio"]["output"]["format"]["rate"] == 16_000
    assert [tool["name"] for tool in session["tools"]] == [TOOL["name"]]
    assert [each["param"] for each in refused] == ["session.tool_choice", "session.tools.1"]
    assert {each["event_id"] for each in refused} == {"mine"}


async def test_a_voice_of_openai_is_the_default_one_of_a_model_without_it(local_server: RunningServer) -> None:
    async with client(local_server.url) as official, official.realtime.connect(model="local") as connection:
        talk = Talk(connection)
        await talk.until("session.created")
        await connection.session.update(session={"type": "realtime", "audio": {"output": {"voice": "ash"}}})
        updated = await talk.until("session.updated")
        await talk.write("Say hello.")
        await connection.response.create()
        await talk.until("response.output_audio.delta")
        noted = await status_of_the_call(local_server.url)
    assert updated["session"]["audio"]["output"]["voice"] == "default"
    assert "error" not in talk.kinds
    assert (noted["stage"], "'ash'" in noted["detail"]) == ("voice_replaced", True)


async def status_of_the_call(url: str) -> dict[str, Any]:
    """The first status of the call that runs, as its stream has it."""
    async with aiohttp.ClientSession(url) as http:
        async with http.get("/api/v1/streams") as answer:
            (call,) = [each for each in (await answer.json())["streams"] if each["command"] == "realtime.start"]
        async with asyncio.timeout(10), http.get(f"/api/v1/streams/{call['stream']}/events") as events:
            async for line in events.content:
                if line.startswith(b"data: ") and (told := json.loads(line[6:]))["type"] == "status":
                    return dict(told)
    raise AssertionError("the call told no status")


async def test_another_voice_in_a_call_that_runs_is_told_in_it(shared: tuple[Engine, OpenAIEmulator]) -> None:
    """Natively: who maps a voice says so, at the start and with an update."""
    url = f"ws://127.0.0.1:{shared[0].port}"
    told: list[str] = []
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws") as socket, asyncio.timeout(20):
        start = {"type": "realtime.start", "id": "r", "model": "cascade", "store": False, "voice_instead_of": "ash"}
        await socket.send_json(start)
        while len(told) < 2:
            event = json.loads((await socket.receive()).data)
            if event["type"] == "status" and event["stage"] == "voice_replaced":
                told.append(event["detail"])
                more = {"stream": event["stream"], "voice": "default", "voice_instead_of": "marin"}
                await socket.send_json({"type": "realtime.update", "id": "u", **more})
    assert ["ash" in told[0], "marin" in told[1]] == [True, True]


async def test_a_bound_of_answers_reaches_the_model_and_is_told_where_it_cuts(
    shared: tuple[Engine, OpenAIEmulator], talk: Talk
) -> None:
    shared[1].script += [Say("It is", finish="length"), Say("It is late.")]
    session: Any = {"type": "realtime", "output_modalities": ["text"], "max_output_tokens": 7}
    await talk.connection.session.update(session=session)
    assert (await talk.until("session.updated"))["session"]["max_output_tokens"] == 7
    await talk.write("How late is it?")
    await talk.connection.response.create()
    cut = (await talk.until("response.done"))["response"]
    assert shared[1].requests[-1].body["max_tokens"] == 7
    assert (cut["status"], cut["max_output_tokens"]) == ("incomplete", 7)
    assert cut["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert cut["output"][0]["status"] == "incomplete"
    session["max_output_tokens"] = "inf"
    await talk.connection.session.update(session=session)
    await talk.write("Again?")
    await talk.connection.response.create()
    whole = (await talk.until("response.done"))["response"]
    assert "max_tokens" not in shared[1].requests[-1].body
    assert (whole["status"], whole["max_output_tokens"]) == ("completed", "inf")


@pytest.mark.parametrize("bound", [0, -1, 1.5, "seven", True])
async def test_a_bound_that_is_none_is_named(talk: Talk, bound: Any) -> None:
    await talk.connection.session.update(session={"type": "realtime", "max_output_tokens": bound})
    assert (await talk.until("error"))["error"]["param"].startswith("session.max_output_tokens")


async def test_a_model_that_is_not_there_and_a_plain_request_are_http_errors(local_server: RunningServer) -> None:
    async with aiohttp.ClientSession(local_server.url) as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/v1/realtime?model=nobody")
        assert refused.value.status == 404
        async with http.get("/v1/realtime?model=local") as answer:
            assert (answer.status, "WebSocket" in (await answer.json())["error"]["message"]) == (426, True)
        async with http.ws_connect("/v1/realtime", protocols=("realtime", "openai-insecure-api-key.x")) as socket:
            assert socket.protocol == "realtime"
            assert (await socket.receive_json())["session"]["model"] == "local/default"


@pytest.mark.parametrize("intent", [{}, {"intent": "transcription"}])
async def test_audio_longer_than_may_wait_is_taken_in_one_event(
    local_server: RunningServer, intent: dict[str, str]
) -> None:
    async with (
        client(local_server.url) as official,
        official.realtime.connect(model="local", extra_query=intent) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        # Half a sample at the end is not the next event's fault.
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(RATE * 2 * 15 + 1)).decode())
        await connection.input_audio_buffer.clear()
        await talk.until("input_audio_buffer.cleared")
    assert "error" not in talk.kinds
