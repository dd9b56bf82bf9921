"""One example of everything that goes over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.api.errors import ErrorBody
from engine.api.events import (
    AssistantEnded,
    AssistantStarted,
    Audio,
    Citation,
    Cost,
    Event,
    Gap,
    LaneEnded,
    LaneStarted,
    MessageSaved,
    PlaybackClear,
    ReasoningDelta,
    ReasoningKept,
    StatusChanged,
    StreamEnded,
    StreamStarted,
    TextDelta,
    ToolCall,
    ToolCancelled,
    ToolDelta,
    ToolResult,
    TranscriptFinal,
    TranscriptPartial,
    Usage,
    UserEnded,
    UserStarted,
    VendorPart,
)
from engine.wire.control import (
    Accepted,
    AudioAck,
    Frame,
    Pong,
    Rejected,
    SessionDraining,
    SessionFeatures,
    SessionReady,
    StreamDetached,
    StreamSnapshot,
)
from plugins.local.chat import PACKAGED

STREAM, CONVERSATION, MESSAGE, PROMPT, OBJECT = "s_…", "c_…", "m_…", "p_…", "o_…"
WHEN = "2026-11-23T10:00:00Z"

EVENTS: tuple[tuple[int, Event], ...] = (
    (1, StreamStarted(model="local")),
    (2, TextDelta("Hel")),
    (3, ReasoningDelta("The user greets me.")),
    (4, ReasoningKept(provider="anthropic", text="The user greets me.", signature="EqQB…")),
    (4, ToolDelta(call_id="call_1", name="weather", arguments='{"city":')),
    (4, ToolCall(call_id="call_1", name="weather", arguments='{"city":"Oslo"}', client=True)),
    (5, ToolResult(call_id="call_1", name="weather", output="18 °C")),
    (6, ToolCancelled(call_id="call_1", name="weather")),
    (6, Citation(url="https://example.com/oslo", title="Oslo today", start=0, end=12)),
    (
        6,
        VendorPart(
            dialect="anthropic",
            part={"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Oslo"}},
        ),
    ),
    (7, TranscriptPartial(text="hello how", start=0.2)),
    (7, TranscriptFinal(text="hello how are you", start=0.2, end=1.4, confidence=0.93, language="en")),
    (7, UserStarted(turn=1, at=1240)),
    (7, UserEnded(turn=1, at=2900)),
    (7, AssistantStarted(turn=1, at=0)),
    (
        7,
        AssistantEnded(
            turn=1,
            status="cancelled",
            heard=1840,
            text="It is eighteen",
            conversation=CONVERSATION,
            message=MESSAGE,
            usage=Usage(input_tokens=32, output_tokens=9),
            cost=Cost(amount="0"),
            answered_by=STREAM,
        ),
    ),
    (7, PlaybackClear(lane="speech")),
    (7, StatusChanged(stage="retry", detail="openai did not answer; asking again")),
    (8, LaneStarted(lane="speech", number=1, format="pcm", rate=24000)),
    (9, Audio(lane="speech", data=b"\x00\x01\x02\x03", at=20)),
    (14, Gap(lane="speech", first=10, last=14)),
    (15, LaneEnded(lane="speech")),
    (40, MessageSaved(conversation=CONVERSATION, message=MESSAGE)),
    (
        41,
        StreamEnded(
            status="completed",
            reason="done",
            finish_reason="stop",
            model="local/SmolLM2-135M-Instruct",
            usage=Usage(input_tokens=32, output_tokens=9),
            cost=Cost(amount="0"),
            saved=True,
        ),
    ),
)

REFUSED = ErrorBody(
    code="invalid_request", message="temperature must be 2 or less", retryable=False, field="temperature"
)

FRAMES: tuple[Frame, ...] = (
    SessionReady(protocol=1, session="c_…", version="0.1.0", features=["chat", "local", "openai_api"]),
    SessionDraining(seconds=10.0),
    SessionFeatures(features=["chat", "openai_api"]),
    Accepted(re="c1", stream=STREAM, number=17, recovered=True),
    Rejected(re="c1", error=REFUSED),
    Pong(re="p1"),
    StreamSnapshot(stream=STREAM, n=30, text="Hello! How", tool_calls=[]),
    AudioAck(stream=STREAM, n=50),
    StreamDetached(
        stream=STREAM,
        last=17,
        error=ErrorBody(
            code="slow_consumer", message="this reader fell behind; resume after its last number", retryable=True
        ),
    ),
)


@dataclass(frozen=True)
class Exchange:
    """One HTTP request and its answer; `query` stands behind the address, `path` fills its parameters."""

    answer: Any = None
    body: Mapping[str, Any] | None = None
    query: str = ""
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


_OBJECT: Mapping[str, Any] = {
    "id": OBJECT,
    "name": "speech.mp3",
    "content_type": "audio/mpeg",
    "size": 48213,
    "created_at": WHEN,
    "expires_at": "2026-12-23T10:00:00Z",
    "origin": STREAM,
}

_LINK: Mapping[str, Any] = {
    "url": f"/api/v1/storage/files/{OBJECT}?expires=1795432200&signature=Zm9yIHRoZSBkb2Nz",
    "expires_at": "2026-11-23T11:10:00Z",
}

_TRANSCRIPT: Mapping[str, Any] = {
    "stream": STREAM,
    "status": "completed",
    "text": "hello how are you today",
    "segments": [
        {"type": "transcript.final", "text": "hello how are you today", "start": 0.2, "end": 1.6, "language": "en"}
    ],
    "model": "local/pocketsphinx",
    "usage": {
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": False,
        "seconds": 1.9,
    },
}
_PLUGIN: Mapping[str, Any] = {
    "name": "openai_api",
    "state": "on",
    "origin": "betterai-engine (plugins.openai_api.plugin:OpenAIApi)",
    "hooks": ["register_routes"],
}

_CONVERSATION: Mapping[str, Any] = {
    "id": CONVERSATION,
    "title": "A name for a boat",
    "titled_by": "first_words",
    "model": "local",
    "tags": ["boats"],
    "favourite": False,
    "leaf": MESSAGE,
    "created_at": WHEN,
    "updated_at": WHEN,
    "running_stream": None,
}
_MESSAGE: Mapping[str, Any] = {
    "id": MESSAGE,
    "conversation": CONVERSATION,
    "parent": None,
    "role": "user",
    "text": "A name for a boat?",
    "content": [{"type": "text", "text": "A name for a boat?"}],
    "status": "completed",
    "created_at": WHEN,
    "siblings": [MESSAGE],
}
_PROMPT: Mapping[str, Any] = {
    "id": PROMPT,
    "title": "Explain",
    "text": "Explain this as to a child:",
    "tags": [],
    "created_at": WHEN,
    "updated_at": WHEN,
}
_STATE: Mapping[str, Any] = {"stream": STREAM, "command": "chat.send", "status": "running", "n": 12, "age": 0.4}
_MODEL: Mapping[str, Any] = {
    "id": "local",
    "provider": "local",
    "role": "chat",
    "aliases": [],
    "context": 4096,
    "max_output": None,
    "capabilities": ["json_schema", "logprobs"],
    "price": {"input": "0", "output": "0", "cached_input": None, "reasoning": None},
    "description": PACKAGED,
}
_CARD: Mapping[str, Any] = {
    "id": "local",
    "object": "model",
    "created": 0,
    "owned_by": "local",
    "role": "chat",
    "context": 4096,
    "capabilities": ["json_schema", "logprobs"],
}
_COMPLETION: Mapping[str, Any] = {
    "id": "chatcmpl-…",
    "object": "chat.completion",
    "created": 1795428000,
    "model": "local/SmolLM2-135M-Instruct",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 41,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
_RESPONSE: Mapping[str, Any] = {
    "id": f"resp_{STREAM}",
    "object": "response",
    "created_at": 1795428000,
    "status": "completed",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "model": "local/SmolLM2-135M-Instruct",
    "output": [
        {
            "id": f"msg_{STREAM}_0",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello!", "annotations": [], "logprobs": []}],
        }
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": None,
    "top_p": None,
    "truncation": "disabled",
    "usage": {
        "input_tokens": 32,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 41,
    },
    "metadata": {},
}
_ANSWER: Mapping[str, Any] = {
    "stream": STREAM,
    "status": "completed",
    "finish_reason": "stop",
    "text": "Hello! How can I help you today?",
    "message": MESSAGE,
    "conversation": CONVERSATION,
    "model": "local/SmolLM2-135M-Instruct",
    "usage": {
        "input_tokens": 32,
        "output_tokens": 9,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": False,
    },
    "cost": {"amount": "0", "currency": "USD"},
    "tool_calls": [],
    "saved": True,
}

HTTP: Mapping[str, Exchange] = {
    "GET /health/live": Exchange({"status": "live"}),
    "GET /health/ready": Exchange(
        {"status": "ready", "version": "0.1.0", "checks": [{"name": "local.model", "state": "ok"}]}
    ),
    "GET /openapi.json": Exchange(),
    "GET /asyncapi.json": Exchange(),
    "GET /": Exchange(),
    "GET /docs": Exchange(),
    "GET /metrics": Exchange(),
    "GET /docs/errors": Exchange(),
    "POST /api/v1/chat": Exchange(_ANSWER, {"input": "Hello!"}),
    "GET /api/v1/models": Exchange({"models": [_MODEL], "default": "local"}),
    "GET /api/v1/usage": Exchange(
        {
            "usage": [
                {
                    "day": "2026-11-23",
                    "model": "anthropic/claude-haiku-4-5",
                    "turns": 12,
                    "input_tokens": 5120,
                    "output_tokens": 980,
                    "cost": {"amount": "0.01002", "currency": "USD"},
                }
            ]
        },
        query="?by=day&by=model&since=2026-11-01",
    ),
    "GET /api/v1/budgets": Exchange(
        {
            "budgets": [
                {
                    "subject": "principal:ann",
                    "period": "day",
                    "unit": "tokens",
                    "limit": 2000000.0,
                    "spent": 61440.0,
                    "reserved": 4820.0,
                    "remaining": 1933740.0,
                    "whole_again": "2026-11-24T00:00:00Z",
                }
            ]
        },
        query="?principal=ann",
    ),
    "GET /api/v1/admin/plugins": Exchange({"plugins": [_PLUGIN]}),
    "GET /api/v1/admin/plugins/{name}": Exchange(_PLUGIN),
    "PUT /api/v1/admin/plugins/{name}": Exchange(
        {**_PLUGIN, "state": "closing", "running": 2}, body={"enabled": False, "persist": True}
    ),
    "POST /api/v1/admin/reload": Exchange(
        {
            "started": ["acme"],
            "stopped": [],
            "renewed": ["chat"],
            "changed": [{"key": "models.default", "before": "local", "after": "acme/large"}],
            "restart": ["server.port"],
        }
    ),
    "GET /api/v1/admin/status": Exchange(
        {
            "version": "0.1.0",
            "uptime": 86400.0,
            "memory": 104857600,
            "sockets": 2,
            "streams": 1,
            "held_streams": 4,
            "held_bytes": 20480,
            "body_bytes": 18432,
            "waiting_commands": 0,
            "reader_lag": 0,
            "database_rows": {"default": 0},
            "lag": {"median": 0.0001, "p99": 0.0021, "most": 0.0043},
            "blocks": {"acme": 3},
            "struck_out": {
                "acme": "was switched off: it held the event loop 3 times in ten minutes, the last time for 2.0 s "
                "at /srv/plugins/acme/plugin.py:41 (Acme.speak)"
            },
            "done": {
                "turns": {"completed": 120, "failed": 2},
                "events": 9800,
                "tokens": {"input": 24000, "output": 9000, "cached": 800, "reasoning": 0},
                "cost": "0.4812",
                "requests": 300,
                "sockets": 17,
                "detached": 0,
            },
            "checks": [],
            "providers": [
                {
                    "role": "chat",
                    "name": "openai",
                    "state": "open",
                    "failures": 5,
                    "retry_in": 21.5,
                    "errors": {"provider_unavailable": 5},
                }
            ],
        }
    ),
    "GET /api/v1/admin/sessions": Exchange(
        {
            "sessions": [
                {
                    "id": "c_…",
                    "principal": "ann",
                    "key": "abcd2345efgh",
                    "seconds": 61.2,
                    "watching": 1,
                    "waiting": 0,
                    "buffered": 0,
                }
            ],
            "total": 1,
        },
        query="?limit=20",
    ),
    "GET /api/v1/admin/streams": Exchange(
        {
            "streams": [
                {
                    "id": "s_…",
                    "command": "chat.send",
                    "principal": "ann",
                    "key": "abcd2345efgh",
                    "model": "local",
                    "seconds": 1.5,
                    "n": 17,
                    "readers": 1,
                    "lag": 0,
                }
            ],
            "total": 1,
        },
        query="?limit=20",
    ),
    "POST /api/v1/audio/transcriptions": Exchange(_TRANSCRIPT, form={"file": "@speech.mp3", "model": "local"}),
    "POST /api/v1/audio/translations": Exchange(_TRANSCRIPT, form={"file": "@speech.mp3", "model": "whisper-1"}),
    "POST /v1/audio/transcriptions": Exchange({"text": "hello how are you today"}, form={"file": "@speech.mp3"}),
    "POST /v1/audio/translations": Exchange(
        {"text": "Hello, how are you today?"}, form={"file": "@speech.mp3", "model": "whisper-1"}
    ),
    "GET /api/v1/storage/objects": Exchange(
        {"objects": [_OBJECT], "next": None, "used": 48213, "quota": 1 << 30}, query="?limit=20"
    ),
    "GET /api/v1/storage/objects/{id}": Exchange(_OBJECT),
    "GET /api/v1/storage/objects/{id}/content": Exchange(headers={"Range": "bytes=0-1023"}),
    "POST /api/v1/storage/objects/{id}/link": Exchange(_LINK, {"seconds": 600}),
    "DELETE /api/v1/storage/objects/{id}": Exchange(),
    "GET /api/v1/storage/files/{id}": Exchange(query="?expires=1795950000&signature=Zm9yIHRoZSBkb2Nz"),
    "POST /api/v1/tts": Exchange(
        {
            "stream": STREAM,
            "object": _OBJECT,
            "link": _LINK,
            "model": "local/voice",
            "usage": {"input_tokens": 0, "output_tokens": 0, "characters": 10},
        },
        body={"text": "Hello you.", "model": "local", "format": "mp3", "store": True},
    ),
    "GET /api/v1/tts/voices": Exchange(
        {
            "voices": [
                {
                    "id": "heart",
                    "name": "Heart",
                    "model": "local",
                    "languages": ["en", "en-us"],
                    "description": "hibari, English, female",
                }
            ],
            "missing": [],
        },
        query="?model=local",
    ),
    "GET /api/v1/tts/quota": Exchange(
        {
            "model": "elevenlabs",
            "used": 31000,
            "limit": 100000,
            "left": 69000,
            "resets_at": "2027-01-01T00:00:00Z",
            "plan": "creator",
        },
        query="?model=elevenlabs",
    ),
    "GET /v1/realtime": Exchange(query="?model=local"),
    "POST /v1/realtime/client_secrets": Exchange(
        {
            "value": "ek_…",
            "expires_at": 1784203800,
            "session": {
                "type": "realtime",
                "object": "realtime.session",
                "id": "sess_…",
                "model": "local",
                "output_modalities": ["audio"],
                "instructions": "Be brief.",
                "tools": [],
                "tool_choice": "auto",
                "max_output_tokens": "inf",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": None,
                        "noise_reduction": None,
                        "turn_detection": None,
                    },
                    "output": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "voice": "default",
                        "speed": 1.0,
                    },
                },
            },
        },
        {
            "expires_after": {"anchor": "created_at", "seconds": 600},
            "session": {
                "type": "realtime",
                "model": "local",
                "instructions": "Be brief.",
                "audio": {"input": {"turn_detection": None}},
            },
        },
    ),
    "POST /v1/audio/speech": Exchange(body={"model": "local", "voice": "default", "input": "Hello you."}),
    "GET /api/v1/streams": Exchange({"streams": [_STATE]}),
    "GET /api/v1/streams/{id}": Exchange({**_STATE, "text": "Hello! How"}),
    "GET /api/v1/streams/{id}/events": Exchange(query="?after=17", headers={"Accept": "text/event-stream"}),
    "POST /api/v1/streams/{id}/cancel": Exchange(_STATE),
    "POST /api/v1/streams/{id}/tool-results": Exchange({}, {"call_id": "call_1", "output": "18 °C"}),
    "GET /api/v1/conversations": Exchange(
        {"conversations": [_CONVERSATION], "next": None}, query="?limit=20&favourite=false"
    ),
    "POST /api/v1/conversations": Exchange(
        {**_CONVERSATION, "titled_by": "user", "model": None, "leaf": None},
        {"title": "A name for a boat", "tags": ["boats"]},
    ),
    "GET /api/v1/conversations/search": Exchange(
        {
            "results": [
                {
                    "conversation": CONVERSATION,
                    "title": "A name for a boat",
                    "message": MESSAGE,
                    "role": "user",
                    "snippet": "A name for a boat?",
                    "created_at": WHEN,
                }
            ],
            "next": None,
        },
        query="?q=boat",
    ),
    "GET /api/v1/conversations/{id}": Exchange({**_CONVERSATION, "messages": [_MESSAGE]}),
    "PATCH /api/v1/conversations/{id}": Exchange({**_CONVERSATION, "favourite": True}, {"favourite": True}),
    "DELETE /api/v1/conversations/{id}": Exchange(),
    "POST /api/v1/conversations/{id}/fork": Exchange(_CONVERSATION, {"message": MESSAGE}),
    "GET /api/v1/conversations/{id}/export": Exchange(
        {"conversation": _CONVERSATION, "messages": [_MESSAGE]}, query="?format=json"
    ),
    "GET /api/v1/conversations/{id}/messages": Exchange({"messages": [_MESSAGE]}, query="?view=tree"),
    "GET /api/v1/conversations/{id}/messages/{message}": Exchange(_MESSAGE),
    "PATCH /api/v1/conversations/{id}/messages/{message}": Exchange(
        {**_MESSAGE, "text": "A name for a ship?", "content": [{"type": "text", "text": "A name for a ship?"}]},
        {"text": "A name for a ship?"},
    ),
    "POST /api/v1/conversations/{id}/messages/{message}/truncate": Exchange(
        {**_MESSAGE, "role": "assistant", "text": "The boat", "content": [{"type": "text", "text": "The boat"}]},
        {"heard": "The boat"},
    ),
    "DELETE /api/v1/conversations/{id}/messages/{message}": Exchange(_CONVERSATION),
    "GET /api/v1/prompts": Exchange({"prompts": [_PROMPT], "next": None}, query="?limit=20"),
    "POST /api/v1/prompts": Exchange(_PROMPT, {"title": "Explain", "text": "Explain this as to a child:"}),
    "GET /api/v1/prompts/{id}": Exchange(_PROMPT),
    "PATCH /api/v1/prompts/{id}": Exchange({**_PROMPT, "tags": ["school"]}, {"tags": ["school"]}),
    "DELETE /api/v1/prompts/{id}": Exchange(),
    "GET /v1/models": Exchange({"object": "list", "data": [_CARD]}),
    "GET /v1/models/{model}": Exchange(_CARD),
    "POST /v1/chat/completions": Exchange(
        _COMPLETION, {"model": "local", "messages": [{"role": "user", "content": "Hello!"}]}
    ),
    "POST /v1/responses": Exchange(_RESPONSE, {"model": "local", "input": "Hello!"}),
    "GET /v1/responses/{id}": Exchange(_RESPONSE, query="?stream=false"),
    "DELETE /v1/responses/{id}": Exchange({"id": f"resp_{STREAM}", "object": "response", "deleted": True}),
    "GET /v1/responses/{id}/input_items": Exchange(
        {
            "object": "list",
            "data": [
                {
                    "id": f"in_{STREAM}_0",
                    "type": "message",
                    "role": "user",
                    "status": "completed",
                    "content": [{"type": "input_text", "text": "Hello!"}],
                }
            ],
            "first_id": f"in_{STREAM}_0",
            "last_id": f"in_{STREAM}_0",
            "has_more": False,
        },
        query="?limit=20&order=asc",
    ),
    "POST /v1/responses/{id}/cancel": Exchange({**_RESPONSE, "status": "cancelled", "background": True}),
    "POST /v1/embeddings": Exchange(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
            "model": "openai/text-embedding-3-small",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        },
        {"model": "text-embedding-3-small", "input": "A name for a boat"},
    ),
    "POST /v1/messages": Exchange(
        {
            "id": "msg_…",
            "type": "message",
            "role": "assistant",
            "model": "local/SmolLM2-135M-Instruct",
            "content": [{"type": "text", "text": "Hello!", "citations": None}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {"input_tokens": 32, "cache_read_input_tokens": 0, "output_tokens": 9},
        },
        {"model": "local", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]},
    ),
    "POST /v1/messages/count_tokens": Exchange(
        {"input_tokens": 32}, {"model": "local", "messages": [{"role": "user", "content": "Hello!"}]}
    ),
}
"""By method and address, as routes are registered."""
