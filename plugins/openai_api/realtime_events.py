"""Folds the events of a call into those of OpenAI's realtime sessions, in OpenAI's order (types: `openai.types.realtime`).

An answer is a response with one item for its words and sound, and one for each call of the client's tools. Where the model goes
on by itself once its tools have answered, the response ends with the calls, as OpenAI's does, and the rest is the next one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from engine.api import (
    AssistantEnded,
    AssistantStarted,
    Audio,
    ErrorBody,
    Event,
    TextDelta,
    ToolCall,
    ToolCancelled,
    TranscriptFinal,
    TranscriptPartial,
    Usage,
    UserEnded,
    UserStarted,
)
from engine.api.ids import random_hex
from plugins.openai_api.errors import openai_error

ServerEvent = dict[str, Any]


@dataclass(slots=True)
class _Response:
    id: str
    item: str
    output: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: bool = False
    """Whether its item of words and sound was begun."""
    sounded: bool = False


class RealtimeFold:
    """One session's events. `modality` is what its answers are made of, `detects` whether the server finds turns."""

    def __init__(self) -> None:
        self.modality: Literal["audio", "text"] = "audio"
        self.detects = True
        self.stopped = False
        """Whether the client stopped the answer that ends next."""
        self.waiting: set[str] = set()
        """Calls of the client's tools without a result."""
        self.conversation = f"conv_{random_hex(12)}"
        self._numbers = count(1)
        self._response: _Response | None = None
        self._last: str | None = None
        self._user: str | None = None
        self._began = 0
        self._seconds = 0.0
        self._said = ""
        self._media = 0
        """Media time at which the current answer began, in ms."""

    @property
    def answering(self) -> bool:
        """Whether a response is open."""
        return self._response is not None

    def event(self, type: str, **fields: Any) -> ServerEvent:
        """An event with an id of its own."""
        return {"type": type, "event_id": f"event_{next(self._numbers):06d}", **fields}

    def error(self, error: ErrorBody, event: str | None = None) -> ServerEvent:
        """Something went wrong; `event` is the id of the client's event that did."""
        told = openai_error(error, spelt=lambda field: field).error
        return self.event(
            "error",
            error={
                "type": told.type,
                "code": told.code,
                "message": told.message,
                "param": told.param,
                "event_id": event,
            },
        )

    def fold(self, event: Event) -> Iterable[ServerEvent]:
        """What an event of the call is in OpenAI's words."""
        match event:
            case UserStarted():
                return self._user_started(event)
            case UserEnded():
                return self._user_ended(event)
            case TranscriptPartial():
                return self._partial(event.text)
            case TranscriptFinal():
                return self._final(event.text)
            case AssistantStarted():
                self._media = event.at
                return self.opened()
            case TextDelta():
                return self._text(event.text)
            case Audio():
                return self._audio(event.data)
            case ToolCall() if event.client:
                return self._called(event)
            case ToolCancelled():
                self.waiting.discard(event.call_id)
                return ()
            case AssistantEnded():
                return self._ended(event)
            case _:
                return ()

    # The person

    def _user_started(self, event: UserStarted) -> Iterator[ServerEvent]:
        self._user, self._began, self._said = f"item_{random_hex(12)}", event.at or 0, ""
        if self.detects:
            yield self.event("input_audio_buffer.speech_started", audio_start_ms=self._began, item_id=self._user)

    def _user_ended(self, event: UserEnded) -> Iterator[ServerEvent]:
        item = self._user or f"item_{random_hex(12)}"
        end = self._began if event.at is None else event.at
        self._seconds = max(0, end - self._began) / 1000
        if self.detects:
            yield self.event("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=item)
        yield self.event("input_audio_buffer.committed", item_id=item, previous_item_id=self._last)
        content = [{"type": "input_audio", "transcript": None}]
        yield from self.item({"id": item, "type": "message", "role": "user", "content": content})

    def item(self, item: dict[str, Any]) -> Iterator[ServerEvent]:
        """An item that is whole from the beginning."""
        whole = {**item, "object": "realtime.item", "status": "completed"}
        yield self.event("conversation.item.added", previous_item_id=self._last, item=whole)
        yield self.event("conversation.item.done", previous_item_id=self._last, item=whole)
        self._last = item["id"]

    def _partial(self, text: str) -> Iterator[ServerEvent]:
        # A delta cannot take back what it said: what the transcriber changes is told with the end.
        if self._user is not None and text.startswith(self._said) and text != self._said:
            delta, self._said = text[len(self._said) :], text
            yield self.event(
                "conversation.item.input_audio_transcription.delta",
                item_id=self._user,
                content_index=0,
                delta=delta,
            )

    def _final(self, text: str) -> Iterator[ServerEvent]:
        if self._user is not None:
            yield from self._partial(text)
            yield self.event(
                "conversation.item.input_audio_transcription.completed",
                item_id=self._user,
                content_index=0,
                transcript=text,
                usage={"type": "duration", "seconds": self._seconds},
            )

    # The answer

    def opened(self) -> Iterator[ServerEvent]:
        """A response begins, where none has."""
        if self._response is not None:
            return
        self._response = _Response(f"resp_{random_hex(12)}", f"item_{random_hex(12)}")
        yield self.event("response.created", response=self._shown(self._response, "in_progress"))

    def _shown(self, response: _Response, status: str, **more: Any) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": None,
            "output": response.output,
            "conversation_id": self.conversation,
            "output_modalities": [self.modality],
            "max_output_tokens": "inf",
            "usage": None,
            "metadata": None,
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
        yield self.event("response.output_item.added", **place, item=item)
        yield self.event("conversation.item.added", previous_item_id=self._last, item=item)
        part = {"type": "audio", "transcript": ""} if self.modality == "audio" else {"type": "text", "text": ""}
        yield self.event("response.content_part.added", **self._at(response), content_index=0, part=part)

    def _message(self, response: _Response, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": response.item,
            "object": "realtime.item",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _text(self, text: str) -> Iterator[ServerEvent]:
        yield from self._begun()
        response = self._response
        assert response is not None
        response.words.append(text)
        kind = "response.output_audio_transcript.delta" if self.modality == "audio" else "response.output_text.delta"
        yield self.event(kind, **self._at(response), content_index=0, delta=text)

    def _audio(self, data: bytes) -> Iterator[ServerEvent]:
        yield from self._begun()
        response = self._response
        assert response is not None
        response.sounded = True
        delta = base64.b64encode(data).decode()
        yield self.event("response.output_audio.delta", **self._at(response), content_index=0, delta=delta)

    def _called(self, call: ToolCall) -> Iterator[ServerEvent]:
        yield from self.opened()
        response = self._response
        assert response is not None
        yield from self._close_message("completed")
        self.waiting.add(call.call_id)
        item = {
            "id": f"item_{random_hex(12)}",
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "name": call.name,
            "call_id": call.call_id,
            "arguments": "",
        }
        place = {"response_id": response.id, "output_index": len(response.output)}
        yield self.event("response.output_item.added", **place, item=item)
        yield self.event("conversation.item.added", previous_item_id=self._last, item=item)
        at = {**self._at(response, item["id"]), "call_id": call.call_id}
        yield self.event("response.function_call_arguments.delta", **at, delta=call.arguments)
        yield self.event("response.function_call_arguments.done", **at, name=call.name, arguments=call.arguments)
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
            yield self.event("response.output_audio.done", **at)
            yield self.event("response.output_audio_transcript.done", **at, transcript=words)
            part = {"type": "audio", "transcript": words}
        else:
            yield self.event("response.output_text.done", **at, text=words)
            part = {"type": "text", "text": words}
        yield self.event("response.content_part.done", **at, part=part)
        response.open = False
        content = [{**part, "type": f"output_{part['type']}"}]
        yield from self._close_item(self._message(response, status, content))
        response.item, response.words = f"item_{random_hex(12)}", []

    def _close_item(self, item: dict[str, Any]) -> Iterator[ServerEvent]:
        response = self._response
        assert response is not None
        place = {"response_id": response.id, "output_index": len(response.output)}
        yield self.event("response.output_item.done", **place, item=item)
        yield self.event("conversation.item.done", previous_item_id=self._last, item=item)
        self._last = item["id"]
        response.output.append(item)

    def _ended(self, event: AssistantEnded) -> Iterator[ServerEvent]:
        if self._response is None and self.waiting and event.status == "completed":
            return  # it was over when its calls were told
        self.waiting.clear()
        yield from self.opened()
        yield from self._close_message("completed" if event.status == "completed" else "incomplete")
        yield from self._close_response(event.status, event.error, event.usage)

    def _close_response(self, status: str, error: ErrorBody | None, usage: Usage | None) -> Iterator[ServerEvent]:
        response, self._response = self._response, None
        assert response is not None
        details: dict[str, Any] | None = None
        if status == "cancelled":
            details = {"type": status, "reason": "client_cancelled" if self.stopped else "turn_detected"}
        elif status == "failed":
            told = openai_error(error).error if error is not None else None
            details = {"type": status, "error": {"type": told.type, "code": told.code} if told is not None else None}
        self.stopped = False
        shown = self._shown(response, status, status_details=details, usage=_usage(usage))
        yield self.event("response.done", response=shown)

    def media(self, audio_end_ms: int) -> int:
        """A place in the sound of the current answer, as media time of the call, in ms."""
        return self._media + audio_end_ms


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
