"""Errors of Responses: in OpenAI's shape, with the fields as this dialect spells them."""

from __future__ import annotations

from engine.api import Answer, EngineError
from plugins.openai_api.errors import error_answer, respelt, with_partial
from plugins.openai_api.responses_translation import Places

_NAMES = {
    "conversation": "previous_response_id",
    "parent": "previous_response_id",
    "logprobs": "top_logprobs",
    "reasoning": "reasoning.effort",
    "response_format": "text.format",
    "key": "Idempotency-Key",
}


def answer_error(error: EngineError, request_id: str) -> Answer:
    """An error as `Route.errors` renders it."""
    return with_partial(error_answer(error.body(), error.status, spelt=lambda field: field), error)


def told_here(error: EngineError, places: Places) -> EngineError:
    """The same error, whose field is one of this dialect's."""
    return respelt(error, lambda field: _field(field, places))


def _field(field: str, places: Places) -> str:
    head, _, rest = field.partition(".")
    if head == "provider_options":
        return rest or head
    if head == "input" and rest:
        at, _, inner = rest.partition(".")
        if not at.isdigit() or int(at) >= len(places):
            return "input"
        return ".".join(filter(None, ("input", str(places[int(at)]), inner.partition(".")[0])))
    return ".".join(filter(None, (_NAMES.get(head, head), rest)))
