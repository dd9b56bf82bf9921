"""A vendor's failures become errors of the engine, in one place."""

import pytest

from engine.api import (
    ContextTooLong,
    EngineError,
    InvalidRequest,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    UnsupportedParameter,
)
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault

ACME = Vendor("Acme", credential="ACME_KEY")
NO_MODEL = Fault("The model `x` does not exist.", "model_not_found")
BUSY = Fault("Slow down")


@pytest.mark.parametrize(
    ("status", "fault", "error"),
    [
        (400, Fault("No"), InvalidRequest),
        (400, Fault("No", "unsupported_parameter", param="temperature"), UnsupportedParameter),
        (400, Fault("Too long", "context_length_exceeded"), ContextTooLong),
        (400, Fault("Too long", "400", "exceed_context_size_error"), ContextTooLong),
        (400, Fault("This model's maximum prompt length is 10 but the request has 20."), ContextTooLong),
        (400, Fault("Invalid model: x", "1500", "invalid_model"), ModelNotFound),
        (400, Fault("Model Not Exist", "invalid_request_error"), ModelNotFound),
        (401, Fault("Wrong key"), ProviderRefused),
        (402, Fault("Insufficient Balance"), ProviderRateLimited),
        (403, NO_MODEL, ProviderRefused),
        (404, NO_MODEL, ModelNotFound),
        (404, Fault("404 page not found"), ProviderError),
        (408, Fault(), ProviderUnavailable),
        (413, Fault("Too large"), InvalidRequest),
        (413, Fault("Request too large", "rate_limit_exceeded"), ProviderRateLimited),
        (418, Fault(), ProviderError),
        (422, Fault("n: too large"), InvalidRequest),
        (429, BUSY, ProviderRateLimited),
        (429, Fault("No money", "insufficient_quota"), ProviderRateLimited),
        (500, Fault(), ProviderUnavailable),
        (500, Fault("maximum context length", "server_error"), ProviderUnavailable),
        (529, Fault("Overloaded", "overloaded_error"), ProviderUnavailable),
        (302, Fault(), ProviderError),
        (None, Fault("Oops", "server_error"), ProviderUnavailable),
        (None, Fault("Oops", "502"), ProviderUnavailable),
        (None, BUSY, ProviderError),
        (None, Fault("Slow", "rate_limit_exceeded"), ProviderRateLimited),
        (None, Fault("No", "invalid_prompt"), InvalidRequest),
    ],
)
def test_each_failure_has_its_error(status: int | None, fault: Fault, error: type[EngineError]) -> None:
    assert type(ACME.failure(fault, status=status)) is error


def test_an_input_that_a_vendor_moderates_is_refused_as_the_callers_and_not_as_a_wrong_key() -> None:
    error = Vendor("Acme").failure(Fault("Input flagged", "content_policy_violation"), status=403)
    assert isinstance(error, InvalidRequest)
    assert "Input flagged" in error.message


def test_an_answer_that_ends_before_it_begins_may_be_asked_for_again() -> None:
    assert Vendor("Acme").empty().retryable


def test_what_the_vendor_says_is_passed_on_with_what_to_do() -> None:
    error = ACME.failure(Fault("Wrong key."), status=401)
    assert error.message == "Acme refused the request: Wrong key. Check ACME_KEY."


def test_a_vendor_that_says_nothing_is_named_with_its_status() -> None:
    assert "Acme cannot answer now: it answered with HTTP status 503" in ACME.failure(b"<html>", status=503).message


def test_waiting_helps_against_a_rate_limit_but_not_against_an_empty_account() -> None:
    limited = ACME.failure(BUSY, status=429, retry_after=7)
    assert (limited.retryable, limited.retry_after) == (True, 7)
    assert not ACME.failure(Fault("No money", "insufficient_quota"), status=429).retryable


def test_a_wait_in_the_body_beats_that_of_the_header() -> None:
    assert ACME.failure(Fault("Slow", retry_after=3.5), status=429, retry_after=60).retry_after == 3.5


@pytest.mark.parametrize(
    ("param", "field"),
    [("max_completion_tokens", "max_output_tokens"), ("messages.[0].role", "input"), ("n", "n"), (None, None)],
)
def test_the_field_at_fault_is_named_as_our_callers_know_it(param: str | None, field: str | None) -> None:
    assert ACME.failure(Fault("No", param=param), status=400).field == field


def test_the_key_is_shown_neither_in_messages_nor_by_the_vendor_itself() -> None:
    vendor = Vendor("Acme", secret="hush-hush-hush")
    assert "hush" not in repr(vendor)
    assert "hush" not in vendor.failure(Fault("You sent hush-hush-hush."), status=400).message


@pytest.mark.parametrize("status", [400, 401, 402, 404, 418, 429, 500, 503])
def test_a_vendors_private_addresses_and_files_are_for_the_log_alone(status: int) -> None:
    words = "boom at http://10.1.2.3:9/v1/x file /opt/secret/vendor.py, see https://acme.example/help"
    error = ACME.failure(Fault(words), status=status)
    for place in ("10.1.2.3", "/opt/secret"):
        assert place not in error.message
        assert error.detail is not None and place in error.detail
    assert "https://acme.example/help" in error.message


def test_an_error_without_places_has_no_other_text_for_the_log() -> None:
    assert ACME.failure(Fault("Slow down"), status=429).detail is None
