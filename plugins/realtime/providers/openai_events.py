"""What OpenAI's Realtime API is sent and what it tells (https://platform.openai.com/docs/api-reference/realtime)."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.api import RealtimeRequest, ToolCall, TurnDetection, Usage
from engine.wire.counts import count
from plugins.vendors.openai_realtime import PCM, merged

DEFAULT_VOICE = "marin"
LONGEST_ANSWER = 4_096
"""Tokens: the largest bound of an answer that OpenAI takes."""
TRANSCRIBER = "gpt-4o-mini-transcribe"
"""Writes down what the person says; the model itself hears the sound."""

_INTERPRETER = (
    "You are an interpreter. Repeat everything that is said in the language with the BCP 47 tag {language}, in the first"
    " person, with its tone and nothing added. Never answer it."
)


def message(role: str, text: str) -> dict[str, Any]:
    """A conversation item of words."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def spoken(pcm: bytes) -> dict[str, Any]:
    """A conversation item of the person's sound."""
    return {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "audio": b64encode(pcm).decode()}],
    }


def session(request: RealtimeRequest, *, voice: bool = True, bound: bool = False) -> dict[str, Any]:
    """The session that a request asks for; `voice` says whether one is named, `bound` whether that of answers has to be."""
    heard: dict[str, Any] = {
        "format": PCM,
        "transcription": {"model": TRANSCRIBER},
        "turn_detection": _turn_detection(request.turn_detection),
    }
    if request.language is not None:
        heard["transcription"]["language"] = request.language.split("-")[0]
    made: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio" if "audio" in request.modalities else "text"],
        "audio": {"input": heard, "output": {"format": PCM}},
        "tools": [
            {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in request.tools
        ],
        "tool_choice": "auto",
    }
    if voice:
        made["audio"]["output"]["voice"] = request.voice or DEFAULT_VOICE
    interpreter = _INTERPRETER.format(language=request.translate_to) if request.translate_to else None
    if told := "\n\n".join(filter(None, (interpreter, request.instructions))):
        made["instructions"] = told
    sent = merged(made, request.provider_options)
    if request.max_output_tokens is not None:
        asked = sent.get("max_output_tokens")
        less = isinstance(asked, int) and asked < request.max_output_tokens
        sent["max_output_tokens"] = asked if less else _bound(request.max_output_tokens)
    elif bound:
        sent.setdefault("max_output_tokens", "inf")
    return sent


def _bound(tokens: int) -> int | str:
    """The bound as OpenAI takes it: its models end their answers at the largest one by themselves."""
    return tokens if tokens <= LONGEST_ANSWER else "inf"


def _turn_detection(turns: TurnDetection) -> dict[str, Any] | None:
    acts = {"create_response": turns.answer, "interrupt_response": turns.interrupt}
    if turns.type == "manual":
        return None
    if turns.type == "semantic":
        return {"type": "semantic_vad", **acts}
    return {
        "type": "server_vad",
        "threshold": turns.threshold,
        "prefix_padding_ms": turns.prefix_padding_ms,
        "silence_duration_ms": turns.silence_duration_ms,
        **acts,
    }


def tool_call(item: Mapping[str, Any]) -> ToolCall:
    """A `function_call` item; raises `KeyError` where it has no name."""
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    call_id = item.get("call_id") or item.get("id") or f"call_{secrets.token_hex(12)}"
    return ToolCall(call_id=str(call_id), name=str(item["name"]), arguments=text or "{}")


def usage(told: Any) -> Usage | None:
    """The usage of a response; the tokens of sound are part of input and output."""
    if not told or not isinstance(told, Mapping):
        return None
    heard, said = fields(told, "input_token_details"), fields(told, "output_token_details")
    again = fields(heard, "cached_tokens_details") or None
    return Usage(
        input_tokens=count(told.get("input_tokens")),
        output_tokens=count(told.get("output_tokens")),
        cached_tokens=count(heard.get("cached_tokens")),
        audio_input_tokens=count(heard.get("audio_tokens")),
        audio_output_tokens=count(said.get("audio_tokens")),
        audio_cached_tokens=msgspec.UNSET if again is None else count(again.get("audio_tokens")),
    )


def fields(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object in a document; an empty one in the place of anything else."""
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}
