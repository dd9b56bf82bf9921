"""A whole answer as a `message` (type: `anthropic.types.Message`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from engine.api import (
    Citation,
    Event,
    ReasoningDelta,
    ReasoningKept,
    Said,
    StreamEnded,
    TextDelta,
    ToolCall,
    Usage,
    VendorPart,
)
from plugins.openai_api.call_order import CallEnded, CallOrder, CallSigned, Step
from plugins.openai_api.messages_translation import DIALECT, REDACTED
from plugins.openai_api.sealed import Seal, sealed

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
CITATIONS = "citations_delta"

NO_USAGE: Mapping[str, Any] = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
    "output_tokens_details": None,
    "cache_creation": None,
    "server_tool_use": None,
    "service_tier": None,
    "inference_geo": None,
}
"""What Anthropic tells of every message, with nothing in it."""

STARTED = "message_start"
"""The type of the vendor's part that brings its first counts, before anything is said."""

DIRECT = {"type": "direct"}
"""The `caller` of a tool that the model itself calls."""

Block: TypeAlias = dict[str, Any]


class AnthropicMessage(msgspec.Struct, kw_only=True):
    """A whole answer: blocks of text, thinking and tool use, and what only Anthropic has as it sent it."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    stop_sequence: str | None
    stop_details: Any
    container: Any
    usage: dict[str, Any]


def message_id(stream: str) -> str:
    """The id of the message that a stream becomes."""
    return f"msg_{stream}"


def message(stream: str, model: str, content: Iterable[Block], ended: StreamEnded) -> AnthropicMessage:
    """The message that a stream became."""
    return AnthropicMessage(
        id=message_id(stream),
        type="message",
        role="assistant",
        model=ended.model or model,
        content=list(content),
        usage=usage_of(ended),
        **stop_of(ended),
    )


def stop_of(ended: StreamEnded) -> dict[str, Any]:
    """Why the message ends, in the vendor's own words where it spoke this dialect."""
    extra = ended.extra or {}
    sequence = extra.get("stop_sequence")
    reason = extra.get("stop_reason") or STOP_REASONS[ended.finish_reason or "stop"]
    if sequence is not None and reason == "end_turn":
        reason = "stop_sequence"
    return {
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": extra.get("stop_details"),
        "container": extra.get("container"),
    }


def usage_of(ended: StreamEnded) -> dict[str, Any]:
    """Token counts in Anthropic's shape, whose input leaves out what was read from the cache."""
    told = (ended.extra or {}).get("usage")
    if isinstance(told, Mapping):
        return {**NO_USAGE, **told}
    usage = ended.usage or Usage()
    return {
        **NO_USAGE,
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def call_blocks(call: ToolCall) -> list[Block]:
    """A call; before it, where its vendor wants a signature back, an empty thought that carries it."""
    return [*signed_thought(call), use_block(call, arguments_of(call))]


def use_block(call: ToolCall, given: Any) -> Block:
    """A call with these arguments."""
    return {"type": "tool_use", "id": call.call_id, "name": call.name, "input": given, "caller": DIRECT}


def signed_thought(call: ToolCall) -> list[Block]:
    """An empty thought that carries a call's signature, where its vendor wants one back."""
    if call.signature is None:
        return []
    return [thought("", Seal(provider="", signature=call.signature, call=call.call_id))]


def arguments_of(call: ToolCall) -> Any:
    """The arguments as an object; what the model wrote instead of JSON stands under `arguments`."""
    try:
        return msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        return {"arguments": call.arguments}


def thought(text: str, seal: Seal | None = None) -> Block:
    """A thought; one that no vendor wants back has an empty signature."""
    return {"type": "thinking", "thinking": text, "signature": sealed(seal) if seal is not None else ""}


def kept_block(kept: ReasoningKept, text: str) -> Block:
    """A thought that its vendor wants back; `text` is what was shown of it."""
    if kept.provider == DIALECT and kept.id == REDACTED:
        return {"type": REDACTED, "data": kept.signature}
    return thought(text, Seal(provider=kept.provider, signature=kept.signature, id=kept.id))


def citation(source: Citation) -> dict[str, Any]:
    """A web page that the text leans on; the index that only Anthropic knows is empty."""
    return {
        "type": "web_search_result_location",
        "url": source.url,
        "title": source.title,
        "cited_text": source.text or "",
        "encrypted_index": "",
    }


def text_block(text: str, citations: list[Any]) -> Block:
    """Words, and what they lean on where they lean on something: of no sources there is no list, and no null."""
    block: Block = {"type": "text", "text": text}
    return {**block, "citations": citations} if citations else block


class Content:
    """Folds the events of a stream into the blocks of a message."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._citations: list[Any] = []
        self._theirs = False
        self._order = CallOrder()

    def add(self, event: Event) -> None:
        """Take one event."""
        for step in self._order.take(event):
            self._add(step)

    def _add(self, step: Step) -> None:
        match step:
            case TextDelta(choice=0):
                self._end_thought()
                self._texts.append(step.text)
            case ReasoningDelta():
                self._end_text()
                self._thoughts.append(step.text)
            case ReasoningKept():
                text, self._thoughts = "".join(self._thoughts) or step.text, []
                self._end_text()
                self.blocks.append(kept_block(step, text))
            case CallEnded(cut=False):
                self._end()
                self.blocks += call_blocks(step.call.call)
            case CallSigned():
                self.blocks += signed_thought(step.call)
            case VendorPart(dialect="anthropic", part={"type": "citations_delta"}):
                self._theirs = True
                self._citations.append(step.part["citation"])
            case VendorPart(dialect="anthropic", part={"type": "message_start"}):
                pass
            case VendorPart(dialect="anthropic"):
                self._end()
                self.blocks.append(step.part)
            case Citation() if not self._theirs:
                self._citations.append(citation(step))

    def whole(self, said: Said) -> list[Block]:
        """All blocks. What `said` knows stands in for the events of a turn that is only remembered."""
        self._end()
        if not self.blocks:
            for event in (ReasoningDelta(said.reasoning), TextDelta(said.text)):
                if event.text:
                    self.add(event)
            for call in said.tool_calls:
                self.add(call)
            self._end()
        return self.blocks

    def _end(self) -> None:
        self._end_thought()
        self._end_text()

    def _end_thought(self) -> None:
        if self._thoughts:
            self.blocks.append(thought("".join(self._thoughts)))
            self._thoughts = []

    def _end_text(self) -> None:
        if self._texts:
            self.blocks.append(text_block("".join(self._texts), self._citations))
            self._texts, self._citations = [], []
