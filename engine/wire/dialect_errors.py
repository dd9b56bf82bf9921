"""Errors as OpenAI's and Anthropic's clients read them, by HTTP status and code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from engine.api.errors import ErrorBody

# Words that OpenAI's clients look for, where the engine has another one for the same condition.
_CODES = {
    "context_too_long": "context_length_exceeded",
    "unauthenticated": "invalid_api_key",
    "limit_exceeded": "rate_limit_exceeded",
    "budget_exceeded": "insufficient_quota",
    "provider_rate_limited": "rate_limit_exceeded",
}
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class OpenAIError(msgspec.Struct, kw_only=True):
    """What went wrong. `param` names the field at fault, `code` is stable; `limit` and `remaining` are ours."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    limit: float | msgspec.UnsetType = msgspec.UNSET
    remaining: float | msgspec.UnsetType = msgspec.UNSET
    partial: msgspec.Struct | msgspec.UnsetType = msgspec.UNSET
    """What the model had said before the turn failed, where the answer was to be whole."""


class OpenAIErrorBody(msgspec.Struct):
    """The body of every answer that is none."""

    error: OpenAIError


class AnthropicError(msgspec.Struct, kw_only=True):
    """What went wrong; `code`, `param` (the field at fault), `limit` and `remaining` are ours."""

    type: str
    message: str
    code: str
    param: str | None = None
    limit: float | msgspec.UnsetType = msgspec.UNSET
    remaining: float | msgspec.UnsetType = msgspec.UNSET
    partial: msgspec.Struct | msgspec.UnsetType = msgspec.UNSET
    """What the model had said before the turn failed, where the answer was to be whole."""


class AnthropicErrorBody(msgspec.Struct, kw_only=True):
    """The body of every answer that is none."""

    type: str = "error"
    error: AnthropicError
    request_id: str | None = None


def openai_error(error: ErrorBody, status: int, param: str | None) -> OpenAIErrorBody:
    """An error as OpenAI words it; `param` is its field in the client's own spelling."""
    message = error.message
    if error.field is not None and param is not None and message.startswith(error.field):
        message = param + message[len(error.field) :]
    code = _CODES.get(error.code, error.code)
    told = OpenAIError(message=message, type=openai_type(status), param=param, code=code, **bounds_of(error))
    return OpenAIErrorBody(told)


def anthropic_error(error: ErrorBody, status: int, request_id: str | None = None) -> AnthropicErrorBody:
    """An error as Anthropic words it."""
    told = AnthropicError(
        type=anthropic_type(status), message=error.message, code=error.code, param=error.field, **bounds_of(error)
    )
    return AnthropicErrorBody(error=told, request_id=request_id)


def bounds_of(error: ErrorBody) -> dict[str, Any]:
    """The bound that an error names and what is left of it, where it names one."""
    named = {"limit": error.limit, "remaining": error.remaining}
    return {name: value for name, value in named.items() if value is not None}


def openai_type(status: int) -> str:
    """OpenAI's word for a kind of error, by its HTTP status."""
    return _OPENAI_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def anthropic_type(status: int) -> str:
    """Anthropic's word for a kind of error, by its HTTP status."""
    return _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


ErrorForm = Callable[[ErrorBody, int, str], OpenAIErrorBody | AnthropicErrorBody]
"""The body of an answer for an error, its HTTP status and the id of its request."""


def form_of(path: str) -> ErrorForm | None:
    """The dialect whose address this is, whether or not anything answers there; None for an address of the engine's own."""
    segments = path.split("/")[:3]
    if segments[:2] != ["", "v1"]:
        return None
    if segments[2:] == ["messages"]:
        return anthropic_error
    return lambda error, status, request_id: openai_error(error, status, error.field)
