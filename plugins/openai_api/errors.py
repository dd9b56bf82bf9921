"""Errors in OpenAI's shape, so that its clients raise the exception that fits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from engine.api import Answer, EngineError, ErrorBody

# Words that OpenAI's clients look for, where the engine has another one for the same condition.
_CODES = {
    "context_too_long": "context_length_exceeded",
    "unauthenticated": "invalid_api_key",
    "limit_exceeded": "rate_limit_exceeded",
    "budget_exceeded": "insufficient_quota",
    "provider_rate_limited": "rate_limit_exceeded",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# The fields of `chat.send` that are called otherwise here, longest first.
_PARAMS = (
    (re.compile(r"(input\.\d+\.content\.\d+)\.(?:url|data)"), r"\1"),
    (re.compile(r"input\.(\d+)\.tool_calls\.(\d+)\.call_id"), r"messages.\1.tool_calls.\2.id"),
    (re.compile(r"input\.(\d+)\.tool_calls\.(\d+)\.(name|arguments)"), r"messages.\1.tool_calls.\2.function.\3"),
    (re.compile(r"input\b"), "messages"),
    (re.compile(r"tools\.(\d+)\.(name|description|parameters|strict)"), r"tools.\1.function.\2"),
    (re.compile(r"tool_choice\.name"), "tool_choice.function.name"),
    (re.compile(r"response_format\.(name|schema|strict)"), r"response_format.json_schema.\1"),
    (re.compile(r"max_output_tokens"), "max_completion_tokens"),
    (re.compile(r"reasoning$"), "reasoning_effort"),
    (re.compile(r"provider_options\."), ""),
    (re.compile(r"key$"), "Idempotency-Key"),
)


TURN_STATUSES: Mapping[int, str] = {
    404: "model_not_found",
    409: "conflict, idempotency_conflict",
    429: "rate_limit_exceeded",
    502: "provider_error and its kin",
    503: "model_unavailable",
    504: "provider_timeout",
}
"""What a request for a turn may be answered with, besides the answer and what was wrong with the request."""

Spelling: TypeAlias = Callable[[str | None], str | None]
"""From a field of `chat.send` to the one that a client knows."""


class OpenAIError(msgspec.Struct, kw_only=True):
    """What went wrong. `param` names the field at fault, `code` is stable; `limit` and `remaining` are ours."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    limit: float | msgspec.UnsetType = msgspec.UNSET
    remaining: float | msgspec.UnsetType = msgspec.UNSET


class OpenAIErrorBody(msgspec.Struct):
    """The body of every answer that is none."""

    error: OpenAIError


def answer_error(error: EngineError, request_id: str) -> Answer:
    """An error as `Route.errors` renders it."""
    return error_answer(error.body(), error.status)


def error_answer(error: ErrorBody, status: int | None = None, spelt: Spelling | None = None) -> Answer:
    """An error as an HTTP answer; the status is that of its code where none is given."""
    status = status or STATUS_OF.get(error.code, 502)
    return Answer(openai_error(error, status, spelt), status, error_headers(error))


def error_headers(error: ErrorBody) -> dict[str, str]:
    """When, and whether, to ask again.

    `x-should-retry` keeps the official clients from repeating what cannot succeed, and what was paid for already.
    """
    headers = {"Cache-Control": "no-store", "x-should-retry": "true" if error.retryable else "false"}
    if error.retry_after is not None and math.isfinite(error.retry_after):
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))
    return headers


def openai_error(error: ErrorBody, status: int | None = None, spelt: Spelling | None = None) -> OpenAIErrorBody:
    """An error as OpenAI words it; `spelt` names its field in another dialect than that of Chat Completions."""
    param = (spelt or param_of)(error.field)
    message = error.message
    if error.field is not None and param is not None and message.startswith(error.field):
        message = param + message[len(error.field) :]
    kind = error_type(status or STATUS_OF.get(error.code, 502))
    code = _CODES.get(error.code, error.code)
    return OpenAIErrorBody(OpenAIError(message=message, type=kind, param=param, code=code, **bounds_of(error)))


def bounds_of(error: ErrorBody) -> dict[str, float]:
    """The bound that an error names and what is left of it, where it names one."""
    named = {"limit": error.limit, "remaining": error.remaining}
    return {name: value for name, value in named.items() if value is not None}


def respelt(error: EngineError, spelt: Callable[[str], str]) -> EngineError:
    """The same error, whose field is named as a dialect spells it."""
    if (field := error.field) is not None:
        error.field = spelt(field)
        if error.message.startswith(field):
            error.message = error.field + error.message[len(field) :]
    return error


def error_type(status: int) -> str:
    """OpenAI's word for a kind of error, by its HTTP status."""
    return _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def param_of(field: str | None) -> str | None:
    """The field of Chat Completions that a field of `chat.send` was made of."""
    if field is None:
        return None
    for pattern, param in _PARAMS:
        if pattern.match(field):
            field = pattern.sub(param, field, count=1)
    return field


def _statuses(kind: type[EngineError]) -> Iterator[tuple[str, int]]:
    yield kind.code, kind.status
    for child in kind.__subclasses__():
        yield from _statuses(child)


STATUS_OF: Mapping[str, int] = dict(_statuses(EngineError))
"""HTTP status by code, for errors that a stream ended with."""
