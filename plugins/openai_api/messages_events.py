"""A stream as the events of Anthropic's Messages (types: `anthropic.types.Raw…Event`)."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.api import (
    Citation,
    EngineError,
    ErrorBody,
    Event,
    ReasoningDelta,
    ReasoningKept,
    StreamEnded,
    TextDelta,
    ToolCall,
    VendorPart,
)
from plugins.openai_api.chunks import STOPPED
from plugins.openai_api.message import (
    CITATIONS,
    NO_USAGE,
    STARTED,
    Block,
    call_blocks,
    citation,
    kept_block,
    message_id,
    stop_of,
    text_block,
    usage_of,
)
from plugins.openai_api.messages_errors import anthropic_error
from plugins.openai_api.messages_translation import DIALECT, REDACTED

_encode = msgspec.json.Encoder().encode


class MessagesEncoder:
    """Folds the events of one stream into server-sent events; implements `engine.api.Encoder`.

    Blocks are opened when something of their kind comes, one at a time. A stream that fails ends with an `error` event.
    `model` is the one that was asked: an answer says its model before anything is known of it. `input_tokens` is the
    estimate that it begins with, unless the vendor has told its count by then.
    """

    __slots__ = ("_began", "_head", "_index", "_open", "_piece", "_theirs", "_usage")

    def __init__(self, stream: str, model: str, *, input_tokens: int = 0) -> None:
        self._usage = {**NO_USAGE, "input_tokens": input_tokens}
        self._head = {"id": message_id(stream), "type": "message", "role": "assistant", "model": model}
        self._began = False
        self._index = -1
        self._open: str | None = None
        self._piece = b""
        self._theirs = False

    def encode(self, n: int, event: Event) -> bytes | None:
        # A piece of text, which is nearly every event, is written between two ends that are made once for its block.
        if type(event) is TextDelta and event.choice == 0 and self._open == "text":
            return b"%b%b}}\n\n" % (self._piece, _encode(event.text))
        pieces = self._rare(event)
        if not pieces:
            return None
        if not self._began:
            pieces = [*self._beginning(), *pieces]
        return b"".join(pieces)

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing."""
        return _failure(error.body())

    def _rare(self, event: Event) -> list[bytes]:
        match event:
            case TextDelta(choice=0):
                return [*self._into("text"), self._delta({"type": "text_delta", "text": event.text})]
            case ReasoningDelta():
                return [*self._into("thinking"), self._delta({"type": "thinking_delta", "thinking": event.text})]
            case ReasoningKept():
                return self._kept(event)
            case ToolCall():
                return [*self._close(), *(piece for block in call_blocks(event) for piece in self._whole(block))]
            case VendorPart(dialect="anthropic"):
                return self._vendor_part(event.part)
            case Citation() if not self._theirs:
                return [*self._into("text"), self._delta({"type": CITATIONS, "citation": citation(event)})]
            case StreamEnded():
                return self._end(event)
        return []

    def _kept(self, kept: ReasoningKept) -> list[bytes]:
        shown = self._open == "thinking" and not (kept.provider == DIALECT and kept.id == REDACTED)
        block = kept_block(kept, "" if shown else kept.text)
        if not shown:
            return [*self._close(), *self._whole(block)]
        return [self._delta({"type": "signature_delta", "signature": block["signature"]}), *self._close()]

    def _vendor_part(self, part: Block) -> list[bytes]:
        if part.get("type") == STARTED:
            self._usage = {**NO_USAGE, **(part["message"].get("usage") or {})}
            return [] if self._began else self._beginning()
        if part.get("type") == CITATIONS:
            self._theirs = True
            return [*self._into("text"), self._delta(part)]
        return [*self._close(), *self._whole(part)]

    def _end(self, ended: StreamEnded) -> list[bytes]:
        if ended.status != "completed":
            return [*self._close(), _failure(ended.error or STOPPED)]
        told = {"delta": stop_of(ended), "usage": usage_of(ended)}
        return [*self._close(), _event("message_delta", told), _event("message_stop", {})]

    def _beginning(self) -> list[bytes]:
        self._began = True
        message: dict[str, Any] = {
            **self._head,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": self._usage,
        }
        return [_event("message_start", {"message": message}), _event("ping", {})]

    # Blocks

    def _into(self, kind: str) -> list[bytes]:
        """What has to be sent before a piece of a text or a thought."""
        if self._open == kind:
            return []
        empty = text_block("", []) if kind == "text" else {"type": "thinking", "thinking": "", "signature": ""}
        pieces = [*self._close(), self._start(empty)]
        self._open = kind
        return pieces

    def _start(self, block: Block) -> bytes:
        self._index += 1
        self._piece = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"text_delta","text":' % self._index
        )
        return _event("content_block_start", {"index": self._index, "content_block": block})

    def _whole(self, block: Block) -> list[bytes]:
        """A block at once. A call or a thought opens empty and grows, as the clients expect it."""
        match block:
            case {"type": "tool_use", "input": given}:
                grows = [{"type": "input_json_delta", "partial_json": _encode(given).decode()}]
                opening = {**block, "input": {}}
            case {"type": "thinking", "thinking": text, "signature": signature}:
                shown = [{"type": "thinking_delta", "thinking": text}] if text else []
                grows = [*shown, {"type": "signature_delta", "signature": signature}]
                opening = {**block, "thinking": "", "signature": ""}
            case _:
                grows, opening = [], block
        self._open = block["type"]
        return [self._start(opening), *map(self._delta, grows), *self._close()]

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> list[bytes]:
        if self._open is None:
            return []
        self._open = None
        return [_event("content_block_stop", {"index": self._index})]


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **fields}))


def _failure(error: ErrorBody) -> bytes:
    return b"event: error\ndata: %b\n\n" % _encode(anthropic_error(error))
