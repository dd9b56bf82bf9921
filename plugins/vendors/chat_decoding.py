"""Chat Completions streams of OpenAI and its imitators, decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from engine.api import Answered, Citation, Extra, Finish, ReasoningPart, TextDelta, Usage
from engine.wire.counts import count
from engine.wire.sse import SseEvent
from plugins.vendors.chat_chunks import (
    Annotation,
    Choice,
    Chunk,
    ChunkUsage,
    ContentPart,
    Delta,
    SearchResult,
    read_chunk,
    read_odd,
    read_opening,
)
from plugins.vendors.decoding import Decoder
from plugins.vendors.failures import Vendor
from plugins.vendors.finishing import finish_reason
from plugins.vendors.tool_pieces import ToolPieces

# DeepSeek and OpenRouter end an answer that broke off as if it were done.
BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "network_error"})


class ChatDecoder(Decoder):
    """One answer of Chat Completions; `reasoning_of` names the provider that wants its thinking back, if it does."""

    def __init__(self, vendor: Vendor, *, choices: int = 1, reasoning_of: str | None = None) -> None:
        super().__init__(vendor)
        self._choices = choices
        self._reasoning_of = reasoning_of
        self._thoughts: list[str] = []
        self._opened = False
        self._model: str | None = None
        self._usage: ChunkUsage | None = None
        self._urls: list[str] = []
        self._results: list[SearchResult] = []
        self._tools: dict[int, ToolPieces] = {}
        self._finished: set[int] = set()
        self._only = 0

    def event(self, event: SseEvent) -> None:
        data = event.data
        if data[:1] != b"{" and self._is_no_chunk(event):
            return
        try:
            chunk = read_chunk.strict(data)
        except (msgspec.MsgspecError, UnicodeError):
            chunk = self.read(read_chunk, data)
        if chunk.error or event.name == b"error":
            raise self.vendor.failure(data)
        if not self._opened:
            self._open(data, chunk)
        if chunk.choices:
            for choice in chunk.choices:
                self._take(choice)
        elif chunk.usage is None:
            self._check_odd(data)
        if chunk.usage is not None:
            # Some vendors send a running count with every chunk.
            self._usage = chunk.usage
        if chunk.citations or chunk.search_results:
            self._urls = [each if isinstance(each, str) else each.url for each in chunk.citations or ()]
            self._results = chunk.search_results or []

    def _is_no_chunk(self, event: SseEvent) -> bool:
        """Whether data is nothing, the word for the end, or an error in plain words."""
        data = event.data.strip()
        if data == b"[DONE]":
            self._conclude()
        elif event.name == b"error":
            raise self.vendor.failure(data)
        return data in (b"", b"[DONE]")

    def _check_odd(self, data: bytes) -> None:
        odd = self.read(read_odd, data)
        if odd.object == "error" or odd.detail or (odd.message and not self._opened):
            raise self.vendor.failure(data)

    def body_ended(self) -> None:
        if not self._opened:
            raise self.vendor.empty()
        if len(self._finished) < self._choices:
            raise self.vendor.cut_off()
        self._conclude()

    def _open(self, data: bytes, chunk: Chunk) -> None:
        opening = self.read(read_opening, data)
        # The first chunk may tell of the input alone and name no model.
        self._opened = bool(chunk.choices)
        if chunk.choices:
            self._only = chunk.choices[0].index or 0
        if opening.model and self._model is None:
            self._model = opening.model
            self.out.add(Answered(opening.model))
        if not self._opened:
            return
        told = {
            "id": opening.id,
            "system_fingerprint": opening.system_fingerprint,
            "service_tier": opening.service_tier,
        }
        fields: dict[str, Any] = {name: value for name, value in told.items() if value is not None}
        if fields:
            self.out.add(Extra(fields))

    def _take(self, choice: Choice) -> None:
        if choice.error:
            raise self.vendor.failure(msgspec.json.encode({"error": choice.error}, enc_hook=str))
        at = choice.index
        # One number for each answer that was asked for: a vendor's number sizes nothing here.
        if at is None or not 0 <= at < self._choices:
            at = self._number(at)
            if at is None:
                return
        if (delta := choice.delta or choice.message) is not None:
            content = delta.content
            if isinstance(content, str):
                if choice.logprobs is not None and choice.logprobs.content:
                    self.out.add(TextDelta(content, at, choice.logprobs.content))
                elif content:
                    self.out.text(content, at)
            elif content:
                self._parts(content, at)
            if thought := delta.reasoning_content or delta.reasoning:
                self._think(thought)
            if delta.tool_calls or delta.refusal or delta.annotations:
                self._rare(delta, at)
        if choice.finish_reason:
            self._finish(at, choice.finish_reason)

    def _number(self, index: int | None) -> int | None:
        """The answer that an unexpected index stands for: the only one, where the vendor numbers it in its own way."""
        return 0 if index is None or (self._choices == 1 and index == self._only) else None

    def _parts(self, parts: list[ContentPart], choice: int) -> None:
        for part in parts:
            if thought := thinking_text(part):
                self._think(thought)
            if part.text:
                self.out.text(part.text, choice)

    def _think(self, thought: str) -> None:
        self.out.reasoning(thought)
        if self._reasoning_of is not None:
            self._thoughts.append(thought)

    def _rare(self, delta: Delta, choice: int) -> None:
        if delta.refusal:
            self.out.text(delta.refusal, choice)
        if delta.annotations:
            self.cite(_sources(delta.annotations))
        for piece in delta.tool_calls or ():
            tools = self._tools.get(choice) or self._tools.setdefault(choice, ToolPieces(self.vendor, choice))
            tools.take(piece, self.out)

    def _finish(self, choice: int, reason: str) -> None:
        if choice in self._finished:
            return
        if reason.lower() in BROKEN_OFF:
            raise self.vendor.cut_off()
        self._finished.add(choice)
        tools = self._tools.get(choice)
        if tools is not None:
            tools.close(self.out)
        called = tools is not None and tools.given > 0
        if called and self._reasoning_of is not None and self._thoughts:
            self.out.add(ReasoningPart(provider=self._reasoning_of, text="".join(self._thoughts)))
        known = finish_reason(reason, self.vendor)
        # Several servers say "stop" where the model has called tools.
        self.out.add(Finish("tool_calls" if called and known == "stop" else known, choice))

    def _conclude(self) -> None:
        if not self._opened:
            raise self.vendor.empty()
        for choice in range(self._choices):
            self._finish(choice, "stop")
        self.cite(Citation(url=each.url, title=each.title, text=each.snippet) for each in self._results)
        listed = {result.url for result in self._results}
        self.cite(Citation(url=url) for url in self._urls if url and url not in listed)
        if self._usage is not None:
            self.out.add(usage_of(self._usage))
        self.over = True


def _sources(annotations: Iterable[Annotation]) -> Iterator[Citation]:
    for annotation in annotations:
        if (source := annotation.url_citation) is not None and source.url:
            yield Citation(
                url=source.url,
                title=source.title,
                text=source.content,
                start=source.start_index,
                end=source.end_index,
            )


def thinking_text(part: ContentPart) -> str:
    """The thinking in a part of Mistral's, however it is nested."""
    if isinstance(part.thinking, str):
        return part.thinking
    return "".join(inner.text for inner in part.thinking)


def usage_of(usage: ChunkUsage) -> Usage:
    """The vendor's counts as ours."""
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    reasoning = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None
    return Usage(
        input_tokens=count(usage.prompt_tokens),
        output_tokens=count(usage.completion_tokens),
        cached_tokens=count(cached or usage.prompt_cache_hit_tokens),
        reasoning_tokens=count(reasoning),
    )
