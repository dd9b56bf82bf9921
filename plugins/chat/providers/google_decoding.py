"""The stream of Gemini's generateContent, decoded."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, structs

from engine.api import (
    Answered,
    Citation,
    Extra,
    Finish,
    ProviderError,
    ReasoningPart,
    StatusChanged,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.wire.counts import count, total
from engine.wire.sse import SseEvent
from plugins.chat.providers.google_chunks import (
    NOTHING,
    Candidate,
    Chunk,
    FunctionCall,
    Grounding,
    Logprobs,
    Part,
    PromptFeedback,
    UsageMetadata,
    read_chunk,
    read_grounding,
    read_usage,
)
from plugins.vendors.decoding import Decoder
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import clean
from plugins.vendors.finishing import finish_reason

# The model went wrong; asked again it mostly does not.
SLIPS = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
BROKEN_OFF = SLIPS | {"MISSING_THOUGHT_SIGNATURE"}


class GoogleDecoder(Decoder):
    """One answer, which has no terminal event: it is whole when the body is over and every choice has finished.

    `provider` marks the thinking that Gemini wants back in the next step. `grounded` keeps the answer's text, to count
    places of citations in characters where Google counts bytes.
    """

    def __init__(self, vendor: Vendor, provider: str, *, choices: int = 1, grounded: bool = False) -> None:
        super().__init__(vendor)
        self._provider = provider
        self._choices = choices
        self._kept: list[str] | None = [] if grounded else None
        self._opened = False
        self._usage = NOTHING
        self._grounding: Grounding | None = None
        self._called: set[int] = set()
        self._ids: set[str] = set()
        self._started: set[int] = set()
        self._finished: set[int] = set()

    def event(self, event: SseEvent) -> None:
        if event.data.strip() in (b"", b"[DONE]"):
            return
        chunk = self.read(read_chunk, event.data)
        if chunk.error not in (NOTHING, b'""', b"{}") or event.name == b"error":
            raise self.vendor.failure(event.data)
        if not self._opened:
            self._open(chunk)
        if chunk.candidates:
            for candidate in chunk.candidates:
                self._take(candidate)
        elif chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self._blocked(chunk.prompt_feedback)
        if chunk.usage_metadata != NOTHING:
            self._usage = chunk.usage_metadata

    def body_ended(self) -> None:
        if not self._finished or self._started - self._finished:
            raise self.vendor.cut_off()
        if self._grounding is not None:
            self.cite(citations(self._grounding, "".join(self._kept or ())))
        if self._usage != NOTHING and (usage := self.beside(read_usage, bytes(self._usage))) is not None:
            searches = len(self._grounding.web_search_queries or ()) if self._grounding is not None else 0
            self.out.add(structs.replace(usage_of(usage), searches=searches or UNSET))
        self.over = True

    def _open(self, chunk: Chunk) -> None:
        self._opened = True
        if chunk.model_version:
            self.out.add(Answered(chunk.model_version))
        if chunk.response_id:
            self.out.add(Extra({"id": chunk.response_id}))

    def _take(self, candidate: Candidate) -> None:
        choice = candidate.index if self._choices > 1 else 0
        if not 0 <= choice < self._choices:
            return  # a vendor's number sizes nothing here
        self._started.add(choice)
        parts = candidate.content.parts if candidate.content is not None else None
        if parts:
            if candidate.logprobs_result is not None:
                self._text_with_logprobs(parts, choice, candidate.logprobs_result)
            for part in parts:
                self._part(part, choice, told=candidate.logprobs_result is not None)
        if candidate.grounding_metadata != NOTHING and choice == 0:
            self._grounding = self.beside(read_grounding, bytes(candidate.grounding_metadata))
        if candidate.finish_reason:
            self._finish(choice, candidate.finish_reason, candidate.finish_message)

    def _part(self, part: Part, choice: int, *, told: bool) -> None:
        if part.function_call is not None:
            self._call(part.function_call, choice, part.thought_signature)
            return
        if part.inline_data is not None:
            detail = f"{self.vendor.title} answered with {part.inline_data.mime_type}, which a chat cannot show."
            self.out.add(StatusChanged(stage="left_out", detail=detail))
        if part.text and part.thought:
            self.out.reasoning(part.text)
        elif part.text:
            if not told:
                self.out.text(part.text, choice)
            if self._kept is not None and choice == 0:
                self._kept.append(part.text)
        if part.thought_signature:
            thought = (part.text or "") if part.thought else ""
            self.out.add(ReasoningPart(provider=self._provider, text=thought, signature=part.thought_signature))

    def _text_with_logprobs(self, parts: list[Part], choice: int, logprobs: Logprobs) -> None:
        text = "".join(part.text for part in parts if part.text and not part.thought)
        self.out.add(TextDelta(text, choice, list(tokens_of(logprobs))))

    def _call(self, call: FunctionCall, choice: int, signature: str | None) -> None:
        if not call.name:
            raise self.vendor.broke_protocol("it calls a tool without a name")
        self._called.add(choice)
        # Answers to calls are matched by the id, which older models leave out and imitators repeat.
        call_id = call.id if call.id and call.id not in self._ids else f"call_{secrets.token_hex(12)}"
        self._ids.add(call_id)
        arguments = _text(call.args)
        self.out.arguments(call_id, call.name, arguments, choice)
        self.out.add(ToolCall(call_id=call_id, name=call.name, arguments=arguments, choice=choice, signature=signature))

    def _finish(self, choice: int, reason: str, message: str | None) -> None:
        if choice in self._finished:
            return
        if reason.upper() in BROKEN_OFF:
            told = clean(message or reason).rstrip(".")
            raise ProviderError(f"{self.vendor.title} broke off its answer: {told}.", retryable=reason.upper() in SLIPS)
        self._finished.add(choice)
        known = finish_reason(reason, self.vendor)
        # Gemini says STOP where the model has called functions.
        self.out.add(Finish("tool_calls" if known == "stop" and choice in self._called else known, choice))

    def _blocked(self, feedback: PromptFeedback) -> None:
        reason = clean(feedback.block_reason_message or feedback.block_reason or "").rstrip(".")
        self.out.add(StatusChanged(stage="content_filter", detail=f"{self.vendor.title} blocked the prompt: {reason}."))
        for choice in range(self._choices):
            self._finished.add(choice)
            self.out.add(Finish("content_filter", choice))


def _text(arguments: msgspec.Raw) -> str:
    """Arguments as JSON text; some imitators send the text itself."""
    if arguments == NOTHING:
        return "{}"
    text = bytes(arguments)
    return (msgspec.json.decode(text, type=str) or "{}") if text[:1] == b'"' else text.decode()


def usage_of(usage: UsageMetadata) -> Usage:
    """The vendor's counts as ours, whose output contains the thoughts."""
    return Usage(
        input_tokens=total(usage.prompt_token_count, usage.tool_use_prompt_token_count),
        output_tokens=total(usage.candidates_token_count, usage.thoughts_token_count),
        cached_tokens=count(usage.cached_content_token_count),
        reasoning_tokens=count(usage.thoughts_token_count),
    )


