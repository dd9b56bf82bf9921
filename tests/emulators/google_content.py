"""A generateContent answer, whole or as stream chunks, with the field names of the Gemini API."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.emulators.base import Event, Rejection, Step, deltas
from tests.emulators.reply import Condition, Say, ToolUse, Usage

# Gemini has no finish reason of its own for tool calls.
FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


class ContentRendering:
    """One `Say` as Gemini content. A refusal without text blocks the prompt, as Gemini's filter does."""

    def __init__(self, say: Say, model: str, number: int, *, prompt: str) -> None:
        self.say = say
        self.usage = usage_of(say.tokens(prompt))
        self.tail = {"modelVersion": model, "responseId": f"response-{number}", **say.extra}

    def steps(self) -> Iterator[Step]:
        say = self.say
        if self._blocked:
            yield Event(self._block())
            return
        yield from deltas(say.reasoning_deltas, self._part(lambda text: {"text": text, "thought": True}))
        yield from deltas(say.text_deltas, self._part(lambda text: {"text": text}))
        for call in say.tool_calls:
            # Gemini sends a call whole: its pieces only say where to hold or break.
            yield from (piece for piece in call.pieces if not isinstance(piece, str))
            yield Event(self._chunk([function_call(call, say.signature)]))
        yield Event(self._chunk([{"text": ""}], finish=True))

    def whole(self) -> Mapping[str, Any]:
        say = self.say
        if self._blocked:
            return self._block()
        thoughts = [{"text": say.full_reasoning, "thought": True}] if say.full_reasoning else []
        texts = [{"text": say.full_text}] if say.full_text else []
        calls = [function_call(call, say.signature) for call in say.tool_calls]
        return self._chunk([*thoughts, *texts, *calls], finish=True)

    def failure(self, rejection: Rejection, condition: Condition) -> Event:
        return Event(rejection.body)

    @property
    def _blocked(self) -> bool:
        return bool(self.say.refusal) and not self.say.full_text

    def _part(self, part: Callable[[str], Mapping[str, Any]]) -> Callable[[str], Event]:
        return lambda text: Event(self._chunk([part(text)]))

    def _chunk(self, parts: list[Mapping[str, Any]], *, finish: bool = False) -> Mapping[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = FINISH_REASONS[self.say.finished]
            if self.say.citations:
                candidate["groundingMetadata"] = grounding(self.say)
        return {"candidates": [candidate], "usageMetadata": self.usage, **self.tail}

    def _block(self) -> Mapping[str, Any]:
        return {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": {name: self.usage[name] for name in ("promptTokenCount", "totalTokenCount")},
            **self.tail,
        }


def function_call(call: ToolUse, signature: str) -> Mapping[str, Any]:
    """Arguments are an object on this wire: broken JSON has no way through."""
    return {
        "functionCall": {"id": call.id, "name": call.name, "args": json.loads(call.json)},
        "thoughtSignature": signature,
    }


def grounding(say: Say) -> Mapping[str, Any]:
    """Sources and the spans they support; Gemini counts `startIndex` and `endIndex` in UTF-8 bytes."""
    text = say.full_text
    supports = []
    for index, citation in enumerate(say.citations):
        quoted = text[citation.start : citation.end]
        start = len(text[: citation.start].encode())
        segment = {"startIndex": start, "endIndex": start + len(quoted.encode()), "text": quoted}
        supports.append({"segment": segment, "groundingChunkIndices": [index]})
    return {
        "webSearchQueries": [say.citations[0].title or "the web"],
        "groundingChunks": [{"web": {"uri": citation.url, "title": citation.title}} for citation in say.citations],
        "groundingSupports": supports,
        "searchEntryPoint": {"renderedContent": "<div></div>"},
    }


def usage_of(usage: Usage) -> Mapping[str, int]:
    """`candidatesTokenCount` leaves out the thoughts; `promptTokenCount` contains what was cached."""
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
    }
    optional = {"thoughtsTokenCount": usage.reasoning, "cachedContentTokenCount": usage.cached}
    return counts | {name: count for name, count in optional.items() if count}
