"""Which web pages of other origins may call."""

from __future__ import annotations

import pytest

from engine.http.cors import Cors

APP = "https://app.example.com"
ASK = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization,x-own"}


def test_off_adds_nothing_and_answers_no_preflight() -> None:
    assert Cors().headers(APP) == {}
    assert Cors().preflight("OPTIONS", ASK) is None


def test_a_listed_origin_is_named_and_sees_our_headers() -> None:
    headers = Cors([APP]).headers(APP)

    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Vary"] == "Origin"
    assert {"X-Request-Id", "Retry-After"} <= set(headers["Access-Control-Expose-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    "origin", [None, "https://evil.example", "https://app.example.com:444", "http://app.example.com"]
)
def test_another_origin_gets_nothing_but_the_answer_varies(origin: str | None) -> None:
    assert Cors([APP]).headers(origin) == {"Vary": "Origin"}


def test_a_star_lets_every_page_call() -> None:
    headers = Cors(["*"]).headers("https://anything.example")

    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in headers


def test_a_preflight_of_a_listed_origin_is_answered() -> None:
    answer = Cors([APP]).preflight("OPTIONS", ASK)

    assert answer is not None
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == APP
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,x-own"
    assert answer.headers["Vary"].startswith("Origin")


def test_header_names_that_are_none_are_not_repeated() -> None:
    answer = Cors([APP]).preflight("OPTIONS", {**ASK, "access-control-request-headers": "x\r\nSet-Cookie: a"})

    assert answer is not None
    assert "Set-Cookie" not in answer.headers["Access-Control-Allow-Headers"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("method", "headers"),
    [("OPTIONS", {"origin": APP}), ("POST", ASK), ("OPTIONS", {**ASK, "origin": "https://evil.example"})],
)
def test_what_is_no_preflight_or_of_no_listed_origin_is_left_to_the_routes(
    method: str, headers: dict[str, str]
) -> None:
    assert Cors([APP]).preflight(method, headers) is None


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://app.example.com/", "https://App.example.com", "null", ""]
)
def test_what_is_no_origin_is_named_at_the_start(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin; write scheme://host"):
        Cors([origin])