def citations(grounding: Grounding, text: str) -> Iterator[Citation]:
    """A citation for each source of each segment; without segments, one for each source."""
    pages = [chunk.web for chunk in grounding.grounding_chunks or ()]
    encoded = text.encode()
    placed = False
    for support in grounding.grounding_supports or ():
        segment = support.segment
        for index in support.grounding_chunk_indices:
            page = pages[index] if 0 <= index < len(pages) else None
            if page is None or segment is None or not page.uri:
                continue
            placed = True
            yield Citation(
                url=page.uri,
                title=page.title,
                start=_characters(encoded, segment.start_index),
                end=None if segment.end_index is None else _characters(encoded, segment.end_index),
            )
    if not placed:
        yield from (Citation(url=page.uri, title=page.title) for page in pages if page is not None and page.uri)


def _characters(encoded: bytes, count: int) -> int:
    return len(encoded[:count].decode(errors="ignore"))


def tokens_of(logprobs: Logprobs) -> Iterator[dict[str, Any]]:
    """Each token in the form in which OpenAI reports it."""
    for number, chosen in enumerate(logprobs.chosen_candidates):
        top = logprobs.top_candidates[number].candidates if number < len(logprobs.top_candidates) else []
        yield {
            **_token(chosen.token, chosen.log_probability),
            "top_logprobs": [_token(other.token, other.log_probability) for other in top],
        }


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
