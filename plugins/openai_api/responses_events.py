"""A stream as the events of OpenAI's Responses (types: `openai.types.responses.ResponseStreamEvent`)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from engine.api import (
    Citation,
    EngineError,
    Event,
    ReasoningDelta,
    ReasoningKept,
    StreamEnded,
    TextDelta,
)
from plugins.openai_api.call_order import CallBegun, CallEnded, CallGrown, CallOrder, Step, WrittenCall
from plugins.openai_api.custom_input import GrowingInput
from plugins.openai_api.errors import openai_error
from plugins.openai_api.response import Asked, Output, ResponseObject, status_of

_encode = msgspec.json.Encoder().encode


class ResponsesEncoder:
    """Folds the events of one stream into server-sent events; implements `engine.api.Encoder`.

    Each event has its `sequence_number`, from 0, and the same stream gives the same events again: with `after` the ones up
    to that number are left out.
    """

    __slots__ = ("_after", "_asked", "_began", "_head", "_input", "_next", "_order", "_output", "_stream", "_tail")

    def __init__(self, stream: str, asked: Asked, *, after: int | None = None) -> None:
        self._stream = stream
        self._asked = asked
        self._after = -1 if after is None else after
        self._began = False
        self._next = 0
        self._output = Output(stream, asked.custom_tools)
        self._order = CallOrder()
        self._input = GrowingInput()
        self._head = b""
        self._tail = b""

    def encode(self, n: int, event: Event) -> bytes | None:
        # A piece of text, which is nearly every event, is written between two ends that are made once for its item.
        if type(event) is TextDelta and event.choice == 0 and event.logprobs is None and self._output.open == "message":
            self._output.grow(event)
            number = self._next
            self._next += 1
            if number <= self._after:
                return None
            return b"%b%d%b%b}\n\n" % (self._head, number, self._tail, _encode(event.text))
        begun = [] if self._began else self._beginning()
        return b"".join((*begun, *(piece for step in self._order.take(event) for piece in self._rare(step)))) or None

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing."""
        told = openai_error(error.body()).error
        return self._event("error", {"code": told.code, "message": told.message, "param": told.param})

    def _rare(self, event: Step) -> list[bytes]:
        match event:
            case TextDelta(choice=0):
                return [*self._into("message"), self._text(event)]
            case ReasoningDelta():
                begun = self._into("reasoning")
                self._output.grow(event)
                return [
                    *begun,
                    self._of_item("response.reasoning_summary_text.delta", summary_index=0, delta=event.text),
                ]
            case ReasoningKept():
                begun = [] if self._output.open == "reasoning" else self._into("reasoning", shown=bool(event.text))
                if not self._output.text and event.text:
                    self._output.grow(ReasoningDelta(event.text))
                return [*begun, *self._close(event)]
            case Citation():
                begun = self._into("message")
                at = self._output.cited
                told = {"content_index": 0, "annotation_index": at, "annotation": self._output.cite(event)}
                return [*begun, self._of_item("response.output_text.annotation.added", **told)]
            case CallBegun():
                return [*self._close(), self._begin_call(event.call)]
            case CallGrown():
                return self._grow_call(event.piece)
            case CallEnded():
                return self._end_call(event.call, "incomplete" if event.cut else "completed")
            case StreamEnded():
                return [*self._close(), self._end(event)]
        return []

    def _beginning(self) -> list[bytes]:
        self._began = True
        response = self._response("in_progress")
        return [
            self._event("response.created", {"response": response}),
            self._event("response.in_progress", {"response": response}),
        ]

    def _text(self, event: TextDelta) -> bytes:
        self._output.grow(event)
        logprobs = event.logprobs or []
        return self._of_item("response.output_text.delta", content_index=0, delta=event.text, logprobs=logprobs)

    # Calls

    def _begin_call(self, call: WrittenCall) -> bytes:
        self._input = GrowingInput()
        opening = self._output.begin_call(call.call)
        return self._event("response.output_item.added", {"output_index": self._index, "item": opening})

    def _grow_call(self, piece: str) -> list[bytes]:
        if self._output.items[-1]["type"] != "custom_tool_call":
            return [self._of_item("response.function_call_arguments.delta", delta=piece)]
        return self._grow_input(self._input.take(piece))

    def _grow_input(self, text: str) -> list[bytes]:
        return [self._of_item("response.custom_tool_call_input.delta", delta=text)] if text else []

    def _end_call(self, written: WrittenCall, status: str) -> list[bytes]:
        call = written.call
        item = self._output.end_call(call, status)
        if item["type"] == "custom_tool_call":
            text = item["input"]
            told = [
                *self._grow_input(self._input.rest(text)),
                self._of_item("response.custom_tool_call_input.done", input=text),
            ]
        else:
            told = [self._of_item("response.function_call_arguments.done", name=call.name, arguments=call.arguments)]
        return [*told, self._event("response.output_item.done", {"output_index": self._index, "item": item})]

    def _end(self, ended: StreamEnded) -> bytes:
        status = status_of(ended)
        # There is no event for a response that was stopped: it is told as one that failed, and its status says how.
        name = "failed" if status == "cancelled" else status
        return self._event(f"response.{name}", {"response": self._response(status, ended)})

    # Items

    @property
    def _index(self) -> int:
        return len(self._output.items) - 1

    def _into(self, kind: Literal["reasoning", "message"], *, shown: bool = True) -> list[bytes]:
        """What has to be sent before a piece of a text or a thought."""
        if self._output.open == kind:
            return []
        closed = self._close()
        opening = self._output.begin(kind)
        added = self._event("response.output_item.added", {"output_index": self._index, "item": opening})
        if kind == "reasoning":
            part = {"summary_index": 0, "part": {"type": "summary_text", "text": ""}}
            begun = [self._of_item("response.reasoning_summary_part.added", **part)] if shown else []
            return [*closed, added, *begun]
        self._head = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":'
        self._tail = b',"item_id":%b,"output_index":%d,"content_index":0,"logprobs":[],"delta":' % (
            _encode(self._output.id),
            self._index,
        )
        part = {"content_index": 0, "part": self._output.part()}
        return [*closed, added, self._of_item("response.content_part.added", **part)]

    def _close(self, kept: ReasoningKept | None = None) -> list[bytes]:
        output = self._output
        if output.open is None:
            return []
        if output.open == "reasoning":
            text = output.text
            shown = [
                self._of_item("response.reasoning_summary_text.done", summary_index=0, text=text),
                self._of_item(
                    "response.reasoning_summary_part.done",
                    summary_index=0,
                    part={"type": "summary_text", "text": text},
                ),
            ]
            done = shown if text else []
        else:
            part = output.part()
            done = [
                self._of_item(
                    "response.output_text.done", content_index=0, text=part["text"], logprobs=part["logprobs"]
                ),
                self._of_item("response.content_part.done", content_index=0, part=part),
            ]
        item = output.close(kept)
        return [*done, self._event("response.output_item.done", {"output_index": self._index, "item": item})]

    # Events

    def _response(self, status: Any, ended: StreamEnded | None = None) -> ResponseObject:
        return self._asked.response(self._stream, status, self._output.items, ended)

    def _of_item(self, kind: str, /, **fields: Any) -> bytes:
        return self._event(kind, {"item_id": self._output.id, "output_index": self._index, **fields})

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        number = self._next
        self._next += 1
        if number <= self._after:
            return b""
        told = _encode({"type": name, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (name.encode(), told)
