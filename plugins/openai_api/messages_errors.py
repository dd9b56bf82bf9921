"""Errors in Anthropic's shape, so that its clients raise the exception that fits."""

from __future__ import annotations

from engine.api import Answer, EngineError, ErrorBody
from engine.wire import dialect_errors
from engine.wire.dialect_errors import AnthropicErrorBody
from plugins.openai_api.errors import STATUS_OF, error_headers, respelt, with_partial
from plugins.openai_api.messages_translation import DIALECT, SYSTEM, Places


def answer_error(error: EngineError, request_id: str) -> Answer:
    """An error as `Route.errors` renders it."""
    return with_partial(error_answer(error.body(), request_id, error.status), error)


def error_answer(error: ErrorBody, request_id: str, status: int | None = None) -> Answer:
    """An error as an HTTP answer; the status is that of its code where none is given."""
    status = status or STATUS_OF.get(error.code, 502)
    headers = {**error_headers(error), "request-id": request_id}
    return Answer(anthropic_error(error, status, request_id), status, headers)


def anthropic_error(error: ErrorBody, status: int | None = None, request_id: str | None = None) -> AnthropicErrorBody:
    """An error as Anthropic words it."""
    return dialect_errors.anthropic_error(error, status or STATUS_OF.get(error.code, 502), request_id)


# The fields of `chat.send` that are called otherwise here.
_NAMES = {
    "instructions": "system",
    "max_output_tokens": "max_tokens",
    "stop": "stop_sequences",
    "reasoning": "thinking",
    "response_format": "output_config.format",
    "user": "metadata.user_id",
}


def told_here(error: EngineError, places: Places) -> EngineError:
    """The same error, whose field is one of this dialect's."""
    return respelt(error, lambda field: _field(field, places))


def _field(field: str, places: Places) -> str:
    field = field.removeprefix(f"native.{DIALECT}.")
    head, _, rest = field.partition(".")
    if head == "input":
        at, _, inner = rest.partition(".")
        if at.isdigit() and int(at) < len(places):
            if places[int(at)] == SYSTEM:
                return "system"
            return ".".join(filter(None, ("messages", str(places[int(at)]), inner.partition(".")[0])))
        return "messages"
    return ".".join(filter(None, (_NAMES.get(head, head), rest)))
