"""Errors from which the official SDK raises the right exception."""

from __future__ import annotations

import msgspec
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from engine.api import (
    Answer,
    ContextTooLong,
    EngineError,
    ErrorBody,
    Forbidden,
    IdempotencyConflict,
    InvalidRequest,
    LimitExceeded,
    ModelNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ShuttingDown,
    Unauthenticated,
)
from engine.wire.dialect_errors import OpenAIErrorBody
from plugins.openai_api import messages_errors
from plugins.openai_api.errors import answer_error, error_answer, param_of
from plugins.openai_api.realtime_log import SessionLog


def rendered(answer: Answer) -> OpenAIErrorBody:
    return msgspec.json.decode(msgspec.json.encode(answer.body), type=OpenAIErrorBody)


@pytest.mark.parametrize(
    ("error", "raised", "kind", "code"),
    [
        (InvalidRequest("no"), openai.BadRequestError, "invalid_request_error", "invalid_request"),
        (ContextTooLong("no"), openai.BadRequestError, "invalid_request_error", "context_length_exceeded"),
        (Unauthenticated("no"), openai.AuthenticationError, "authentication_error", "invalid_api_key"),
        (Forbidden("no"), openai.PermissionDeniedError, "permission_error", "forbidden"),
        (ModelNotFound("no"), openai.NotFoundError, "invalid_request_error", "model_not_found"),
        (IdempotencyConflict("no"), openai.ConflictError, "invalid_request_error", "idempotency_conflict"),
        (ProviderRateLimited("no"), openai.RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
        (ProviderRefused("no"), openai.InternalServerError, "server_error", "provider_refused"),
        (ProviderTimeout("no"), openai.InternalServerError, "server_error", "provider_timeout"),
    ],
)
async def test_the_sdk_raises_the_exception_that_fits(
    error: EngineError, raised: type[openai.APIStatusError], kind: str, code: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        made = answer_error(error, "r1")
        return web.json_response(msgspec.to_builtins(made.body), status=made.status, headers=made.headers)

    app = web.Application()
    app.router.add_route("*", "/v1/models", answer)
    async with (
        TestServer(app) as server,
        openai.AsyncOpenAI(api_key="k", base_url=str(server.make_url("/v1"))) as client,
    ):
        with pytest.raises(raised) as caught:
            await client.with_options(max_retries=0).models.list()
    assert (caught.value.type, caught.value.code) == (kind, code)


def test_only_what_may_succeed_is_repeated() -> None:
    again = answer_error(ShuttingDown("later", retry_after=0.2), "r1")
    never = answer_error(ProviderRefused("no"), "r1")
    assert (again.headers["x-should-retry"], again.headers["Retry-After"]) == ("true", "1")
    assert never.headers["x-should-retry"] == "false" and "Retry-After" not in never.headers


def test_a_bound_and_what_is_left_of_it_stand_beside_what_openai_knows() -> None:
    bounded = LimitExceeded("3 streams run already", limit=3, remaining=0)
    openai, anthropic = answer_error(bounded, "r1"), messages_errors.answer_error(bounded, "r1")
    for told in (openai, anthropic):
        members = msgspec.json.decode(msgspec.json.encode(told.body))["error"]
        assert (members["limit"], members["remaining"]) == (3, 0)
    in_a_call = SessionLog().error(bounded.body())["error"]
    assert (in_a_call["limit"], in_a_call["remaining"]) == (3, 0)


def test_an_error_without_a_bound_has_the_members_that_openai_knows_alone() -> None:
    members = msgspec.json.decode(msgspec.json.encode(answer_error(ShuttingDown("later"), "r1").body))
    assert members["error"].keys() == {"message", "type", "param", "code"}


def test_a_stream_that_failed_has_the_status_of_its_code() -> None:
    timeout = ErrorBody(code="provider_timeout", message="slow", retryable=True)
    unheard = ErrorBody(code="unheard_of", message="odd", retryable=False)
    assert [error_answer(error).status for error in (timeout, unheard)] == [504, 502]


def test_the_message_begins_with_the_name_that_the_client_knows() -> None:
    error = InvalidRequest("input.2.content.0.url is not base64", field="input.2.content.0.url")
    told = rendered(answer_error(error, "r1")).error
    assert told.param == "messages.2.content.0"
    assert told.message == "messages.2.content.0 is not base64"


@pytest.mark.parametrize(
    ("field", "param"),
    [
        (None, None),
        ("input", "messages"),
        ("input.0.tool_calls.1.name", "messages.0.tool_calls.1.function.name"),
        ("input.0.tool_calls.1.call_id", "messages.0.tool_calls.1.id"),
        ("tools.0.parameters", "tools.0.function.parameters"),
        ("response_format.schema", "response_format.json_schema.schema"),
        ("max_output_tokens", "max_completion_tokens"),
        ("reasoning", "reasoning_effort"),
        ("reasoning_effort", "reasoning_effort"),
        ("logprobs", "logprobs"),
        ("provider_options.top_k", "top_k"),
        ("key", "Idempotency-Key"),
        ("temperature", "temperature"),
    ],
)
def test_fields_of_the_command_have_their_names_of_this_dialect(field: str | None, param: str | None) -> None:
    assert param_of(field) == param
