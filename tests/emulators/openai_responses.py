"""OpenAI Responses: items built piece by piece, told as the event sequence of `openai.types.responses`."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.emulators.base import Event, Rejection, Step, deltas
from tests.emulators.openai_chat import CREATED, span
from tests.emulators.reply import Condition, Say, ToolUse, Usage

# What a response repeats from its request, with the vendor's defaults.
SETTINGS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
FAILED_CODES: Mapping[Condition, str] = {
    "bad_request": "invalid_prompt",
    "rate_limit": "rate_limit_exceeded",
    "server": "server_error",
}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesRendering:
    """One `Say` as Responses events; the whole answer is the response of the last event."""

    def __init__(self, say: Say, body: Mapping[str, Any], number: int, *, prompt: str) -> None:
        self.say = say
        self.number = number
        self.usage = usage_of(say.tokens(prompt))
        repeated = {
            name: body.get(name) if body.get(name) is not None else default for name, default in SETTINGS.items()
        }
        self.response = {
            "id": f"resp_{number}",
            "object": "response",
            "created_at": CREATED,
            "model": body["model"],
            **repeated,
            **say.extra,
        }
        self.output: list[Mapping[str, Any]] = []
        self.sequence = 0

    def steps(self) -> Iterator[Step]:
        self.output, self.sequence = [], 0
        yield self._event("response.created", response=self._state("in_progress"))
        yield self._event("response.in_progress", response=self._state("in_progress"))
        if self.say.reasoning_deltas:
            yield from self._reasoning()
        if self.say.citations:
            yield from self._web_search()
        if self.say.text_deltas or self.say.refusal:
            yield from self._message()
        for call in self.say.tool_calls:
            yield from self._tool_call(call)
        status = "incomplete" if self._incomplete else "completed"
        yield self._event(f"response.{status}", response=self._state(status))

    def whole(self) -> Mapping[str, Any]:
        *_, last = (step for step in self.steps() if isinstance(step, Event))
        response: Mapping[str, Any] = last.data["response"]
        return response

    def failure(self, rejection: Rejection, condition: Condition) -> Event:
        """`response.failed` for what `ResponseError` has a code for, the `error` event for the rest."""
        assert not isinstance(rejection.body, str)
        error = rejection.body["error"]
        if (code := FAILED_CODES.get(condition)) is None:
            return self._event("error", code=error["code"], message=error["message"], param=error["param"])
        failed = {**self._state("failed"), "error": {"code": code, "message": error["message"]}}
        return self._event("response.failed", response=failed)

    @property
    def _incomplete(self) -> str | None:
        # A refusal is an answer and completes; only a scripted finish cuts a response short.
        return INCOMPLETE.get(self.say.finish or "")

    def _reasoning(self) -> Iterator[Step]:
        item = {"id": self._id("rs"), "type": "reasoning", "summary": []}
        place = {"item_id": item["id"], "output_index": len(self.output), "summary_index": 0}
        yield self._added(item)
        part = {"type": "summary_text", "text": ""}
        yield self._event("response.reasoning_summary_part.added", **place, part=part)
        yield from deltas(
            self.say.reasoning_deltas,
            lambda delta: self._event("response.reasoning_summary_text.delta", **place, delta=delta),
        )
        part = {"type": "summary_text", "text": self.say.full_reasoning}
        yield self._event("response.reasoning_summary_text.done", **place, text=part["text"])
        yield self._event("response.reasoning_summary_part.done", **place, part=part)
        yield self._done({**item, "summary": [part], "encrypted_content": self.say.signature})

    def _web_search(self) -> Iterator[Step]:
        action = {"type": "search", "query": self.say.citations[0].title or "the web"}
        item = {"id": self._id("ws"), "type": "web_search_call", "action": action}
        place = {"item_id": item["id"], "output_index": len(self.output)}
        yield self._added({**item, "status": "in_progress"})
        for stage in ("in_progress", "searching", "completed"):
            yield self._event(f"response.web_search_call.{stage}", **place)
        yield self._done({**item, "status": "completed"})

    def _message(self) -> Iterator[Step]:
        item = {"id": self._id("msg"), "type": "message", "role": "assistant", "content": []}
        index = len(self.output)
        yield self._added({**item, "status": "in_progress"})
        content: list[Mapping[str, Any]] = []
        if self.say.text_deltas:
            content.append({"type": "output_text", "text": self.say.full_text, "annotations": self._annotations()})
            yield from self._text({"item_id": item["id"], "output_index": index, "content_index": 0}, content[0])
        if self.say.refusal:
            content.append({"type": "refusal", "refusal": self.say.refusal})
            place = {"item_id": item["id"], "output_index": index, "content_index": len(content) - 1}
            yield from self._refusal(place, content[-1])
        status = "incomplete" if self._incomplete else "completed"
        yield self._done({**item, "status": status, "content": content})

    def _text(self, place: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[Step]:
        empty = {"type": "output_text", "text": "", "annotations": []}
        yield self._event("response.content_part.added", **place, part=empty)
        yield from deltas(
            self.say.text_deltas,
            lambda delta: self._event("response.output_text.delta", **place, delta=delta, logprobs=[]),
        )
        for number, annotation in enumerate(part["annotations"]):
            where = {**place, "annotation_index": number}
            yield self._event("response.output_text.annotation.added", **where, annotation=annotation)
        yield self._event("response.output_text.done", **place, text=part["text"], logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)

    def _refusal(self, place: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[Step]:
        yield self._event("response.content_part.added", **place, part={"type": "refusal", "refusal": ""})
        yield self._event("response.refusal.delta", **place, delta=part["refusal"])
        yield self._event("response.refusal.done", **place, refusal=part["refusal"])
        yield self._event("response.content_part.done", **place, part=part)

    def _tool_call(self, call: ToolUse) -> Iterator[Step]:
        item = {"id": self._id("fc"), "type": "function_call", "call_id": call.id, "name": call.name}
        place = {"item_id": item["id"], "output_index": len(self.output)}
        yield self._added({**item, "arguments": "", "status": "in_progress"})
        yield from deltas(
            call.deltas, lambda delta: self._event("response.function_call_arguments.delta", **place, delta=delta)
        )
        yield self._event("response.function_call_arguments.done", **place, name=call.name, arguments=call.json)
        yield self._done({**item, "arguments": call.json, "status": "completed"})

    def _annotations(self) -> list[Mapping[str, Any]]:
        return [{"type": "url_citation", **span(self.say, citation)} for citation in self.say.citations]

    def _added(self, item: Mapping[str, Any]) -> Event:
        return self._event("response.output_item.added", output_index=len(self.output), item=item)

    def _done(self, item: Mapping[str, Any]) -> Event:
        self.output.append(item)
        return self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    def _state(self, status: str) -> Mapping[str, Any]:
        running = status == "in_progress"
        return {
            **self.response,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": self._incomplete} if status == "incomplete" else None,
            "output": [] if running else list(self.output),
            "usage": None if running else self.usage,
        }

    def _event(self, kind: str, /, **fields: Any) -> Event:
        event = Event({"type": kind, "sequence_number": self.sequence, **fields}, kind)
        self.sequence += 1
        return event

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self.number}_{len(self.output)}"


def usage_of(usage: Usage) -> Mapping[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
