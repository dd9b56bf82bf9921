"""A response as OpenAI's clients read it (type: `openai.types.responses.Response`), folded from the events of a stream."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from engine.api import (
    Citation,
    ErrorBody,
    Event,
    ReasoningDelta,
    ReasoningKept,
    Said,
    StreamEnded,
    TextDelta,
    ToolCall,
    Usage,
)
from plugins.openai_api.call_order import CallEnded, CallOrder, Step
from plugins.openai_api.chunks import STOPPED
from plugins.openai_api.custom_input import text_input
from plugins.openai_api.sealed import Seal, sealed

Item = dict[str, Any]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_PREFIX = "resp_"


class ResponseObject(msgspec.Struct, kw_only=True):
    """A response: what was asked, where it stands, and what came of it so far."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, Any]
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int | None
    top_p: float | None
    truncation: str
    usage: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    user: str | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str]


def response_id(stream: str) -> str:
    """The id of the response that a stream becomes."""
    return _PREFIX + stream


def stream_of(id: str) -> str | None:
    """The stream of a response; None for an id that is none of ours."""
    return id.removeprefix(_PREFIX) if id.startswith(_PREFIX) else None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a response says of its request; kept for as long as the response is."""

    model: str
    created_at: int
    told: dict[str, Any]
    """Fields of the request that the response repeats."""

    @property
    def custom_tools(self) -> frozenset[str]:
        """The names of the tools that take a text in place of arguments."""
        return frozenset(tool["name"] for tool in self.told.get("tools") or () if tool.get("type") == "custom")

    def response(
        self, stream: str, status: Status, output: list[Item], ended: StreamEnded | None = None
    ) -> ResponseObject:
        """The response in one of its states."""
        told = self.told
        error = ended.error if ended is not None and ended.status == "failed" else None
        return ResponseObject(
            id=response_id(stream),
            object="response",
            created_at=self.created_at,
            status=status,
            background=bool(told.get("background")),
            error=response_error(error) if error is not None else None,
            incomplete_details=_incomplete(ended) if status == "incomplete" else None,
            instructions=told.get("instructions"),
            max_output_tokens=told.get("max_output_tokens"),
            model=(ended.model if ended is not None else None) or self.model,
            output=output,
            parallel_tool_calls=told.get("parallel_tool_calls") is not False,
            previous_response_id=told.get("previous_response_id"),
            reasoning=told.get("reasoning") or {"effort": None, "summary": None},
            store=told.get("store") is not False,
            temperature=told.get("temperature"),
            text=told.get("text") or {"format": {"type": "text"}},
            tool_choice=told.get("tool_choice") or "auto",
            tools=[_told_tool(tool) for tool in told.get("tools") or ()],
            top_logprobs=told.get("top_logprobs"),
            top_p=told.get("top_p"),
            truncation=told.get("truncation") or "disabled",
            usage=usage_of(ended.usage) if ended is not None and ended.usage is not None else msgspec.UNSET,
            user=told.get("user") or msgspec.UNSET,
            metadata=told.get("metadata") or {},
        )


def _told_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as it was given; of a function its form is always told."""
    return {"parameters": None, "strict": None, **tool} if tool.get("type") == "function" else tool


def status_of(ended: StreamEnded) -> Status:
    """How a response came out."""
    if ended.status != "completed":
        return "cancelled" if ended.status == "cancelled" else "failed"
    return "incomplete" if ended.finish_reason in ("length", "content_filter") else "completed"


def _incomplete(ended: StreamEnded | None) -> dict[str, Any]:
    filtered = ended is not None and ended.finish_reason == "content_filter"
    return {"reason": "content_filter" if filtered else "max_output_tokens"}


def response_error(error: ErrorBody | None) -> dict[str, Any]:
    """A failure as a response tells it; its codes are few, so ours stands in the message."""
    told = error or STOPPED
    code = "rate_limit_exceeded" if told.code in ("provider_rate_limited", "limit_exceeded") else "server_error"
    return {"code": code, "message": f"{told.message} ({told.code})"}


def usage_of(usage: Usage) -> dict[str, Any]:
    """Token counts in the shape of Responses."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def annotation(source: Citation) -> dict[str, Any]:
    """A web page that the text leans on, and where."""
    start = source.start or 0
    end = source.end if source.end is not None else start
    return {
        "type": "url_citation",
        "url": source.url,
        "title": source.title or source.url,
        "start_index": start,
        "end_index": end,
    }


def reasoning_item(id: str, text: str, kept: ReasoningKept | None = None, status: str = "completed") -> Item:
    """A thought; `kept` is what its vendor wants back."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: Item = {"id": id, "type": "reasoning", "summary": summary, "status": status}
    if kept is not None:
        item["encrypted_content"] = sealed_thought(kept)
    return item


def sealed_thought(kept: ReasoningKept) -> str:
    """What a vendor wants back, as the client carries it."""
    return sealed(Seal(provider=kept.provider, signature=kept.signature, id=kept.id))


