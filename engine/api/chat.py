"""What a chat provider is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from engine.api.events import (
    Citation,
    FinishReason,
    ReasoningDelta,
    StatusChanged,
    TextDelta,
    ToolCall,
    ToolDelta,
    Usage,
    VendorPart,
)


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type", omit_defaults=True):
    """Words. `cache` marks the end of what the vendor is to keep in its prompt cache, as Anthropic words it."""

    text: str
    cache: Mapping[str, Any] | None = None


class ImagePart(msgspec.Struct, frozen=True, tag="image", tag_field="type", kw_only=True, omit_defaults=True):
    """A picture by address (`url`) or by content (`data` in base64 with `media_type`)."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    cache: Mapping[str, Any] | None = None


class AudioPart(msgspec.Struct, frozen=True, tag="audio", tag_field="type", kw_only=True):
    """A recording in base64; `format` is wav, mp3, …"""

    data: str
    format: str


class FilePart(msgspec.Struct, frozen=True, tag="file", tag_field="type", kw_only=True, omit_defaults=True):
    """A document by address or by content in base64."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None
    cache: Mapping[str, Any] | None = None


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning", tag_field="type", kw_only=True, omit_defaults=True):
    """Thinking of an earlier step that its vendor wants back, unchanged and signed.

    `provider` says whose it is: another vendor's reasoning is not sent on.
    """

    provider: str
    text: str = ""
    signature: str | None = None
    id: str | None = None


Part: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | ReasoningPart
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation as a provider sees it.

    An assistant's message may carry `tool_calls`; a tool's message answers the call `tool_call_id`.
    """

    role: Role
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def text(self) -> str:
        """The words of the message, without its other parts."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}
    strict: bool | None = None
    cache: Mapping[str, Any] | None = None


class WebSearch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vendor's own web search; `options` are passed to it as they are."""

    options: Mapping[str, Any] = {}


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`auto`, `none`, `required`, or `function` with the name of the one to call."""

    mode: Literal["auto", "none", "required", "function"]
    name: str | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How hard to think: a name, or a budget in tokens; adapters translate one into the other."""

    effort: Literal["none", "minimal", "low", "medium", "high", "max"] | None = None
    budget: int | None = None
    summary: bool = True


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Plain text, any JSON object, or JSON that fits `schema`."""

    kind: Literal["text", "json", "json_schema"]
    name: str = "answer"
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a model.

    `model` is the vendor's own name of it. `provider_options` are added to the vendor's body as they are and win over
    what the adapter made. `native` is the same request as its caller worded it, by the name of a dialect: an adapter that
    speaks one sends that, and gives out as `VendorPart` what has no delta of its own.
    """

    model: str
    messages: tuple[Message, ...]
    instructions: str | None = None
    tools: tuple[FunctionTool | WebSearch, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_k: int | None = None
    """Sample from so many of the likeliest tokens. A hint: a vendor that has no such field is not sent it."""
    n: int = 1
    max_output_tokens: int | None = None
    reasoning: Reasoning | None = None
    response_format: ResponseFormat | None = None
    logprobs: int | None = None
    """How many alternatives to report for each token; None asks for no log probabilities."""
    user: str | None = None
    provider_options: Mapping[str, Any] = {}
    native: Mapping[str, Mapping[str, Any]] = {}


class Finish(msgspec.Struct, frozen=True):
    """The model is done with one choice."""

    reason: FinishReason
    choice: int = 0


class Answered(msgspec.Struct, frozen=True):
    """The model that really answers, in the vendor's spelling."""

    model: str


class Extra(msgspec.Struct, frozen=True):
    """Fields of the vendor's answer that the engine does not use; the dialects pass them on."""

    fields: Mapping[str, Any]


ChatDelta: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ReasoningPart
    | ToolDelta
    | ToolCall
    | Citation
    | VendorPart
    | StatusChanged
    | Usage
    | Finish
    | Answered
    | Extra
)
"""What a chat provider yields. A call of a tool is a whole `ToolCall`, before which `ToolDelta` may show its arguments as they
come. `ReasoningPart` goes back to the vendor in the next step: the turn keeps it, or its client."""

ChatDeltas: TypeAlias = ChatDelta | Sequence[ChatDelta]
"""One delta, or all that one read from the vendor brought: a batch costs the engine one wake-up."""
