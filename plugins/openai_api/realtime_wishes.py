"""What realtime clients ask of a session by habit: hints are dropped, demands refused one by one, and the rest is taken."""

from __future__ import annotations

from typing import Any

from engine.api import InvalidRequest, UnsupportedParameter
from plugins.openai_api.hints import Hints, Rules

RULES = Rules(demands={})

_BETA = (
    "modalities", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription", "turn_detection",
    "max_response_output_tokens",
)  # fmt: skip
_HINTS = {
    "include": (),
    "tracing": (),
    "truncation": ("auto",),
}
"""Wishes of how to work, and the values with which they ask for nothing."""

_DEMANDS = {
    "prompt": "stored prompts are not known here; send instructions",
    "input": "a response is given to the whole conversation; add items with conversation.item.create",
    "tools": "tools belong to the session; set them with session.update",
}


def sort_session(told: dict[str, Any], hints: Hints) -> tuple[dict[str, Any], list[UnsupportedParameter]]:
    """What can be taken of a session, and the demands in it that cannot be met, each as an error that names its field.

    Raises `InvalidRequest` for the form of the API's beta, of which nothing can be taken.
    """
    if (old := next((name for name in _BETA if told.get(name) is not None), None)) is not None:
        raise InvalidRequest(
            f"{old} is of the API's beta: modalities is now output_modalities, transcription and turn_detection stand under "
            "audio.input, voice under audio.output, and formats are objects under both",
            field=f"session.{old}",
        )
    session, refused = dict(told), [*_prompt(told), *_tool_choice(told)]
    for error in refused:
        session.pop((error.field or "").removeprefix("session."))
    _drop_hints(session, hints, "session.")
    _both_modalities(session)
    if isinstance(tools := session.get("tools"), list):
        kept, errors = _functions(tools)
        session["tools"] = kept
        refused += errors
    if isinstance(audio := session.get("audio"), dict):
        session["audio"], errors = _sound(audio, hints)
        refused += errors
    return session, refused


def sort_response(told: dict[str, Any], hints: Hints) -> dict[str, Any]:
    """What can be taken of the options of a response; raises `UnsupportedParameter` for a demand."""
    options = dict(told)
    if options.get("conversation") not in (None, "auto"):
        raise UnsupportedParameter(
            "a response outside of the conversation is not given here; leave conversation out, or ask "
            "/v1/chat/completions beside the session",
            field="response.conversation",
        )
    for name, advice in _DEMANDS.items():
        if options.pop(name, None):
            raise UnsupportedParameter(f"response.{name} is not taken; {advice}", field=f"response.{name}")
    for error in _tool_choice(options, "response."):
        raise error
    options.pop("tool_choice", None)
    if options.pop("audio", None):
        hints.drop("response.audio")
    if options.pop("max_output_tokens", None) not in (None, "inf"):
        hints.drop("response.max_output_tokens")
    _drop_hints(options, hints, "response.")
    _both_modalities(options)
    return options


def _drop_hints(told: dict[str, Any], hints: Hints, at: str) -> None:
    for name, neutral in _HINTS.items():
        if (value := told.pop(name, None)) and value not in neutral:
            hints.drop(f"{at}{name}")


def _both_modalities(told: dict[str, Any]) -> None:
    """Sound comes with its words in any case, so that both are what audio is."""
    given = told.get("output_modalities")
    if isinstance(given, list) and sorted(map(str, given)) == ["audio", "text"]:
        told["output_modalities"] = ["audio"]


def _prompt(told: dict[str, Any]) -> list[UnsupportedParameter]:
    if told.get("prompt") is None:
        return []
    return [UnsupportedParameter(f"prompt is not taken; {_DEMANDS['prompt']}", field="session.prompt")]


def _tool_choice(told: dict[str, Any], at: str = "session.") -> list[UnsupportedParameter]:
    if told.get("tool_choice") in (None, "auto"):
        return []
    reason = "the model chooses its tools itself here; tool_choice is auto, or left out"
    return [UnsupportedParameter(reason, field=f"{at}tool_choice")]


def _functions(tools: list[Any]) -> tuple[list[Any], list[UnsupportedParameter]]:
    kept, refused = [], []
    for at, tool in enumerate(tools):
        kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
        if kind == "function":
            kept.append(tool)
        else:
            reason = f"tools of type {str(kind)[:40]!r} are not there; offer functions"
            refused.append(UnsupportedParameter(reason, field=f"session.tools.{at}"))
    return kept, refused


def _sound(audio: dict[str, Any], hints: Hints) -> tuple[dict[str, Any], list[UnsupportedParameter]]:
    out = audio.get("output")
    if not isinstance(out, dict):
        return audio, []
    out, refused = dict(out), []
    if out.pop("speed", None) not in (None, 1):
        hints.drop("session.audio.output.speed")
    into = audio.get("input")
    heard = into.get("format") if isinstance(into, dict) else None
    spoken = out.get("format")
    if isinstance(heard, dict) and isinstance(spoken, dict) and _form(heard) != _form(spoken):
        reason = "audio is of one format both ways here; that of the input is taken"
        refused.append(UnsupportedParameter(reason, field="session.audio.output.format"))
        del out["format"]
    return {**audio, "output": out}, refused


def _form(told: dict[str, Any]) -> tuple[Any, Any]:
    kind = told.get("type", "audio/pcm")
    return kind, told.get("rate") or (24_000 if kind == "audio/pcm" else 8_000)
