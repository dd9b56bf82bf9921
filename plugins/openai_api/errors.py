"""Errors in OpenAI's shape, so that its clients raise the exception that fits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from engine.api import Answer, EngineError, ErrorBody
from engine.wire import dialect_errors
from engine.wire.dialect_errors import OpenAIErrorBody

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
    404: "model_not_found, feature_disabled",
    409: "conflict, idempotency_conflict",
    429: "rate_limit_exceeded",
    502: "provider_error and its kin",
    503: "model_unavailable",
    504: "provider_timeout",
}
"""What a request for a turn may be answered with, besides the answer and what was wrong with the request."""

Spelling: TypeAlias = Callable[[str | None], str | None]
"""From a field of `chat.send` to the one that a client knows."""


def answer_error(error: EngineError, request_id: str) -> Answer:
    """An error as `Route.errors` renders it."""
    return with_partial(error_answer(error.body(), error.status), error)


def error_answer(error: ErrorBody, status: int | None = None, spelt: Spelling | None = None) -> Answer:
    """An error as an HTTP answer; the status is that of its code where none is given."""
    status = status or STATUS_OF.get(error.code, 502)
    return Answer(openai_error(error, status, spelt), status, error_headers(error))


def with_partial(answer: Answer, error: EngineError) -> Answer:
    """The answer, with what the turn had said before it failed beside the error's other members."""
    if error.partial is not None:
        answer.body.error.partial = error.partial
    return answer


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
    return dialect_errors.openai_error(error, status or STATUS_OF.get(error.code, 502), param)


def respelt(error: EngineError, spelt: Callable[[str], str]) -> EngineError:
    """The same error, whose field is named as a dialect spells it."""
    if (field := error.field) is not None:
        error.field = spelt(field)
        if error.message.startswith(field):
            error.message = error.field + error.message[len(field) :]
    return error


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
