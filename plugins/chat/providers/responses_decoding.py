"""The event stream of OpenAI's Responses, decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import UNSET, structs

from engine.api import (
    Answered,
    Citation,
    Extra,
    Finish,
    FinishReason,
    ReasoningPart,
    StatusChanged,
    Usage,
)
from engine.wire.counts import count
from engine.wire.sse import SseEvent
from plugins.chat.providers.responses_calls import Calls
from plugins.chat.providers.responses_events import (
    Response,
    ResponseUsage,
    read_annotation,
    read_arguments,
    read_call,
    read_item,
    read_message,
    read_piece,
    read_reasoning,
    read_response,
    read_summary_part,
    read_type,
    read_whole,
)
from plugins.vendors.decoding import Decoder
from plugins.vendors.failures import Vendor

INCOMPLETE: Mapping[str, FinishReason] = {"content_filter": "content_filter", "steered": "stop"}


class ResponsesDecoder(Decoder):
    """One answer of Responses. `provider` marks the thinking that OpenAI wants back in the next step."""

    def __init__(self, vendor: Vendor, provider: str) -> None:
        super().__init__(vendor)
        self._provider = provider
        self._calls = Calls(vendor, self.out)
        self._searches = 0
        self._texts: set[int | str | None] = set()
        """Messages of which text was given out: by their places and ids; None stands for one whose place was not said."""
        self._kept: set[str] = set()

    def event(self, event: SseEvent) -> None:
        handle = _HANDLERS.get(event.name)
        if handle is None:
            # One that is of no use, or that lost its name on the way: each event repeats it inside.
            handle = self._by_type(event.data)
        if handle is not None:
            handle(self, event.data)

    def body_ended(self) -> None:
        raise self.vendor.cut_off()

    def _by_type(self, data: bytes) -> Callable[[ResponsesDecoder, bytes], None] | None:
        if data.strip() in (b"", b"[DONE]"):
            return None
        if data[:1] != b"{":
            return ResponsesDecoder._failed
        inside = self.read(read_type, data)
        if not inside.type and inside.object == "response":
            return ResponsesDecoder._whole
        return _HANDLERS.get(inside.type.encode() or (b"error" if inside.error else b""))

    def _whole(self, data: bytes) -> None:
        """A response in one piece, of a server that streams none."""
        response = self.read(read_whole, data)
        if response.model:
            self.out.add(Answered(response.model))
        self._completed(b'{"response":%b}' % data)

    def _text(self, data: bytes) -> None:
        piece = self.read(read_piece, data)
        place = piece.output_index
        if place is None or place not in self._texts:
            self._texts.update((place, piece.item_id or place))
        self.out.text(piece.delta)

    def _thinking(self, data: bytes) -> None:
        self.out.reasoning(self.read(read_piece, data).delta)

    def _summary_part(self, data: bytes) -> None:
        if self.read(read_summary_part, data).summary_index > 0:
            self.out.reasoning("\n\n")

    def _created(self, data: bytes) -> None:
        if model := self.read(read_response, data).response.model:
            self.out.add(Answered(model))

    def _annotation(self, data: bytes) -> None:
        added = self.beside(read_annotation, data)
        source = added.annotation if added is not None else None
        if source is not None and source.type == "url_citation":
            self.cite([Citation(url=source.url, title=source.title, start=source.start_index, end=source.end_index)])

    def _searching(self, data: bytes) -> None:
        self._searches += 1
        self.out.add(StatusChanged(stage="web_search", detail="Searching the web."))

    def _item_added(self, data: bytes) -> None:
        added = self.read(read_item, data)
        item = bytes(added.item)
        if self.read(read_type, item).type == "function_call":
            self._calls.begin(added.output_index, self.read(read_call, item))

    def _arguments(self, data: bytes) -> None:
        piece = self.read(read_piece, data)
        self._calls.grow(piece.output_index, piece.item_id, piece.delta)

    def _arguments_done(self, data: bytes) -> None:
        done = self.read(read_arguments, data)
        self._calls.written(done.output_index, done.item_id, done.arguments)

    def _item_done(self, data: bytes) -> None:
        done = self.read(read_item, data)
        item = bytes(done.item)
        match self.read(read_type, item).type:
            case "function_call":
                self._calls.end(done.output_index, self.read(read_call, item))
            case "message":
                self._message(item, done.output_index)
            case "reasoning":
                self._keep_reasoning(item)

    def _message(self, item: bytes, place: int | None) -> None:
        """Give out a message of which no piece came."""
        message = self.read(read_message, item)
        if self._texts.isdisjoint({place, message.id, None}):
            self._texts.update((place, message.id or place))
            self.out.text("".join(part.text or part.refusal for part in message.content))

    def _missing(self, response: Response) -> None:
        """Give out what only the whole tells: servers differ in which events they send before it."""
        called, said = self._calls.given > 0, bool(self._texts)
        for place, raw in enumerate(response.output):
            item = bytes(raw)
            match self.read(read_type, item).type:
                case "function_call" if not called:
                    self._calls.end(place, self.read(read_call, item))
                case "message" if not said:
                    self._message(item, place)
                case "reasoning":
                    self._keep_reasoning(item)

    def _keep_reasoning(self, item: bytes) -> None:
        thinking = self.read(read_reasoning, item)
        # Without its encrypted content a response that is not stored cannot be referred to.
        if thinking.encrypted_content and thinking.encrypted_content not in self._kept:
            self._kept.add(thinking.encrypted_content)
            text = "\n\n".join(part.text for part in thinking.summary)
            self.out.add(
                ReasoningPart(provider=self._provider, text=text, signature=thinking.encrypted_content, id=thinking.id)
            )

    def _completed(self, data: bytes) -> None:
        response = self.read(read_response, data).response
        if response.status in ("failed", "cancelled"):
            raise self.vendor.failure(data)
        if response.status == "incomplete":
            return self._incomplete(data)
        self._missing(response)
        self._calls.close()
        return self._conclude(response, "tool_calls" if self._calls.given else "stop")

    def _incomplete(self, data: bytes) -> None:
        response = self.read(read_response, data).response
        self._missing(response)
        reason = response.incomplete_details.reason if response.incomplete_details else None
        self._conclude(response, INCOMPLETE.get((reason or "").lower(), "length"))

    def _failed(self, data: bytes) -> None:
        raise self.vendor.failure(data)

    def _conclude(self, response: Response, reason: FinishReason) -> None:
        self.out.add(Finish(reason))
        told = {"id": response.id, "service_tier": response.service_tier}
        if fields := {name: value for name, value in told.items() if value is not None}:
            self.out.add(Extra(fields))
        if response.usage is not None:
            searches = sum(self.read(read_type, bytes(item)).type == "web_search_call" for item in response.output)
            self.out.add(structs.replace(usage_of(response.usage), searches=max(searches, self._searches) or UNSET))
        self.over = True


_HANDLERS: Mapping[bytes, Callable[[ResponsesDecoder, bytes], None]] = {
    b"response.output_text.delta": ResponsesDecoder._text,
    b"response.refusal.delta": ResponsesDecoder._text,
    b"response.reasoning_summary_text.delta": ResponsesDecoder._thinking,
    b"response.reasoning_text.delta": ResponsesDecoder._thinking,
    b"response.reasoning_summary_part.added": ResponsesDecoder._summary_part,
    b"response.output_text.annotation.added": ResponsesDecoder._annotation,
    b"response.output_item.added": ResponsesDecoder._item_added,
    b"response.function_call_arguments.delta": ResponsesDecoder._arguments,
    b"response.function_call_arguments.done": ResponsesDecoder._arguments_done,
    b"response.output_item.done": ResponsesDecoder._item_done,
    b"response.web_search_call.searching": ResponsesDecoder._searching,
    b"response.created": ResponsesDecoder._created,
    b"response.completed": ResponsesDecoder._completed,
    b"response.incomplete": ResponsesDecoder._incomplete,
    b"response.failed": ResponsesDecoder._failed,
    b"error": ResponsesDecoder._failed,
}


def usage_of(usage: ResponseUsage) -> Usage:
    """The vendor's counts as ours."""
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details else None
    reasoning = usage.output_tokens_details.reasoning_tokens if usage.output_tokens_details else None
    return Usage(
        input_tokens=count(usage.input_tokens),
        output_tokens=count(usage.output_tokens),
        cached_tokens=count(cached),
        reasoning_tokens=count(reasoning),
    )
