"""The event stream of Anthropic's Messages, decoded."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from engine.api import (
    Answered,
    Citation,
    Extra,
    Finish,
    ReasoningPart,
    StatusChanged,
    ToolCall,
    Usage,
    VendorPart,
)
from engine.wire.counts import Count, count, known, total
from engine.wire.sse import SseEvent
from plugins.chat.providers.anthropic_body import REDACTED
from plugins.chat.providers.anthropic_events import (
    NOTHING,
    Block,
    CitationSource,
    Delta,
    MessageUsage,
    SearchError,
    SearchHit,
    decode_search,
    read_block_delta,
    read_block_start,
    read_block_stop,
    read_message,
    read_message_delta,
    read_start,
    read_type,
)
from plugins.chat.providers.anthropic_kept import Kept
from plugins.vendors.decoding import Decoder
from plugins.vendors.failures import Vendor
from plugins.vendors.finishing import finish_reason
from plugins.vendors.lenient import read_json

PAUSE = "pause_turn"

# Of these every piece is given out as a delta, so a request that its caller worded need not keep them.
_SAID = frozenset({"text_delta", "thinking_delta"})


class OpenBlock:
    """A content block that still grows."""

    __slots__ = ("at", "call_id", "opening", "pieces", "signature", "sources")

    def __init__(self, opening: Block, at: int) -> None:
        self.opening = opening
        # A server that names no id gets one: answers to calls are matched by it.
        self.call_id = opening.id or f"toolu_{secrets.token_hex(12)}"
        self.at = at
        self.pieces: list[str] = []
        self.signature = opening.signature or ""
        self.sources: list[CitationSource] = []

    @property
    def grown(self) -> str:
        """All pieces so far: thinking, or the arguments of a call."""
        return "".join(self.pieces)


class AnthropicDecoder(Decoder):
    """One answer, in one message or, where the vendor pauses it, in several.

    `provider` marks the thinking that Anthropic wants back in the next step. `paused` is the content of a message that was
    kept to go on from it, once it has paused. With a `dialect` the caller worded the request: what has no delta of its own
    is given out as it came, under that name, and so are the vendor's own words for the end.
    """

    def __init__(self, vendor: Vendor, provider: str, *, dialect: str | None = None) -> None:
        super().__init__(vendor)
        self.paused: list[dict[str, Any]] | None = None
        self._provider = provider
        self._dialect = dialect
        self._kept: Kept | None = Kept() if dialect is not None else None
        self._blocks: dict[int, OpenBlock] = {}
        self._opened = False
        self._said = 0
        self._cited = False
        self._hits: list[SearchHit] = []
        self._before = Usage()
        self._usage: MessageUsage | None = None
        self._extra: dict[str, Any] = {}
        self._reason: str | None = None
        self._begun: VendorPart | None = None

    def begin(self, *, keep: bool) -> None:
        """Be ready for a message, the first or the next; `keep` its content, so that the vendor may pause it."""
        self.over = False
        self.paused = None
        self._kept = Kept() if keep else None
        self._blocks.clear()
        self._opened = False
        self._reason = None

    def event(self, event: SseEvent) -> None:
        handle = _HANDLERS.get(event.name)
        if handle is None:
            # Some servers name no event, or each by the name that stands for none.
            name = self._name_inside(event)
            handle = _HANDLERS.get(name) or _WHOLE.get(name)
        if handle is not None:
            handle(self, event.data)

    def _name_inside(self, event: SseEvent) -> bytes:
        data = event.data.strip()
        if data in (b"", b"[DONE]") or (event.name not in _UNNAMED and data[:1] != b"{"):
            return b""
        inside = self.read(read_type, data)
        return b"error" if inside.error and not inside.type else inside.type.encode()

    def body_ended(self) -> None:
        raise self.vendor.cut_off()

    def _message_start(self, data: bytes) -> None:
        self._opened = True
        message = self.read(read_start, data).message
        # How an answer begins says nothing of how long it is: a server that tells no count at its end has told none.
        self._usage = msgspec.structs.replace(message.usage, output_tokens=None) if message.usage is not None else None
        if message.id:
            self._extra["id"] = message.id
        if self._dialect is not None:
            self._extra["usage"] = _fields(_fields(read_json(data), "message"), "usage")
            self._begun = VendorPart(
                dialect=self._dialect, part={"type": "message_start", "message": {"usage": self._extra["usage"]}}
            )
        if message.model:
            self.out.add(Answered(message.model))

    def _whole(self, data: bytes) -> None:
        """A message in one piece, of a server that streams none."""
        message = self.read(read_message, data)
        self._message_start(b'{"message":%b}' % data)
        for block in message.content:
            opened = OpenBlock(block, self._said)
            self._text(block.text)
            self._think(opened, block.thinking)
            if block.type == "tool_use":
                opened.pieces.clear()
                self._call(opened)
            elif block.type == "thinking" and block.signature:
                self._keep(block.thinking, block.signature)
        self._reason = message.stop_reason
        if message.stop_sequence is not None:
            self._extra["stop_sequence"] = message.stop_sequence
        self._message_stop(data)

    def _block_start(self, data: bytes) -> None:
        started = self.read(read_block_start, data)
        block = started.content_block
        self._opened = True
        if self._begun is not None:
            # Its counts come with the first block: until then the vendor may still refuse.
            self.out.add(self._begun)
            self._begun = None
        if self._kept is not None:
            self._kept.start(data)
        self._blocks[started.index] = OpenBlock(block, self._said)
        match block.type:
            case "text":
                self._text(block.text)
            case "thinking":
                self._think(self._blocks[started.index], block.thinking)
            case "server_tool_use" if block.name == "web_search":
                self.out.add(StatusChanged(stage="web_search", detail="Searching the web."))
            case "web_search_tool_result":
                self._found(bytes(block.content))

    def _block_delta(self, data: bytes) -> None:
        grows = self.read(read_block_delta, data)
        delta = grows.delta
        if self._kept is not None and (self._dialect is None or delta.type not in _SAID):
            self._kept.grow(data)
        if delta.type == "text_delta":
            self._text(delta.text)
        elif (block := self._blocks.get(grows.index)) is None:
            raise self.vendor.broke_protocol("a content block grows that was not started")
        else:
            self._grow(block, delta)
            if self._dialect is not None and delta.type == "citations_delta":
                self.out.add(VendorPart(dialect=self._dialect, part=_fields(read_json(data), "delta")))

    def _grow(self, block: OpenBlock, delta: Delta) -> None:
        match delta.type:
            case "thinking_delta":
                self._think(block, delta.thinking)
            case "input_json_delta":
                block.pieces.append(delta.partial_json)
                if block.opening.type == "tool_use" and delta.partial_json:
                    self.out.arguments(block.call_id, block.opening.name, delta.partial_json)
            case "signature_delta":
                block.signature += delta.signature
            case "citations_delta" if delta.citation is not None:
                block.sources.append(delta.citation)

    def _text(self, text: str) -> None:
        if text:
            self._said += len(text)
            self.out.text(text)

    def _think(self, block: OpenBlock, text: str) -> None:
        if text:
            block.pieces.append(text)
            self.out.reasoning(text)

    def _block_stop(self, data: bytes) -> None:
        self._stop(self.read(read_block_stop, data).index)

    def _stop(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        match block.opening.type:
            case "text":
                self._cite(block)
            case "tool_use":
                self._call(block)
            case "thinking" if block.signature:
                self._keep(block.grown, block.signature)
            case "redacted_thinking":
                self._keep("", block.opening.data, REDACTED)
            case _ if self._dialect is not None and self._kept is not None:
                self.out.add(VendorPart(dialect=self._dialect, part=self._kept.whole(index)))

    def _cite(self, block: OpenBlock) -> None:
        """A text block is cited as a whole, so its place is known only at its end."""
        # A place in a document that the caller sent has no address.
        placed = [(url, source) for source in block.sources if (url := source.url or source.source)]
        self._cited = self._cited or bool(placed)
        self.cite(
            Citation(url=url, title=source.title, text=source.cited_text, start=block.at, end=self._said)
            for url, source in placed
        )

    def _call(self, block: OpenBlock) -> None:
        if not block.opening.name:
            raise self.vendor.broke_protocol("it calls a tool without a name")
        # Imitators of the API send short arguments whole, as the block opens.
        whole = b"{}" if block.opening.input == NOTHING else bytes(block.opening.input)
        arguments = block.grown or whole.decode()
        self.out.add(ToolCall(call_id=block.call_id, name=block.opening.name, arguments=arguments))

    def _keep(self, text: str, signature: str, identity: str | None = None) -> None:
        self.out.add(ReasoningPart(provider=self._provider, text=text, signature=signature, id=identity))

    def _found(self, content: bytes) -> None:
        try:
            found = decode_search(content)
        except msgspec.MsgspecError:
            return  # what was found is beside the answer
        if isinstance(found, SearchError):
            self.out.add(StatusChanged(stage="web_search", detail=f"The search failed: {found.error_code}."))
        elif found:
            self._hits += found

    def _message_delta(self, data: bytes) -> None:
        grows = self.read(read_message_delta, data)
        if grows.usage is not None:
            self._usage = merged(self._usage, grows.usage)
        stop = grows.delta
        self._reason = stop.stop_reason or self._reason
        told = {"stop_sequence": stop.stop_sequence, "stop_details": stop.stop_details}
        if self._dialect is not None:
            event = read_json(data)
            told = {**_fields(event, "delta"), "usage": {**self._extra.get("usage", {}), **_fields(event, "usage")}}
        self._extra |= {name: value for name, value in told.items() if value is not None}

    def _message_stop(self, data: bytes) -> None:
        if not self._opened:
            raise self.vendor.cut_off()
        for index in sorted(self._blocks):
            self._stop(index)  # some servers do not say that a block is whole
        if self._kept is not None and self._dialect is None and self._reason == PAUSE:
            self.paused = self._kept.content
        else:
            self._finish()
        if self._usage is not None:
            self._before = self._before + usage_of(self._usage)
            self.out.add(self._before)
        self.over = True

    def _finish(self) -> None:
        if not self._cited:
            # An answer that cites nothing may lean on anything that was found.
            self.cite(Citation(url=hit.url, title=hit.title) for hit in self._hits)
        self.out.add(Finish(finish_reason(self._reason, self.vendor)))
        if self._extra:
            self.out.add(Extra(self._extra))

    def _failed(self, data: bytes) -> None:
        raise self.vendor.failure(data)


_HANDLERS: Mapping[bytes, Callable[[AnthropicDecoder, bytes], None]] = {
    b"content_block_delta": AnthropicDecoder._block_delta,
    b"content_block_start": AnthropicDecoder._block_start,
    b"content_block_stop": AnthropicDecoder._block_stop,
    b"message_start": AnthropicDecoder._message_start,
    b"message_delta": AnthropicDecoder._message_delta,
    b"message_stop": AnthropicDecoder._message_stop,
    b"error": AnthropicDecoder._failed,
}
_WHOLE = {b"message": AnthropicDecoder._whole}
_UNNAMED = (b"", b"message")


def _fields(document: Any, name: str) -> dict[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def merged(before: MessageUsage | None, after: MessageUsage) -> MessageUsage:
    """The newest of each count: they are cumulative, and `message_delta` may tell only some."""
    if before is None:
        return after
    return MessageUsage(
        input_tokens=_newest(before.input_tokens, after.input_tokens),
        cache_creation_input_tokens=_newest(before.cache_creation_input_tokens, after.cache_creation_input_tokens),
        cache_read_input_tokens=_newest(before.cache_read_input_tokens, after.cache_read_input_tokens),
        output_tokens=_newest(before.output_tokens, after.output_tokens),
        output_tokens_details=after.output_tokens_details or before.output_tokens_details,
        server_tool_use=after.server_tool_use or before.server_tool_use,
        cache_creation=after.cache_creation or before.cache_creation,
    )


def _newest(before: Count, after: Count) -> Count:
    return before if after is None else after


def usage_of(usage: MessageUsage) -> Usage:
    """The vendor's counts as ours, whose input contains what was read from and written to the cache."""
    cached = usage.cache_read_input_tokens
    thought = usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else None
    searches = known(usage.server_tool_use.web_search_requests) if usage.server_tool_use else 0
    written = known(usage.cache_creation_input_tokens)
    hour = known(usage.cache_creation.ephemeral_1h_input_tokens) if usage.cache_creation else 0
    return Usage(
        input_tokens=total(usage.input_tokens, cached, usage.cache_creation_input_tokens),
        output_tokens=count(usage.output_tokens),
        cached_tokens=count(cached),
        reasoning_tokens=count(thought),
        searches=searches or UNSET,
        written_tokens=written or UNSET,
        written_hour_tokens=hour or UNSET,
    )
