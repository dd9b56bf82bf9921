"""What vendors say when they fail is read from many spellings and cleaned of secrets."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from plugins.vendors.faults import LONGEST_MESSAGE, Fault, clean, read_openai_fault, retry_after


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            b'{"error":{"message":"No.","type":"invalid_request_error","param":"n","code":"bad"}}',
            Fault("No.", "bad", "invalid_request_error", "n"),
        ),
        (b'{"error":{"code":500,"message":"Down","type":"server_error"}}', Fault("Down", "500", "server_error")),
        (b'{"code":"invalid","error":"Wrong key"}', Fault("Wrong key", "invalid")),
        (b'{"error":"model \'x\' not found"}', Fault("model 'x' not found")),
        (
            b'{"object":"error","message":"No","type":"invalid_model","code":"1500"}',
            Fault("No", "1500", "invalid_model"),
        ),
        (b'{"type":"error","code":"server_error","message":"Oops","param":null}', Fault("Oops", "server_error")),
        (
            b'{"type":"response.failed","response":{"error":{"code":"server_error","message":"Oops"}}}',
            Fault("Oops", "server_error"),
        ),
        (b'{"detail":"Not Found"}', Fault("Not Found")),
        (b'{"detail":[{"loc":["body","n"],"msg":"too large"}]}', Fault("body.n: too large")),
        (b'{"error":{"message":{"detail":"No"}}}', Fault("No")),
        (b'{"errors":[{"message":"No"}]}', Fault("No")),
        (b'{"error":{"message":"No","score":NaN}}', Fault("No")),
        (
            b'{"error":{"message":"Failed","metadata":{"raw":"{\\"error\\":{\\"message\\":\\"odd\\"}}"}}}',
            Fault("Failed: odd"),
        ),
        (b'{"error":{"message":"Failed","metadata":{"raw":"odd"}}}', Fault("Failed: odd")),
        (
            b'{"error":{"code":403,"message":"Flagged","metadata":{"reasons":["violence"]}}}',
            Fault("Flagged", "content_policy_violation"),
        ),
        (b"[" * 100_000, Fault("[" * 100_000)),
        (b"upstream gone", Fault("upstream gone")),
        (b"<html><h1>502</h1></html>", Fault()),
        (b"", Fault()),
        (b"[]", Fault()),
        (b"null", Fault()),
        (b"\xff\xfe", Fault("\ufffd\ufffd")),
    ],
)
def test_every_known_spelling_of_an_error_is_read(body: bytes, fault: Fault) -> None:
    assert read_openai_fault(body) == fault


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefgh12345678.",
        "Incorrect API key provided: sk-abcd********wxyz.",
        "bad header Authorization: Bearer my.own-key+format==",
        "GET https://host/v1beta?key=AIzaSyVerySecret12345 failed",
        "via http://user:hunter2@proxy/",
        "the key 0123456789abcdef is wrong",
    ],
)
def test_nothing_that_looks_like_a_key_is_passed_on(text: str) -> None:
    told = clean(text, secret="0123456789abcdef")
    assert "***" in told
    for secret in ("abcdefgh", "wxyz", "my.own", "AIza", "hunter2", "0123456789"):
        assert secret not in told


def test_a_short_stand_in_for_a_key_does_not_star_out_words() -> None:
    assert clean("next example", secret="x") == "next example"


def test_long_messages_become_one_line_of_bounded_length() -> None:
    told = clean("a\n\n b " + "c" * 2000)
    assert told.startswith("a b c")
    assert len(told) == LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "9", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-4"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}, 0.0),
    ],
)
def test_waits_are_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_date_to_come_back_at_is_turned_into_seconds() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after({"Retry-After": date}) == pytest.approx(60, abs=2)
