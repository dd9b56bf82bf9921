"""Anthropic's Messages API with token counting and models."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from aiohttp import web

from tests.emulators.anthropic_messages import MessageRendering
from tests.emulators.base import Emulator, RecordedRequest, Rejection, texts_in
from tests.emulators.reply import Condition, Say
from tests.emulators.validation import Invalid, RequestCheck

SHOWN_MODELS = ("claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5")

# condition -> status, type, message
ERRORS: Mapping[Condition, tuple[int, str, str]] = {
    "bad_request": (400, "invalid_request_error", "Invalid request."),
    "context_too_long": (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
    "quota": (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "invalid_key": (401, "authentication_error", "invalid x-api-key"),
    "permission": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "model_not_found": (404, "not_found_error", "model: unknown"),
    "not_found": (404, "not_found_error", "Not Found"),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "rate_limit": (429, "rate_limit_error", "This request would exceed your account's rate limit."),
    "server": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}
SMALLEST_THINKING_BUDGET = 1024


class AnthropicEmulator(Emulator):
    """Anthropic on loopback; `base_url` is the bare address, as the SDK wants it.

    `extra_fields` are top-level request fields to accept beside those of the SDK's type, which has no `temperature`,
    `top_p` and `top_k`; any other unknown field is refused as the vendor refuses it.
    """

    first_event_name = "message_start"

    def __init__(self, *, extra_fields: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(**options)
        self.extra_fields = extra_fields

    async def answer(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        self._authenticate(record)
        match record.method, record.path:
            case "POST", "/v1/messages":
                return await self._messages(record, request)
            case "POST", "/v1/messages/count_tokens":
                body = self._checked(count_check(), record)
                return web.json_response({"input_tokens": len(prompt_of(body).split())})
            case "GET", "/v1/models":
                return web.json_response(self._model_page())
            case "GET", path if path.startswith("/v1/models/"):
                self._require_model(path.removeprefix("/v1/models/"))
                return web.json_response(model_card(path.removeprefix("/v1/models/")))
        raise self.rejection("not_found")

    def rejection(self, condition: Condition, message: str | None = None, **details: Any) -> Rejection:
        status, kind, text = ERRORS[condition]
        return self._error(status, kind, message or text)

    def rejection_of_status(self, status: int, message: str | None = None) -> Rejection:
        for known, kind, text in ERRORS.values():
            if known == status:
                return self._error(status, kind, message or text)
        kind = "api_error" if status >= 500 else "invalid_request_error"
        return self._error(status, kind, message or f"The request failed with status {status}.")

    def last_user_text(self, body: Any) -> str:
        turns = (turn for turn in reversed(body["messages"]) if turn["role"] == "user")
        return next((texts_in(turn["content"]) for turn in turns), "")

    def _error(self, status: int, kind: str, message: str) -> Rejection:
        error = {"type": kind, "message": message}
        return Rejection(status, {"type": "error", "error": error, "request_id": f"req_{next(self.numbers)}"})

    async def _messages(self, record: RecordedRequest, request: web.Request) -> web.StreamResponse:
        body = self._checked(message_check(self.extra_fields), record)
        self._require_room_for_thinking(body)
        self._require_answered_tools(body["messages"])

        def render(say: Say) -> MessageRendering:
            return MessageRendering(say, body, next(self.numbers), prompt=prompt_of(body))

        return await self.play(record, request, render, stream=bool(body.get("stream")))

    def _authenticate(self, record: RecordedRequest) -> None:
        # The vendor's REST documents name x-api-key; SDK 2.12 sends the same key as a bearer token.
        bearer = record.headers.get("authorization", "").removeprefix("Bearer ")
        key = record.headers.get("x-api-key") or bearer
        if self.require_key and not key:
            raise self.rejection("invalid_key", "x-api-key header is required")
        if self.key is not None and key != self.key:
            raise self.rejection("invalid_key")
        if not record.headers.get("anthropic-version"):
            raise self.rejection("bad_request", "anthropic-version: header is required")

    def _checked(self, check: RequestCheck, record: RecordedRequest) -> Mapping[str, Any]:
        try:
            check(record.body)
        except Invalid as invalid:
            raise self.rejection("bad_request", str(invalid)) from None
        body: Mapping[str, Any] = record.body
        self._require_model(body["model"])
        if not body["messages"]:
            raise self.rejection("bad_request", "messages: at least one message is required")
        return body

    def _require_model(self, name: str) -> None:
        if self.models and name not in self.models:
            raise self.rejection("model_not_found", f"model: {name}")

    def _require_room_for_thinking(self, body: Mapping[str, Any]) -> None:
        budget = (body.get("thinking") or {}).get("budget_tokens")
        if budget is None:
            return
        if budget < SMALLEST_THINKING_BUDGET:
            reason = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
            raise self.rejection("bad_request", reason)
        if budget >= body["max_tokens"]:
            raise self.rejection("bad_request", "`max_tokens` must be greater than `thinking.budget_tokens`.")

    def _require_answered_tools(self, messages: list[Mapping[str, Any]]) -> None:
        """Tool results stand in the message right after their calls, and every call has one."""
        calls: set[str] = set()
        for number, message in enumerate(messages):
            results = set(blocks(message, "tool_result", "tool_use_id"))
            if unasked := results - calls:
                reason = f"messages.{number}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
                raise self.rejection("bad_request", reason + ", ".join(sorted(unasked)))
            if unanswered := calls - results:
                reason = f"messages.{number - 1}: `tool_use` ids were found without `tool_result` blocks: "
                raise self.rejection("bad_request", reason + ", ".join(sorted(unanswered)))
            calls = set(blocks(message, "tool_use", "id"))

    def _model_page(self) -> Mapping[str, Any]:
        names = self.models or SHOWN_MODELS
        cards = [model_card(name) for name in names]
        return {"data": cards, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def blocks(message: Mapping[str, Any], kind: str, field: str) -> Iterator[str]:
    """The `field` of each content block of type `kind`."""
    if isinstance(message["content"], list):
        yield from (block[field] for block in message["content"] if block["type"] == kind)


def prompt_of(body: Mapping[str, Any]) -> str:
    return " ".join([texts_in(body.get("system")), *(texts_in(message["content"]) for message in body["messages"])])


def model_card(name: str) -> Mapping[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-02-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


# The SDK takes seconds to import, so a test that sends no request does not pay for it.


@cache
def message_check(extra_fields: tuple[str, ...]) -> RequestCheck:
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

    return RequestCheck(MessageCreateParamsNonStreaming, extra_fields)


@cache
def count_check() -> RequestCheck:
    from anthropic.types.message_count_tokens_params import MessageCountTokensParams

    return RequestCheck(MessageCountTokensParams)
