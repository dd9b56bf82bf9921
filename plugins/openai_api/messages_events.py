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
    VendorPart,
)
from plugins.openai_api.call_order import (
    CallBegun,
    CallEnded,
    CallGrown,
    CallOrder,
    CallSigned,
    Step,
    WrittenCall,
)
from plugins.openai_api.chunks import STOPPED
from plugins.openai_api.message import (
    CITATIONS,
    NO_USAGE,
    STARTED,
    Block,
    arguments_of,
    citation,
    kept_block,
    message_id,
    signed_thought,
    stop_of,
    text_block,
    usage_of,
    use_block,
)
from plugins.openai_api.messages_errors import anthropic_error
from plugins.openai_api.messages_translation import DIALECT, REDACTED

_encode = msgspec.json.Encoder().encode

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""What Anthropic's clients are kept waiting with."""


class MessagesEncoder:
    """Folds the events of one stream into server-sent events; implements `engine.api.Encoder`.

    Blocks are opened when something of their kind comes, one at a time. A stream that fails ends with an `error` event.
    `model` is the one that was asked: an answer says its model before anything is known of it. `input_tokens` is the
    estimate that it begins with, unless the vendor has told its count by then.
    """

    __slots__ = ("_began", "_head", "_index", "_open", "_order", "_piece", "_theirs", "_usage")

    def __init__(self, stream: str, model: str, *, input_tokens: int = 0) -> None:
        self._usage = {**NO_USAGE, "input_tokens": input_tokens}
        self._head = {"id": message_id(stream), "type": "message", "role": "assistant", "model": model}
        self._began = False
        self._index = -1
        self._open: str | None = None
        self._piece = b""
        self._theirs = False
        self._order = CallOrder()

    def encode(self, n: int, event: Event) -> bytes | None:
        # A piece of text, which is nearly every event, is written between two ends that are made once for its block.
        if type(event) is TextDelta and event.choice == 0 and self._open == "text":
            return b"%b%b}}\n\n" % (self._piece, _encode(event.text))
        pieces = [piece for step in self._order.take(event) for piece in self._rare(step)]
        if not pieces:
            return None
        if not self._began:
            pieces = [*self._beginning(), *pieces]
        return b"".join(pieces)

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing."""
        return _failure(error.body())

    def _rare(self, event: Step) -> list[bytes]:
        match event:
            case TextDelta(choice=0):
                return [*self._into("text"), self._delta({"type": "text_delta", "text": event.text})]
            case ReasoningDelta():
                return [*self._into("thinking"), self._delta({"type": "thinking_delta", "thinking": event.text})]
            case ReasoningKept():
                return self._kept(event)
            case CallBegun():
                return self._begin_call(event.call)
            case CallGrown():
                return [self._delta({"type": "input_json_delta", "partial_json": self._arguments(event)})]
            case CallEnded():
                return self._end_call(event.call)
            case CallSigned():
                return [piece for block in signed_thought(event.call) for piece in self._whole(block)]
            case VendorPart(dialect="anthropic"):
                return self._vendor_part(event.part)
            case Citation() if not self._theirs:
                return [*self._into("text"), self._delta({"type": CITATIONS, "citation": citation(event)})]
            case StreamEnded():
                return self._end(event)
        return []

    # Calls

    def _begin_call(self, call: WrittenCall) -> list[bytes]:
        closed = self._close()
        thoughts = signed_thought(call.whole) if call.whole is not None else []
        before = [piece for block in thoughts for piece in self._whole(block)]
        started = self._start(use_block(call.call, {}))
        self._open = "tool_use"
        return [*closed, *before, started]

    def _arguments(self, grown: CallGrown) -> str:
        """A piece as the model wrote it; of a call that came whole, arguments that are an object in any case."""
        return grown.piece if grown.call.pieces else _encode(arguments_of(grown.call.call)).decode()

    def _end_call(self, call: WrittenCall) -> list[bytes]:
        closed = self._close()
        # The signature of a call that opened before it was made comes behind it.
        late = signed_thought(call.whole) if call.whole is not None and call.pieces and not call.opened_whole else []
        return [*closed, *(piece for block in late for piece in self._whole(block))]

    # What else there is

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
        return [_event("message_start", {"message": message}), PING]

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
        """A block at once. A thought opens empty and grows, as the clients expect it."""
        match block:
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
