"""The AsyncAPI 3.0 document of the socket, made from the events, the commands and the frames themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel

from engine.api.commands import Call, Command
from engine.api.events import Audio, Event
from engine.api.streams import ON_DISCONNECT
from engine.http.schemas import Json, Schemas, prune
from engine.sessions.core import CORE_COMMANDS, CoreCommand

_CHANNEL = {"$ref": "#/channels/socket"}
_HEADER = (
    "A binary frame, big-endian: u32 stream number (told in `accepted`), u32 n, u8 version (1), u8 lane (told in "
    "`lane.started`), u16 flags (bit 0: a u32 prev follows the header), u32 media time in milliseconds; then the audio."
)
_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 1}


class _Asked(NamedTuple):
    """What a client may send; `starts` says that it starts a stream."""

    name: str
    body: type[BaseModel]
    summary: str
    example: Mapping[str, Any]
    starts: bool = False


def asyncapi(
    events: Iterable[type[Event]],
    commands: Iterable[Command[Any]],
    frames: Iterable[type[msgspec.Struct]],
    calls: Iterable[Call[Any]],
    *,
    version: str,
    core: Iterable[type[CoreCommand]] = CORE_COMMANDS,
) -> Json:
    """The document of `/ws`, from the server's side: it receives commands and calls, it sends events and frames.

    `frames` are the tagged structs that stand outside any stream's log; `core` are the session's own commands. Each
    command's message carries its `example`.
    """
    event_types, frame_types = list(events), list(frames)
    asked = sorted(
        [*_features(commands, calls), *(_Asked(each.name, each, each.summary, each.example) for each in core)],
        key=lambda each: each.name,
    )
    schemas = Schemas(
        [(each, "serialization") for each in (*event_types, *frame_types)]
        + [(each.body, "validation") for each in asked]
    )
    sent = {tag_of(each): _event(each, schemas) for each in event_types}
    sent |= {tag_of(each): _frame(each, schemas) for each in frame_types}
    received = {each.name: _command(each, schemas) for each in asked}
    # A name may go both ways, as `tool.result` does.
    messages = {f"client.{name}": message for name, message in received.items()}
    messages |= {f"server.{name}": message for name, message in sent.items()}
    document: Json = {
        "asyncapi": "3.0.0",
        "info": {"title": "BetterAI engine, socket", "version": version},
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/ws",
                "title": "The socket",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            **{f"receive.{each.name}": _receive(each, sent) for each in asked},
            "send": {"action": "send", "channel": _CHANNEL, "messages": _of_channel(f"server.{name}" for name in sent)},
        },
        "components": {
            "messages": messages,
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
    prune(document)
    return document


def tag_of(struct: type[msgspec.Struct]) -> str:
    """The `type` that a struct carries on the wire."""
    return str(struct.__struct_config__.tag)


def _features(commands: Iterable[Command[Any]], calls: Iterable[Call[Any]]) -> Iterable[_Asked]:
    for command in commands:
        yield _Asked(command.name, command.body, command.summary, command.example, starts=True)
    for call in calls:
        yield _Asked(call.name, call.body, call.summary, call.example)


def _event(struct: type[Event], schemas: Schemas) -> Json:
    if struct is Audio:
        return {
            "name": tag_of(struct),
            "summary": _HEADER,
            "contentType": "application/octet-stream",
            "payload": {"type": "string", "format": "binary"},
        }
    numbered = {
        "stream": {**_TEXT, "description": "The stream's id."},
        "n": {**_COUNT, "description": "The event's number; of a joined frame the last it covers."},
        "prev": {
            "type": "integer",
            "minimum": 0,
            "description": "The number before the first covered; absent when n - 1.",
        },
    }
    schema = schemas.inline(struct)
    schema["properties"] = {**numbered, **schema.get("properties", {})}
    schema["required"] = ["stream", "n", *_with_type(schema)]
    return _message(tag_of(struct), _first_line(struct), schema)


def _frame(struct: type[msgspec.Struct], schemas: Schemas) -> Json:
    schema = schemas.inline(struct)
    schema["required"] = _with_type(schema)
    return _message(tag_of(struct), _first_line(struct), schema)


def _command(command: _Asked, schemas: Schemas) -> Json:
    envelope: Json = {
        "type": {"const": command.name},
        "id": {**_TEXT, "description": "Echoed as `re` in the answer; may repeat."},
    }
    if command.starts:
        envelope["key"] = {**_TEXT, "description": "Makes a retry safe: the same key and body answer the same stream."}
        envelope["on_disconnect"] = ON_DISCONNECT
        envelope["traceparent"] = {**_TEXT, "description": "The caller's trace (W3C Trace Context), where it has one."}
    schema = schemas.inline(command.body, "validation")
    schema["properties"] = {**envelope, **schema.get("properties", {})}
    schema["properties"]["type"] = envelope["type"]
    schema["required"] = _with_type(schema)
    message = _message(command.name, command.summary, schema)
    if command.example:
        message["examples"] = [{"name": command.name, "payload": dict(command.example)}]
    return message


def _message(name: str, summary: str, payload: Json) -> Json:
    message: Json = {"name": name, "title": name, "payload": payload}
    if summary:
        message["summary"] = summary
    return message


def _receive(command: _Asked, sent: Json) -> Json:
    operation: Json = {
        "action": "receive",
        "channel": _CHANNEL,
        "messages": _of_channel([f"client.{command.name}"]),
    }
    replies = [f"server.{name}" for name in _replies(command) if name in sent]
    if command.summary:
        operation["summary"] = command.summary
    if replies:
        operation["reply"] = {"channel": _CHANNEL, "messages": _of_channel(replies)}
    return operation


def _replies(command: _Asked) -> Sequence[str]:
    return ("pong", "rejected") if command.name == "ping" else ("accepted", "rejected")


def _of_channel(names: Iterable[str]) -> list[Json]:
    return [{"$ref": f"#/channels/socket/messages/{name}"} for name in names]


def _with_type(schema: Json) -> list[str]:
    return ["type", *(name for name in schema.get("required", []) if name != "type")]


def _first_line(struct: type) -> str:
    return (inspect.getdoc(struct) or "").partition("\n")[0]
