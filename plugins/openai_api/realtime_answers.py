"""The model's side of a realtime session: responses and their items, in OpenAI's order.

An answer is a response with one item for its words and sound, and one for each call of the client's tools. Where the model goes
on by itself once its tools have answered, the response ends with the calls, as OpenAI's does, and the rest is the next one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.api import AssistantEnded, ErrorBody, ToolCall, Usage
from engine.api.ids import random_hex
from plugins.openai_api.realtime_log import Item, ServerEvent, SessionLog, new_item_id, told_error


@dataclass(slots=True)
class _Response:
    id: str
    item: str
    output: list[Item] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: bool = False
    """Whether its item of words and sound was begun."""
    metadata: dict[str, str] | None = None


class Answers:
    """One session's responses, one at a time. `modality` is what they are made of."""

    def __init__(self, log: SessionLog) -> None:
        self.modality: Literal["audio", "text"] = "audio"
        self.bound: int | Literal["inf"] = "inf"
        """Tokens that an answer has at most, as it is shown."""
        self.cut: str | None = None
        """Why the model stopped with the answer that ends next, where it is not whole."""
        self.stopped = False
        """Whether the client stopped the answer that ends next."""
        self.waiting: set[str] = set()
        """Calls of the client's tools without a result."""
        self.conversation = f"conv_{random_hex(12)}"
        self.media = 0
        """Media time at which the current answer began, in ms."""
        self._log = log
        self._response: _Response | None = None
        self._parts: list[str] = []
        """Items of the answer that is being given, over all of its responses."""

    @property
    def answering(self) -> bool:
        """Whether a response is open."""
        return self._response is not None

    def opened(self, metadata: dict[str, str] | None = None) -> Iterator[ServerEvent]:
        """A response begins, where none has."""
        if self._response is not None:
            return
        self._response = _Response(f"resp_{random_hex(12)}", new_item_id(), metadata=metadata)
        yield self._log.event("response.created", response=self._shown(self._response, "in_progress"))

    def _shown(self, response: _Response, status: str, **more: Any) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": None,
            "output": response.output,
            "conversation_id": self.conversation,
            "output_modalities": [self.modality],
            "max_output_tokens": self.bound,
            "usage": None,
            "metadata": response.metadata,
            **more,
        }

    def _at(self, response: _Response, item: str | None = None) -> dict[str, Any]:
        return {"response_id": response.id, "item_id": item or response.item, "output_index": len(response.output)}

    def _begun(self) -> Iterator[ServerEvent]:
        """The item of the words and the sound begins, where it has not."""
        yield from self.opened()
        response = self._response
        assert response is not None
        if response.open:
            return
        response.open = True
        item = self._message(response, "in_progress", [])
        place = {"response_id": response.id, "output_index": len(response.output)}
        yield self._log.event("response.output_item.added", **place, item=item)
        yield self._log.added(item)
        part = {"type": "audio", "transcript": ""} if self.modality == "audio" else {"type": "text", "text": ""}
        yield self._log.event("response.content_part.added", **self._at(response), content_index=0, part=part)

    def _message(self, response: _Response, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": response.item,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def text(self, text: str) -> Iterator[ServerEvent]:
        """A piece of the words."""
        yield from self._begun()
        response = self._response
        assert response is not None
        response.words.append(text)
        kind = "response.output_audio_transcript.delta" if self.modality == "audio" else "response.output_text.delta"
        yield self._log.event(kind, **self._at(response), content_index=0, delta=text)

    def sound(self, data: bytes) -> Iterator[ServerEvent]:
        """A piece of the sound."""
        yield from self._begun()
        response = self._response
        assert response is not None
        delta = base64.b64encode(data).decode()
        yield self._log.event("response.output_audio.delta", **self._at(response), content_index=0, delta=delta)

    def called(self, call: ToolCall) -> Iterator[ServerEvent]:
        """The model calls a tool of the client's."""
        yield from self.opened()
        response = self._response
        assert response is not None
        yield from self._close_message("completed")
        self.waiting.add(call.call_id)
        item = {
            "id": new_item_id(),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": call.name,
            "call_id": call.call_id,
            "arguments": "",
        }
        place = {"response_id": response.id, "output_index": len(response.output)}
        yield self._log.event("response.output_item.added", **place, item=item)
        yield self._log.added(item)
        at = {**self._at(response, item["id"]), "call_id": call.call_id}
        yield self._log.event("response.function_call_arguments.delta", **at, delta=call.arguments)
        yield self._log.event("response.function_call_arguments.done", **at, name=call.name, arguments=call.arguments)
        whole = {**item, "status": "completed", "arguments": call.arguments}
        yield from self._close_item(whole)

    def calls_told(self) -> Iterator[ServerEvent]:
        """The model waits for its tools: the response is over, and what it says afterwards is another one."""
        if self._response is not None and self.waiting:
            yield from self._close_response("completed", None, None)

    def _close_message(
        self, status: Literal["completed", "incomplete"], text: str | None = None
    ) -> Iterator[ServerEvent]:
        response = self._response
        if response is None or not response.open:
            return
        words = "".join(response.words) if text is None else text
        at = {**self._at(response), "content_index": 0}
        if self.modality == "audio":
            yield self._log.event("response.output_audio.done", **at)
            yield self._log.event("response.output_audio_transcript.done", **at, transcript=words)
            part = {"type": "audio", "transcript": words}
        else:
            yield self._log.event("response.output_text.done", **at, text=words)
            part = {"type": "text", "text": words}
        yield self._log.event("response.content_part.done", **at, part=part)
        response.open = False
        content = [{**part, "type": f"output_{part['type']}"}]
        yield from self._close_item(self._message(response, status, content))
        response.item, response.words = new_item_id(), []

    def _close_item(self, item: dict[str, Any]) -> Iterator[ServerEvent]:
        response = self._response
        assert response is not None
        place = {"response_id": response.id, "output_index": len(response.output)}
        yield self._log.event("response.output_item.done", **place, item=item)
        self._parts.append(item["id"])
        yield self._log.done(item)
        response.output.append(item)

    def ended(self, event: AssistantEnded) -> Iterator[ServerEvent]:
        """The answer is over, however it came out."""
        if self._response is None and self.waiting and event.status == "completed":
            return  # it was over when its calls were told
        self.waiting.clear()
        yield from self.opened()
        whole = event.status == "completed" and self.cut is None
        yield from self._close_message("completed" if whole else "incomplete")
        if len(self._parts) == 1 and event.answered_by is not None:
            self._log.names[self._parts[0]] = {"answer": event.answered_by}
        self._parts.clear()
        yield from self._close_response(event.status, event.error, event.usage)

    def _close_response(self, status: str, error: ErrorBody | None, usage: Usage | None) -> Iterator[ServerEvent]:
        response, self._response = self._response, None
        assert response is not None
        details: dict[str, Any] | None = None
        cut, self.cut = self.cut, None
        if status == "completed" and cut is not None:
            status = "incomplete"
            details = {"type": status, "reason": cut}
        elif status == "cancelled":
            details = {"type": status, "reason": "client_cancelled" if self.stopped else "turn_detected"}
        elif status == "failed":
            told = told_error(error) if error is not None else None
            if error is not None:
                # The response has room for codes only, and nobody reads those.
                yield self._log.error(error)
            details = {"type": status, "error": {"type": told.type, "code": told.code} if told is not None else None}
        self.stopped = False
        shown = self._shown(response, status, status_details=details, usage=_usage(usage))
        yield self._log.event("response.done", response=shown)


def _usage(usage: Usage | None) -> dict[str, Any]:
    used = usage or Usage()
    heard = used.audio_input_tokens if isinstance(used.audio_input_tokens, int) else 0
    spoken = used.audio_output_tokens if isinstance(used.audio_output_tokens, int) else 0
    return {
        "total_tokens": used.input_tokens + used.output_tokens,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "input_token_details": {
            "text_tokens": used.input_tokens - heard,
            "audio_tokens": heard,
            "cached_tokens": used.cached_tokens,
        },
        "output_token_details": {"text_tokens": used.output_tokens - spoken, "audio_tokens": spoken},
    }
