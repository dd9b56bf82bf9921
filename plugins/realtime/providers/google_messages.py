"""What Gemini Live tells: only the fields that are used (types: `google.genai.types.LiveServerMessage`)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from engine.api import Usage
from engine.wire.counts import Count, count, total
from plugins.vendors.lenient import Reader


class Fields(msgspec.Struct, rename="camel"):
    """Root of what stands in a message, in the names of JSON."""


class Transcription(Fields):
    """A piece of what was said."""

    NEEDED: ClassVar = frozenset({"text"})

    text: str | None = None


class Blob(Fields):
    """A piece of sound; `mime_type` tells its rate as in "audio/pcm;rate=24000"."""

    NEEDED: ClassVar = frozenset({"data"})

    mime_type: str = ""
    data: bytes = b""


class Part(Fields):
    """A piece of the answer."""

    NEEDED: ClassVar = frozenset({"text", "thought", "inline_data"})

    text: str | None = None
    thought: bool | None = None
    inline_data: Blob | None = None


class Content(Fields):
    """What the model says in this message."""

    NEEDED: ClassVar = frozenset({"parts"})

    parts: list[Part] | None = None


class ServerContent(Fields):
    """What happens in the conversation. Transcripts come in no certain order to the sound that they belong to."""

    NEEDED: ClassVar = frozenset({"model_turn", "input_transcription", "output_transcription"})

    model_turn: Content | None = None
    turn_complete: bool | None = None
    interrupted: bool | None = None
    input_transcription: Transcription | None = None
    output_transcription: Transcription | None = None


class FunctionCall(Fields):
    """The model calls a function."""

    NEEDED: ClassVar = frozenset({"name", "args"})

    name: str = ""
    id: str = ""
    args: dict[str, Any] | None = None


class CalledFunctions(Fields):
    """Calls that are to be answered."""

    NEEDED: ClassVar = frozenset({"function_calls"})

    function_calls: list[FunctionCall] | None = None


class CancelledCalls(Fields):
    """Calls whose answers are wanted no more."""

    ids: list[str] | None = None


class GoAway(Fields):
    """The connection is closed soon: in "9.5s"."""

    time_left: str | None = None


class ResumptionUpdate(Fields):
    """By which handle a new session goes on with this one; none at a moment where none can."""

    new_handle: str | None = None
    resumable: bool | None = None


class ModalityCount(Fields):
    """Tokens of one kind."""

    modality: str = ""
    token_count: Count = None


class UsageMetadata(Fields):
    """What a turn used. Unlike in generateContent, the answer's tokens are `response_token_count`."""

    prompt_token_count: Count = None
    cached_content_token_count: Count = None
    response_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    thoughts_token_count: Count = None
    prompt_tokens_details: list[ModalityCount] | None = None
    response_tokens_details: list[ModalityCount] | None = None
    cache_tokens_details: list[ModalityCount] | None = None


class ServerMessage(Fields):
    """One message; of a session's end there is none, it is in the code of the close."""

    NEEDED: ClassVar = frozenset({"server_content", "tool_call"})

    setup_complete: dict[str, Any] | None = None
    server_content: ServerContent | None = None
    tool_call: CalledFunctions | None = None
    tool_call_cancellation: CancelledCalls | None = None
    go_away: GoAway | None = None
    session_resumption_update: ResumptionUpdate | None = None
    usage_metadata: UsageMetadata | None = None


decode_message = Reader(ServerMessage).read


def usage_of(told: UsageMetadata) -> Usage:
    """Tokens of words and of sound."""
    return Usage(
        input_tokens=total(told.prompt_token_count, told.tool_use_prompt_token_count),
        output_tokens=total(told.response_token_count, told.thoughts_token_count),
        cached_tokens=count(told.cached_content_token_count),
        reasoning_tokens=count(told.thoughts_token_count),
        audio_input_tokens=_sound(told.prompt_tokens_details),
        audio_output_tokens=_sound(told.response_tokens_details),
        audio_cached_tokens=_sound(told.cache_tokens_details)
        if told.cache_tokens_details is not None
        else msgspec.UNSET,
    )


def _sound(details: list[ModalityCount] | None) -> int:
    return total(*(each.token_count for each in details or () if each.modality == "AUDIO"))
