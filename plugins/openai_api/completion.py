"""A whole answer as a `chat.completion` (type: `openai.types.chat.ChatCompletion`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from engine.api import Citation, FinishReason, Said, StreamEnded, ToolCall, Usage


class PromptTokensDetails(msgspec.Struct):
    """Parts of the input's tokens."""

    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct):
    """Parts of the output's tokens."""

    reasoning_tokens: int
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(msgspec.Struct, kw_only=True):
    """Tokens that the turn used."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Function(msgspec.Struct):
    """Which function the model calls; `arguments` is a JSON text."""

    name: str
    arguments: str


class Call(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A call of a tool; `index` counts those of a choice, in chunks only."""

    index: int | None = None
    id: str
    type: str
    function: Function
    extra_content: dict[str, Any] | None = None


class UrlCitation(msgspec.Struct):
    """A web page that the answer leans on, and where."""

    url: str
    title: str
    start_index: int
    end_index: int


class Annotation(msgspec.Struct):
    """A remark on the text."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class Logprobs(msgspec.Struct):
    """Log probabilities of the tokens, as the vendor gave them."""

    content: Sequence[Mapping[str, Any]] | None
    refusal: None = None


class CompletionMessage(msgspec.Struct, kw_only=True):
    """What the model said; `content` is null where it only called tools. The last three stand only where they say something."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Annotation] | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[Call] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET


class CompletionChoice(msgspec.Struct, kw_only=True):
    """One of the answers that were asked for."""

    index: int
    message: CompletionMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChatCompletion(msgspec.Struct, kw_only=True):
    """A whole answer. `model` is the one that answered."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    system_fingerprint: str | msgspec.UnsetType = msgspec.UNSET


def completion_id(stream: str) -> str:
    """The id of the answer that a stream becomes."""
    return f"chatcmpl-{stream}"


def completion(
    stream: str,
    said: Said,
    ended: StreamEnded,
    *,
    model: str,
    created: int,
    choices: int = 1,
    logprobs: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
) -> ChatCompletion:
    """The answer that a stream became. `logprobs` are those of each choice, `choices` how many were asked for."""
    texts = said.choices or (said.text,)
    texts = (*texts, *("" for _ in range(len(texts), choices)))
    return ChatCompletion(
        id=completion_id(stream),
        object="chat.completion",
        created=created,
        model=ended.model or model,
        choices=[_choice(at, text, said, ended, (logprobs or {}).get(at)) for at, text in enumerate(texts)],
        usage=usage_of(ended.usage),
        **told_by_vendor(ended),
    )


def _choice(
    index: int, text: str, said: Said, ended: StreamEnded, logprobs: Sequence[Mapping[str, Any]] | None
) -> CompletionChoice:
    calls = [call_of(call) for call in said.tool_calls if call.choice == index]
    first = index == 0
    message = CompletionMessage(
        role="assistant",
        content=text if text or not calls else None,
        refusal=None,
        annotations=[annotation(citation) for citation in said.citations] if first else [],
        tool_calls=calls or msgspec.UNSET,
        reasoning_content=said.reasoning if first and said.reasoning else msgspec.UNSET,
    )
    return CompletionChoice(
        index=index,
        message=message,
        logprobs=Logprobs(logprobs) if logprobs is not None else None,
        finish_reason=finish_reason(index, ended, called=bool(calls)),
    )


def finish_reason(choice: int, ended: StreamEnded, *, called: bool) -> FinishReason:
    """Why a choice is over, as the stream tells; where it does not, whether it called tools."""
    reasons = ended.finish_reasons or [ended.finish_reason]
    told = reasons[choice] if choice < len(reasons) else None
    return told or ("tool_calls" if called else "stop")


def call_of(call: ToolCall, index: int | None = None) -> Call:
    """A call of the model in OpenAI's shape; `index` is its place among those of its choice, for chunks."""
    extra = signed(call.signature) if call.signature else None
    function = Function(call.name, call.arguments)
    return Call(index=index, id=call.call_id, type="function", function=function, extra_content=extra)


def signed(signature: str) -> dict[str, Any]:
    """What a vendor wants back with a call, as Google's OpenAI-compatible API spells it."""
    return {"google": {"thought_signature": signature}}


def annotation(citation: Citation) -> Annotation:
    """A source in OpenAI's shape, which knows no source without a place in the text."""
    start = citation.start or 0
    end = citation.end if citation.end is not None else start
    return Annotation("url_citation", UrlCitation(citation.url, citation.title or citation.url, start, end))


def usage_of(usage: Usage | None) -> CompletionUsage | None:
    """Token counts in OpenAI's shape."""
    if usage is None:
        return None
    return CompletionUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(usage.reasoning_tokens),
    )


def told_by_vendor(ended: StreamEnded) -> dict[str, str]:
    """What the vendor told beside the answer and the engine does not use."""
    extra = ended.extra or {}
    told = {name: extra.get(name) for name in ("service_tier", "system_fingerprint")}
    return {name: value for name, value in told.items() if isinstance(value, str)}