def message_item(id: str, content: list[dict[str, Any]], status: str = "completed") -> Item:
    """What the model said."""
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": content}


def output_text(
    text: str, annotations: list[dict[str, Any]] | None = None, logprobs: list[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Words."""
    return {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": logprobs or []}


def call_item(id: str, call: ToolCall, status: str = "completed") -> Item:
    """A call of a tool of the client's."""
    return {
        "id": id,
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }


def custom_call_item(id: str, call: ToolCall, status: str = "completed") -> Item:
    """A call of a custom tool of the client's."""
    return {
        "id": id,
        "type": "custom_tool_call",
        "call_id": call.call_id,
        "name": call.name,
        "input": text_input(call.arguments),
        "status": status,
    }


def tool_item(stream: str, at: int, call: ToolCall, custom: Collection[str], status: str = "completed") -> Item:
    """A call as the item at this place of the output."""
    if call.name in custom:
        return custom_call_item(f"ctc_{stream}_{at}", call, status)
    return call_item(f"fc_{stream}_{at}", call, status)


def output_of(stream: str, said: Said, custom: Collection[str] = ()) -> list[Item]:
    """The output of a response of which only the whole is known."""
    items: list[Item] = []
    if said.reasoning:
        items.append(reasoning_item(f"rs_{stream}_0", said.reasoning))
    if said.text:
        content = output_text(said.text, [annotation(source) for source in said.citations])
        items.append(message_item(f"msg_{stream}_{len(items)}", [content]))
    for call in said.tool_calls:
        items.append(tool_item(stream, len(items), call, custom))
    return items


class Output:
    """Folds the events of a stream into items. One item is open at a time; `open` is its kind."""

    def __init__(self, stream: str, custom: Collection[str] = ()) -> None:
        self._custom = custom
        self.items: list[Item] = []
        self.open: str | None = None
        self._stream = stream
        self._pieces: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._order = CallOrder()

    @property
    def text(self) -> str:
        """What the open item has grown to."""
        return "".join(self._pieces)

    @property
    def id(self) -> str:
        """The id of the newest item."""
        return str(self.items[-1]["id"])

    def begin(self, kind: Literal["reasoning", "message"]) -> Item:
        """Open an item; gives it as it opens."""
        self._pieces, self._annotations, self._logprobs = [], [], []
        prefix = "rs" if kind == "reasoning" else "msg"
        id = f"{prefix}_{self._stream}_{len(self.items)}"
        opening = (
            reasoning_item(id, "", status="in_progress") if kind == "reasoning" else message_item(id, [], "in_progress")
        )
        self.items.append(opening)
        self.open = kind
        return opening

    def grow(self, event: TextDelta | ReasoningDelta) -> None:
        """Add a piece to the open item."""
        self._pieces.append(event.text)
        if isinstance(event, TextDelta) and event.logprobs is not None:
            self._logprobs += event.logprobs

    def cite(self, source: Citation) -> dict[str, Any]:
        """Add a source to the open message; gives it."""
        made = annotation(source)
        self._annotations.append(made)
        return made

    @property
    def cited(self) -> int:
        """How many sources the open message has."""
        return len(self._annotations)

    def part(self) -> dict[str, Any]:
        """The text of the open message as it stands."""
        return output_text(self.text, self._annotations, self._logprobs)

    def close(self, kept: ReasoningKept | None = None) -> Item:
        """Close the open item; gives it whole."""
        if self.open == "reasoning":
            item = reasoning_item(self.id, self.text or (kept.text if kept is not None else ""), kept)
        else:
            item = message_item(self.id, [self.part()])
        self.items[-1] = item
        self.open = None
        return item

    def begin_call(self, call: ToolCall) -> Item:
        """Open a call; gives it as it opens, without arguments."""
        opening = tool_item(self._stream, len(self.items), call, self._custom, "in_progress")
        opening |= {name: "" for name in ("arguments", "input") if name in opening}
        self.items.append(opening)
        return opening

    def end_call(self, call: ToolCall, status: str = "completed") -> Item:
        """Close the newest item, which is this call; gives it whole."""
        self.items[-1] = item = tool_item(self._stream, len(self.items) - 1, call, self._custom, status)
        return item

    def add(self, event: Event) -> None:
        """Take an event of which nobody is told."""
        for step in self._order.take(event):
            self._add(step)

    def _add(self, event: Step) -> None:
        match event:
            case TextDelta(choice=0):
                self._into("message")
                self.grow(event)
            case ReasoningDelta():
                self._into("reasoning")
                self.grow(event)
            case ReasoningKept():
                self._into("reasoning")
                self.close(event)
            case Citation():
                self._into("message")
                self.cite(event)
            case CallEnded(cut=False):
                self.end()
                self.begin_call(event.call.call)
                self.end_call(event.call.call)

    def end(self) -> None:
        """Close what is open."""
        if self.open is not None:
            self.close()

    def _into(self, kind: Literal["reasoning", "message"]) -> None:
        if self.open != kind:
            self.end()
            self.begin(kind)
