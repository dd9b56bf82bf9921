"""Errors in Anthropic's shape, so that its clients raise the exception that fits."""

from __future__ import annotations

import msgspec

from engine.api import Answer, EngineError, ErrorBody
from plugins.openai_api.errors import STATUS_OF, bounds_of, error_headers, respelt
from plugins.openai_api.messages_translation import SYSTEM, Places

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class AnthropicError(msgspec.Struct, kw_only=True):
    """What went wrong; `code`, `param` (the field at fault), `limit` and `remaining` are ours."""

    type: str
    message: str
    code: str
    param: str | None = None
    limit: float | msgspec.UnsetType = msgspec.UNSET
    remaining: float | msgspec.UnsetType = msgspec.UNSET


class AnthropicErrorBody(msgspec.Struct, kw_only=True):
    """The body of every answer that is none."""

    type: str = "error"
    error: AnthropicError
    request_id: str | None = None


def answer_error(error: EngineError, request_id: str) -> Answer:
    """An error as `Route.errors` renders it."""
    return error_answer(error.body(), request_id, error.status)


def error_answer(error: ErrorBody, request_id: str, status: int | None = None) -> Answer:
    """An error as an HTTP answer; the status is that of its code where none is given."""
    status = status or STATUS_OF.get(error.code, 502)
    headers = {**error_headers(error), "request-id": request_id}
    return Answer(anthropic_error(error, status, request_id), status, headers)


def anthropic_error(error: ErrorBody, status: int | None = None, request_id: str | None = None) -> AnthropicErrorBody:
    """An error as Anthropic words it."""
    kind = error_type(status or STATUS_OF.get(error.code, 502))
    told = AnthropicError(type=kind, message=error.message, code=error.code, param=error.field, **bounds_of(error))
    return AnthropicErrorBody(error=told, request_id=request_id)


def error_type(status: int) -> str:
    """Anthropic's word for a kind of error, by its HTTP status."""
    return _TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


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
    head, _, rest = field.partition(".")
    if head == "input":
        at, _, inner = rest.partition(".")
        if at.isdigit() and int(at) < len(places):
            if places[int(at)] == SYSTEM:
                return "system"
            return ".".join(filter(None, ("messages", str(places[int(at)]), inner.partition(".")[0])))
        return "messages"
    return ".".join(filter(None, (_NAMES.get(head, head), rest)))
