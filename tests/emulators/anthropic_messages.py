"""A Messages answer as content blocks, whole or as the event sequence of `anthropic.types`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.emulators.base import Event, Rejection, Step, deltas
from tests.emulators.reply import Citation, Condition, Piece, Say, ToolUse, Usage

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A content block: how it opens, the pieces it grows by, the deltas that close it, and what it is when whole."""

    opening: Mapping[str, Any]
    whole: Mapping[str, Any]
    pieces: Sequence[Piece] = ()
    delta_type: str = ""
    delta_field: str = ""
    closing: Sequence[Mapping[str, Any]] = ()


class MessageRendering:
    """One `Say` as a message; thinking first, then a web search if there are citations, text, tool calls."""

    def __init__(self, say: Say, body: Mapping[str, Any], number: int, *, prompt: str) -> None:
        self.say = say
        self.number = number
        self.usage = usage_of(say.tokens(prompt), searches=bool(say.citations))
        self.stop = {
            "stop_reason": "pause_turn" if say.paused else STOP_REASONS[say.finished],
            "stop_sequence": None,
            "stop_details": refusal_details(say) if say.finished == "content_filter" else None,
        }
        self.head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": body["model"], **say.extra}

    def steps(self) -> Iterator[Step]:
        nothing_yet = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
        started = {**self.head, "content": [], **nothing_yet, "usage": {**self.usage, "output_tokens": 1}}
        yield self._event("message_start", message=started)
        yield self._event("ping")
        for index, block in enumerate(self._blocks()):
            yield from self._block(index, block)
        yield self._event("message_delta", delta=self.stop, usage=closing_usage(self.usage))
        yield self._event("message_stop")

    def whole(self) -> Mapping[str, Any]:
        content = [block.whole for block in self._blocks()]
        return {**self.head, "content": content, **self.stop, "usage": self.usage}

    def failure(self, rejection: Rejection, condition: Condition) -> Event:
        return Event(rejection.body, "error")

    def _block(self, index: int, block: Block) -> Iterator[Step]:
        def grow(delta: str) -> Event:
            return self._delta(index, {"type": block.delta_type, block.delta_field: delta})

        yield self._event("content_block_start", index=index, content_block=block.opening)
        yield from deltas(block.pieces, grow)
        for delta in block.closing:
            yield self._delta(index, delta)
        yield self._event("content_block_stop", index=index)

    def _blocks(self) -> Iterator[Block]:
        if self.say.reasoning_deltas:
            yield thinking(self.say)
        if self.say.citations:
            yield from web_search(self.say.citations, f"srvtoolu_{self.number}")
        if self.say.text_deltas or self.say.refusal:
            yield text(self.say)
        for call in self.say.tool_calls:
            yield tool_use(call)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Event:
        return self._event("content_block_delta", index=index, delta=delta)

    def _event(self, name: str, **fields: Any) -> Event:
        return Event({"type": name, **fields}, name)


def thinking(say: Say) -> Block:
    return Block(
        opening={"type": "thinking", "thinking": "", "signature": ""},
        whole={"type": "thinking", "thinking": say.full_reasoning, "signature": say.signature},
        pieces=say.reasoning_deltas,
        delta_type="thinking_delta",
        delta_field="thinking",
        closing=[{"type": "signature_delta", "signature": say.signature}],
    )


def text(say: Say) -> Block:
    """Text with its citations; a refusal is plain text here, told apart only by the stop reason."""
    cited = [web_citation(citation) for citation in say.citations]
    return Block(
        opening={"type": "text", "text": "", **({"citations": []} if cited else {})},
        whole={"type": "text", "text": say.full_text + say.refusal, "citations": cited or None},
        pieces=[*say.text_deltas, *([say.refusal] if say.refusal else [])],
        delta_type="text_delta",
        delta_field="text",
        closing=[{"type": "citations_delta", "citation": citation} for citation in cited],
    )


def tool_use(call: ToolUse) -> Block:
    opening = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}, "caller": {"type": "direct"}}
    try:
        arguments = json.loads(call.json)
    except ValueError:
        arguments = {}
    return Block(opening, {**opening, "input": arguments}, call.deltas, "input_json_delta", "partial_json")


def web_search(citations: Sequence[Citation], identity: str) -> Iterator[Block]:
    query = {"query": citations[0].title or "the web"}
    use = {"type": "server_tool_use", "id": identity, "name": "web_search", "input": {}, "caller": {"type": "direct"}}
    yield Block(use, {**use, "input": query}, [json.dumps(query)], "input_json_delta", "partial_json")
    found = [
        {
            "type": "web_search_result",
            "url": citation.url,
            "title": citation.title,
            "encrypted_content": "ZW5jcnlwdGVk",
            "page_age": None,
        }
        for citation in citations
    ]
    result = {
        "type": "web_search_tool_result",
        "tool_use_id": identity,
        "content": found,
        "caller": {"type": "direct"},
    }
    yield Block(result, result)


def web_citation(citation: Citation) -> Mapping[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.quote,
        "encrypted_index": "aW5kZXg=",
    }


def refusal_details(say: Say) -> Mapping[str, Any]:
    return {"type": "refusal", "category": None, "explanation": say.refusal or None}


def usage_of(usage: Usage, *, searches: bool) -> Mapping[str, Any]:
    """`input_tokens` leaves out what was read from or written to the cache; `output_tokens` contains thinking."""
    return {
        "input_tokens": usage.input - usage.cached - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0} if searches else None,
        "service_tier": "standard",
    }


def closing_usage(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The cumulative counts of `message_delta`, which has fewer fields than a message."""
    return {name: count for name, count in usage.items() if name not in ("cache_creation", "service_tier")}
