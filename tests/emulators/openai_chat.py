"""Chat Completions as OpenAI and the vendors that copy it send them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.emulators.base import Event, Rejection, Step, deltas
from tests.emulators.reply import Citation, Condition, Say, ToolUse, Usage

CREATED = 1_790_000_000


class ChatRendering:
    """One `Say` as chunks or as a whole completion; types in `openai.types.chat`."""

    def __init__(
        self, say: Say, body: Mapping[str, Any], number: int, *, prompt: str, reasoning_field: str = "reasoning_content"
    ) -> None:
        choices = [say, *say.alternatives]
        self.choices = [choices[index % len(choices)] for index in range(body.get("n") or 1)]
        self.extra = say.extra
        self.usage = usage_of(say.tokens(prompt))
        self.reasoning_field = reasoning_field
        self.wants_logprobs = bool(body.get("logprobs"))
        self.wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self.head = {"id": f"chatcmpl-{number}", "created": CREATED, "model": body["model"]}

    def steps(self) -> Iterator[Step]:
        for index, say in enumerate(self.choices):
            yield from self._choice(index, say)
        if self.wants_usage:
            yield self._chunk([], usage=self.usage)
        yield Event("[DONE]")

    def whole(self) -> Mapping[str, Any]:
        choices = [
            {
                "index": index,
                "message": self._message(say),
                "logprobs": {"content": self._logprobs(say.full_text), "refusal": None}
                if self.wants_logprobs
                else None,
                "finish_reason": say.finished,
            }
            for index, say in enumerate(self.choices)
        ]
        return {**self.head, "object": "chat.completion", "choices": choices, "usage": self.usage, **self.extra}

    def failure(self, rejection: Rejection, condition: Condition) -> Event:
        return Event(rejection.body)

    def _choice(self, index: int, say: Say) -> Iterator[Step]:
        def text(delta: str) -> Event:
            logprobs = {"content": self._logprobs(delta), "refusal": None} if self.wants_logprobs else None
            return self._delta(index, {"content": delta}, logprobs=logprobs)

        yield self._delta(index, {"role": "assistant", "content": "", "refusal": None})
        yield from deltas(say.reasoning_deltas, lambda delta: self._delta(index, {self.reasoning_field: delta}))
        yield from deltas(say.text_deltas, text)
        yield from deltas([say.refusal] if say.refusal else [], lambda delta: self._delta(index, {"refusal": delta}))
        if say.citations:
            yield self._delta(index, {"annotations": annotations(say)})
        for position, call in enumerate(say.tool_calls):
            yield from self._tool_call(index, position, call)
        yield self._delta(index, {}, finish=say.finished)

    def _tool_call(self, index: int, position: int, call: ToolUse) -> Iterator[Step]:
        def arguments(delta: str) -> Event:
            return self._delta(index, {"tool_calls": [{"index": position, "function": {"arguments": delta}}]})

        function = {"name": call.name, "arguments": ""}
        opening = {"index": position, "id": call.id, "type": "function", "function": function}
        yield self._delta(index, {"tool_calls": [opening]})
        yield from deltas(call.deltas, arguments)

    def _delta(
        self,
        index: int,
        delta: Mapping[str, Any],
        *,
        finish: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
    ) -> Event:
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}])

    def _chunk(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, Any] | None = None) -> Event:
        chunk = {**self.head, "object": "chat.completion.chunk", "choices": choices, **self.extra}
        return Event({**chunk, "usage": usage} if self.wants_usage else chunk)

    def _message(self, say: Say) -> Mapping[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": say.full_text or None,
            "refusal": say.refusal or None,
            "annotations": annotations(say),
        }
        if say.full_reasoning:
            message[self.reasoning_field] = say.full_reasoning
        if say.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.json}}
                for call in say.tool_calls
            ]
        return message

    def _logprobs(self, text: str) -> list[Mapping[str, Any]]:
        token = {"token": text, "logprob": -0.25, "bytes": list(text.encode())}
        return [{**token, "top_logprobs": [token]}]


def annotations(say: Say) -> list[Mapping[str, Any]]:
    return [{"type": "url_citation", "url_citation": span(say, citation)} for citation in say.citations]


def span(say: Say, citation: Citation) -> Mapping[str, Any]:
    end = len(say.full_text) if citation.end is None else citation.end
    return {"url": citation.url, "title": citation.title, "start_index": citation.start, "end_index": end}


def usage_of(usage: Usage) -> Mapping[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
