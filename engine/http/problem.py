"""Errors as HTTP answers: problem+json (RFC 9457) with the engine's own codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import msgspec

from engine.api.errors import EngineError, Internal, RangeNotSatisfiable, Unauthenticated, UpgradeRequired
from engine.api.routes import Answer
from engine.api.streams import Partial
from engine.http.table import WrongMethod
from engine.wire.dialect_errors import ErrorForm, form_of

CONTENT_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An error over HTTP. `code` is stable, `detail` is a sentence for a person, `request` is the request's id.

    `field` is the dotted path of the part at fault; `retry_after` is in seconds; `limit` is the bound that was reached
    and `remaining` what is left of it.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool
    request: str
    field: str | None = None
    retry_after: float | None = None
    partial: Partial | None = None
    """What the turn had said before it failed."""
    limit: float | None = None
    remaining: float | None = None


def answer_error(
    error: BaseException,
    request_id: str,
    render: Callable[[EngineError, str], Answer] | None = None,
    path: str = "",
) -> Answer:
    """The answer to a request that failed; what is no `EngineError` is told as `internal` and nothing of it is shown.

    `render` is a dialect's own form (`Route.errors`). Without one an error at an address of a dialect (`path`) has that
    dialect's shape, also where no route answers and where the plugin that has the address is off. The headers that the status
    demands (Retry-After, Allow, WWW-Authenticate) are added to any form.
    """
    known = error if isinstance(error, EngineError) else unforeseen()
    form = form_of(path) if render is None else None
    answer = (render or problem_answer)(known, request_id) if form is None else in_form(form, known, request_id)
    return replace(answer, headers={**_headers(known), **answer.headers})


def in_form(form: ErrorForm, error: EngineError, request_id: str) -> Answer:
    """The error in the shape of a dialect."""
    headers = {"Cache-Control": "no-store", "x-should-retry": "true" if error.retryable else "false"}
    return Answer(form(error.body(), error.status, request_id), error.status, headers)


def problem_answer(error: EngineError, request_id: str) -> Answer:
    """The error as problem+json."""
    return Answer(
        problem(error, request_id),
        error.status,
        {"Cache-Control": "no-store"},
        CONTENT_TYPE,
    )


def problem(error: EngineError, request_id: str) -> Problem:
    """The error as the members of a problem document."""
    return Problem(
        type=problem_type(error.code),
        title=title(error.code),
        status=error.status,
        detail=error.message,
        code=error.code,
        field=error.field,
        retryable=error.retryable,
        retry_after=error.retry_after,
        limit=error.limit,
        remaining=error.remaining,
        request=request_id,
        partial=error.partial if isinstance(error.partial, Partial) else None,
    )


def problem_type(code: str) -> str:
    """The address that explains a code, relative to the server."""
    return f"/docs/errors#{code}"


def title(code: str) -> str:
    """A code as words: the same for every error of that code."""
    return code.replace("_", " ").capitalize()


def unforeseen() -> Internal:
    """What a client is told of a failure that nobody foresaw; the cause stands in the log."""
    return Internal("the server failed in a way it did not foresee; its log has the cause under this request's id")


def _headers(error: EngineError) -> dict[str, str]:
    headers = {}
    if error.retry_after is not None and math.isfinite(error.retry_after):
        headers["Retry-After"] = str(max(0, math.ceil(error.retry_after)))
    if isinstance(error, WrongMethod):
        headers["Allow"] = ", ".join(error.allow)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UpgradeRequired):
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return headers
