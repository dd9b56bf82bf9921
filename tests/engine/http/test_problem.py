"""Errors as HTTP answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from engine.api.errors import EngineError, InvalidRequest, LimitExceeded, Overloaded, Unauthenticated
from engine.api.routes import Answer
from engine.http.problem import answer_error
from engine.http.table import WrongMethod


def shown(answer: Answer) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(msgspec.json.encode(answer.body))
    return members


def test_an_error_is_a_problem_with_its_code_and_request() -> None:
    answer = answer_error(InvalidRequest("n must be 1 or more, not 0", field="n"), "r1")

    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    assert shown(answer) == {
        "type": "/docs/errors#invalid_request",
        "title": "Invalid request",
        "status": 400,
        "detail": "n must be 1 or more, not 0",
        "code": "invalid_request",
        "field": "n",
        "retryable": False,
        "request": "r1",
    }


def test_what_nobody_foresaw_shows_nothing_of_itself() -> None:
    answer = answer_error(RuntimeError("password is hunter2"), "r1")

    assert (answer.status, shown(answer)["code"]) == (500, "internal")
    assert "hunter2" not in repr(answer)


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (7, "7"), (-1, "0")])
def test_retry_after_stands_in_whole_seconds_in_the_header(seconds: float, header: str) -> None:
    answer = answer_error(LimitExceeded("too many", retry_after=seconds), "r1")

    assert answer.headers["Retry-After"] == header
    assert shown(answer)["retry_after"] == seconds
    assert shown(answer)["retryable"] is True


def test_the_bound_that_was_reached_and_what_is_left_of_it_are_numbers() -> None:
    shown_there = shown(answer_error(LimitExceeded("too many", limit=3, remaining=0), "r1"))

    assert (shown_there["limit"], shown_there["remaining"]) == (3, 0)


def test_an_error_without_a_bound_names_none() -> None:
    assert not {"limit", "remaining"} & shown(answer_error(Overloaded("full"), "r1")).keys()


def test_without_a_time_there_is_no_retry_after() -> None:
    assert "Retry-After" not in answer_error(Overloaded("full"), "r1").headers


def test_a_wrong_method_lists_those_allowed() -> None:
    assert answer_error(WrongMethod("PUT", "/x", ["GET", "POST"]), "r1").headers["Allow"] == "GET, POST"


def test_a_missing_credential_is_asked_for() -> None:
    assert answer_error(Unauthenticated("no key"), "r1").headers["WWW-Authenticate"] == "Bearer"


def test_a_dialect_renders_the_error_and_keeps_the_headers() -> None:
    def render(error: EngineError, request_id: str) -> Answer:
        return Answer({"error": {"message": error.message, "id": request_id}}, error.status, {"X-Dialect": "yes"})

    answer = answer_error(LimitExceeded("too many", retry_after=3), "r1", render)

    assert answer.body == {"error": {"message": "too many", "id": "r1"}}
    assert answer.headers == {"Retry-After": "3", "X-Dialect": "yes"}
    assert "hunter2" not in repr(answer_error(RuntimeError("hunter2"), "r1", render))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/nothing", "openai"),
        ("/v1/models/", "openai"),
        ("/v1", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/nothing", "anthropic"),
        ("/api/v1/nothing", None),
        ("/v1beta/nothing", None),
        ("/", None),
    ],
)
def test_an_error_has_the_shape_of_the_dialect_whose_address_was_asked(path: str, kind: str | None) -> None:
    answer = answer_error(WrongMethod("PUT", path, ["GET"]), "r1", path=path)
    told = shown(answer)
    assert answer.status == 405 and answer.headers["Allow"] == "GET"
    if kind is None:
        assert told["code"] == "method_not_allowed" and told["detail"]
        return
    assert told["error"]["type"] == "invalid_request_error" and told["error"]["code"] == "method_not_allowed"
    assert told["error"]["message"].startswith("PUT is not allowed")
    assert (told.get("type"), told.get("request_id")) == (("error", "r1") if kind == "anthropic" else (None, None))
