"""The AsyncAPI document of the socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict

from engine.api.commands import Call, Command, Request, Serve
from engine.api.events import EVENTS, Event, Gap, StreamEnded, TextDelta, Usage
from engine.http.asyncapi import asyncapi, tag_of
from engine.sessions.core import CORE_COMMANDS
from engine.wire.control import FRAMES, Accepted, SessionReady
from engine.wire.frames import encode_event, encode_json, stream_prefix


class Say(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: str


async def prepare(request: Request[Say]) -> Serve:
    raise NotImplementedError


async def handle(request: Request[Say]) -> Mapping[str, Any] | None:
    return None


CHAT = Command(
    name="chat.send",
    body=Say,
    prepare=prepare,
    summary="Ask a model.",
    example={"type": "chat.send", "id": "c1", "key": "k", "input": "hi", "on_disconnect": {"cancel_after": 5}},
)
RESULT = Call(name="tool.result", body=Say, handle=handle, example={"type": "tool.result", "id": "c2", "input": "x"})
DOCUMENT = asyncapi(EVENTS, [CHAT], FRAMES, [RESULT], version="1.2.3")


def message(name: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["messages"][name]
    return found


def fits(name: str, frame: bytes) -> bool:
    schema = {**message(name)["payload"], "components": DOCUMENT["components"]}
    return jsonschema_rs.is_valid(schema, json.loads(frame))


def test_every_event_frame_and_command_has_a_message() -> None:
    server = {f"server.{tag_of(each)}" for each in (*EVENTS, *FRAMES)}
    client = {"client.chat.send", "client.tool.result"} | {f"client.{each.name}" for each in CORE_COMMANDS}

    assert set(DOCUMENT["components"]["messages"]) == server | client
    assert set(DOCUMENT["channels"]["socket"]["messages"]) == server | client


@pytest.mark.parametrize(
    "event",
    [
        TextDelta("hi"),
        Gap(lane="speech", first=1, last=3),
        StreamEnded(status="completed", reason="done", usage=Usage(input_tokens=1)),
    ],
)
def test_an_event_fits_its_schema_as_it_goes_over_the_wire(event: Event) -> None:
    name = f"server.{tag_of(type(event))}"

    assert fits(name, encode_event(stream_prefix("s_1"), 4, event))
    assert fits(name, encode_event(stream_prefix("s_1"), 4, event, prev=1))
    assert not fits(name, encode_json(event))


@pytest.mark.parametrize(
    "frame", [SessionReady(protocol=1, session="x", version="1", features=[]), Accepted(re="c1", stream="s_1")]
)
def test_a_frame_outside_the_log_fits_its_schema(frame: msgspec.Struct) -> None:
    assert fits(f"server.{tag_of(type(frame))}", encode_json(frame))


def test_examples_fit_the_schemas_of_their_commands() -> None:
    examples = [(name, each["examples"][0]["payload"]) for name, each in _messages().items() if "examples" in each]

    assert len(examples) == 2 + len(CORE_COMMANDS)
    for name, example in examples:
        assert fits(name, json.dumps(example).encode()), name


def test_a_command_with_an_unknown_field_or_another_type_does_not_fit() -> None:
    assert not fits("client.chat.send", b'{"type":"chat.send","input":"hi","extra":1}')
    assert not fits("client.chat.send", b'{"type":"chat.say","input":"hi"}')
    assert not fits("client.chat.send", b'{"type":"chat.send"}')


def test_only_a_command_that_starts_a_stream_has_a_key_and_a_disconnect_policy() -> None:
    assert {"key", "on_disconnect"} <= set(message("client.chat.send")["payload"]["properties"])
    assert not {"key", "on_disconnect"} & set(message("client.tool.result")["payload"]["properties"])


def test_audio_is_a_binary_frame() -> None:
    assert message("server.audio")["contentType"] == "application/octet-stream"


def test_every_command_says_how_it_is_answered() -> None:
    replies = DOCUMENT["operations"]["receive.chat.send"]["reply"]["messages"]
    pong = DOCUMENT["operations"]["receive.ping"]["reply"]["messages"]

    assert [each["$ref"].rpartition("/")[2] for each in replies] == ["server.accepted", "server.rejected"]
    assert [each["$ref"].rpartition("/")[2] for each in pong] == ["server.pong", "server.rejected"]


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT, separators=(",", ":"))

    for part in text.split('"$ref":"#/')[1:]:
        value: Any = DOCUMENT
        for step in part.partition('"')[0].split("/"):
            value = value[step]


def _messages() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
    return found
