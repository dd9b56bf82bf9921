"""The events of OpenAI's Responses: only the fields that are used (types: `openai.types.responses`)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from engine.wire.counts import Count
from plugins.vendors.lenient import Reader


class Typed(msgspec.Struct):
    """Says which event or item it is; `error` stands where a proxy puts an error of its own into the stream.

    `object` is `response` in a document that is the whole answer, of a server that streams none.
    """

    type: str = ""
    error: Any = None
    object: Any = None


class Piece(msgspec.Struct, gc=False):
    """A piece of text, thinking, refusal or a call's arguments."""

    NEEDED: ClassVar = frozenset({"delta"})

    delta: str = ""
    item_id: str = ""
    output_index: int | None = None


class SummaryPart(msgspec.Struct):
    """A new part of the summary of the thinking begins."""

    summary_index: int = 0


class Annotation(msgspec.Struct):
    """A source of the text, where `type` is `url_citation`."""

    type: str = ""
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class AnnotationAdded(msgspec.Struct):
    """A remark on the text."""

    annotation: Annotation | None = None


class ItemDone(msgspec.Struct):
    """An item is whole. It is read in a second step: fields of one name differ in type between items."""

    item: msgspec.Raw
    output_index: int | None = None


class FunctionCall(msgspec.Struct):
    """The model calls a function; some servers send the arguments as an object."""

    call_id: str = ""
    name: str = ""
    arguments: Any = ""
    id: str = ""
    status: str | None = None


class ArgumentsDone(msgspec.Struct):
    """The arguments of a call are whole."""

    arguments: Any = ""
    item_id: str = ""
    output_index: int | None = None


class SummaryText(msgspec.Struct):
    """A part of a summary."""

    text: str = ""


class ReasoningItem(msgspec.Struct):
    """Thinking, readable in summary, whole only to OpenAI."""

    id: str | None = None
    summary: list[SummaryText] = []
    encrypted_content: str | None = None


class InputDetails(msgspec.Struct):
    """Parts of the input's tokens."""

    cached_tokens: Count = None


class OutputDetails(msgspec.Struct):
    """Parts of the output's tokens."""

    reasoning_tokens: Count = None


class ResponseUsage(msgspec.Struct):
    """Token counts."""

    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Incomplete(msgspec.Struct):
    """Why the answer stops before its end."""

    reason: str | None = None


class TextPart(msgspec.Struct):
    """A part of a message: its text, or why there is none."""

    text: str = ""
    refusal: str = ""


class MessageItem(msgspec.Struct):
    """The answer in words."""

    id: str = ""
    content: list[TextPart] = []


class Response(msgspec.Struct):
    """The whole, as its first and its last event tell it."""

    status: str | None = None
    output: list[msgspec.Raw] = []
    id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    incomplete_details: Incomplete | None = None
    usage: ResponseUsage | None = None


class ResponseChanged(msgspec.Struct):
    """The response has come to be, or has ended."""

    response: Response = msgspec.field(default_factory=Response)


read_whole = Reader(Response)
read_message = Reader(MessageItem)
read_type = Reader(Typed)
read_piece = Reader(Piece)
read_summary_part = Reader(SummaryPart)
read_annotation = Reader(AnnotationAdded)
read_item = Reader(ItemDone)
read_call = Reader(FunctionCall)
read_arguments = Reader(ArgumentsDone)
read_reasoning = Reader(ReasoningItem)
read_response = Reader(ResponseChanged)
