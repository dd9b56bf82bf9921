"""A stream as the chunks of Chat Completions (type: `openai.types.chat.ChatCompletionChunk`)."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.api import (
    Citation,
    EngineError,
    ErrorBody,
    Event,
    ReasoningDelta,
    StreamEnded,
    TextDelta,
    ToolCall,
    ToolDelta,
)
from plugins.openai_api.completion import (
    Logprobs,
    annotation,
    call_of,
    completion_id,
    finish_reason,
    signed,
    told_by_vendor,
    usage_of,
)
from plugins.openai_api.errors import openai_error

_encode = msgspec.json.Encoder().encode

DONE = b"data: [DONE]\n\n"
STOPPED = ErrorBody(code="cancelled", message="the turn was stopped before its answer was whole", retryable=False)


class ChunkEncoder:
    """Folds the events of one stream into server-sent chunks; implements `engine.api.Encoder`.

    Each choice begins with its role and ends with its finish reason; then come the usage, if it was asked for, and
    `[DONE]`. A stream that fails ends with an error instead, and without `[DONE]`. `model` is the one that was asked;
    the closing chunks name the one that answered.
    """

    __slots__ = (
        "_after",
        "_calls",
        "_choices",
        "_id",
        "_include_usage",
        "_made",
        "_model",
        "_open",
        "_texts",
        "_written",
    )

    def __init__(self, stream: str, model: str, *, created: int, choices: int = 1, include_usage: bool = False) -> None:
        self._id = completion_id(stream)
        self._made = created
        self._model = model
        self._choices = choices
        self._include_usage = include_usage
        self._open = b"data: %b," % self._head(model)
        self._after = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._calls: dict[int, int] = {}
        self._written: dict[tuple[int, str], int] = {}
        # A piece of text, which is nearly every event, is written between two ends that are made once for each choice.
        self._texts: dict[int, bytes] = {}

    def encode(self, n: int, event: Event) -> bytes | None:
        if type(event) is TextDelta and event.logprobs is None:
            start = self._texts.get(event.choice)
            if start is not None:
                return b'%b%b},"logprobs":null,"finish_reason":null}%b' % (start, _encode(event.text), self._after)
        return self._rare(event)

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing, and no `[DONE]`."""
        return b"data: %b\n\n" % _encode(openai_error(error.body()))

    def _rare(self, event: Event) -> bytes | None:
        match event:
            case TextDelta():
                logprobs = Logprobs(event.logprobs) if event.logprobs is not None else None
                return self._delta(event.choice, {"content": event.text}, logprobs)
            case ReasoningDelta():
                return self._delta(0, {"reasoning_content": event.text})
            case ToolDelta():
                return self._written_call(event)
            case ToolCall():
                return self._call(event)
            case Citation():
                return self._delta(0, {"annotations": [annotation(event)]})
            case StreamEnded():
                return self._end(event)
        return None

    def _written_call(self, piece: ToolDelta) -> bytes:
        """A piece of a call; its first one names the tool."""
        key = (piece.choice, piece.call_id)
        index = self._written.get(key)
        if index is not None:
            return self._delta(
                piece.choice, {"tool_calls": [{"index": index, "function": {"arguments": piece.arguments}}]}
            )
        index = self._written[key] = self._count_call(piece.choice)
        begun = ToolCall(call_id=piece.call_id, name=piece.name, arguments=piece.arguments)
        return self._delta(piece.choice, {"tool_calls": [call_of(begun, index)]})

    def _call(self, call: ToolCall) -> bytes | None:
        """A whole call; of one whose pieces were sent, what came with its end."""
        index = self._written.get((call.choice, call.call_id))
        if index is None:
            return self._delta(call.choice, {"tool_calls": [call_of(call, self._count_call(call.choice))]})
        if call.signature is None:
            return None
        return self._delta(call.choice, {"tool_calls": [{"index": index, "extra_content": signed(call.signature)}]})

    def _count_call(self, choice: int) -> int:
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        return index

    def _delta(self, choice: int, delta: dict[str, Any], logprobs: Logprobs | None = None) -> bytes:
        opening = b"" if choice in self._texts else self._opening(choice)
        return opening + self._chunk(self._open, choice, delta, logprobs)

    def _opening(self, choice: int) -> bytes:
        self._texts[choice] = b'%b"choices":[{"index":%d,"delta":{"content":' % (self._open, choice)
        return self._chunk(self._open, choice, {"role": "assistant", "content": "", "refusal": None})

    def _chunk(
        self,
        start: bytes,
        choice: int,
        delta: dict[str, Any],
        logprobs: Logprobs | None = None,
        finish: str | None = None,
    ) -> bytes:
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return b'%b"choices":[%b%b' % (start, _encode(told), self._after)

    def _end(self, ended: StreamEnded) -> bytes:
        if ended.status != "completed":
            return b"data: %b\n\n" % _encode(openai_error(ended.error or STOPPED))
        start = b"data: %b," % self._head(ended.model or self._model, told_by_vendor(ended))
        pieces = []
        for choice in range(self._count()):
            if choice not in self._texts:
                pieces.append(self._opening(choice))
            reason = finish_reason(choice, ended, called=choice in self._calls)
            pieces.append(self._chunk(start, choice, {}, finish=reason))
        if self._include_usage:
            pieces.append(b'%b"choices":[],"usage":%b}\n\n' % (start, _encode(usage_of(ended.usage))))
        return b"".join((*pieces, DONE))

    def _count(self) -> int:
        """How many choices there are: those that were asked for, and any that came all the same."""
        return max(self._choices, 1 + max(self._texts, default=0))

    def _head(self, model: str, told: dict[str, str] | None = None) -> bytes:
        """The fields that all chunks share, as JSON without its closing brace."""
        fields = {"id": self._id, "object": "chat.completion.chunk", "created": self._made, "model": model}
        return _encode({**fields, **(told or {})})[:-1]
