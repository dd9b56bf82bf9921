"""The events of Anthropic's Messages: only the fields that are used (types: `anthropic.types.Raw…Event`)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from engine.wire.counts import Count
from plugins.vendors.lenient import Reader

NOTHING = msgspec.Raw(b"null")
"""A raw field that is missing, or null."""


class Typed(msgspec.Struct):
    """Says which event it is; `error` stands where a proxy puts an error of its own into the stream."""

    type: str = ""
    error: Any = None


class CitationSource(msgspec.Struct):
    """Where a sentence comes from: `url` of a page, `source` of a search result that the caller gave."""

    type: str = ""
    url: str | None = None
    source: str | None = None
    title: str | None = None
    cited_text: str | None = None


class Delta(msgspec.Struct):
    """A piece of a block; which field is set depends on `type`."""

    NEEDED: ClassVar = frozenset({"text", "thinking", "partial_json", "type"})

    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    signature: str = ""
    citation: CitationSource | None = None


class BlockGrows(msgspec.Struct):
    """`content_block_delta`."""

    delta: Delta
    index: int = 0


class Block(msgspec.Struct):
    """A content block as it opens. `input` and `content` are read only where they are needed."""

    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    input: msgspec.Raw = NOTHING
    content: msgspec.Raw = NOTHING


class BlockStarts(msgspec.Struct):
    """`content_block_start`."""

    content_block: Block
    index: int = 0


class BlockStops(msgspec.Struct):
    """`content_block_stop`."""

    index: int = 0


class OutputDetails(msgspec.Struct):
    """Parts of the output's tokens."""

    thinking_tokens: Count = None


class ServerTools(msgspec.Struct):
    """How often the vendor's own tools ran."""

    web_search_requests: Count = None


class Written(msgspec.Struct):
    """What was written into the cache, by how long it is kept."""

    ephemeral_1h_input_tokens: Count = None


class MessageUsage(msgspec.Struct):
    """Cumulative token counts; `input_tokens` leaves out what was read from or written to the cache."""

    input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None
    output_tokens: Count = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerTools | None = None
    cache_creation: Written | None = None


class Message(msgspec.Struct):
    """The message as it begins; whole, of a server that streams none."""

    id: str | None = None
    model: str | None = None
    usage: MessageUsage | None = None
    content: list[Block] = []
    stop_reason: str | None = None
    stop_sequence: str | None = None


class MessageStarts(msgspec.Struct):
    """`message_start`."""

    message: Message = msgspec.field(default_factory=Message)


class Stop(msgspec.Struct):
    """Why the message ends."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None


class MessageGrows(msgspec.Struct):
    """`message_delta`."""

    delta: Stop = msgspec.field(default_factory=Stop)
    usage: MessageUsage | None = None


class SearchHit(msgspec.Struct):
    """One page that a search found."""

    url: str = ""
    title: str | None = None


class SearchError(msgspec.Struct):
    """A search that failed."""

    error_code: str = "unavailable"


read_type = Reader(Typed)
read_message = Reader(Message)
read_start = Reader(MessageStarts)
read_block_start = Reader(BlockStarts)
read_block_delta = Reader(BlockGrows)
read_block_stop = Reader(BlockStops)
read_message_delta = Reader(MessageGrows)
decode_search = msgspec.json.Decoder(list[SearchHit] | SearchError | None).decode
