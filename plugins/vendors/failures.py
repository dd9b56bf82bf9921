"""The one place where a vendor's failures become errors of the engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

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
from plugins.vendors.faults import Fault, clean, read_openai_fault

_CONTEXT_NAMES = frozenset({"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"})
_CONTEXT_WORDS = re.compile(
    r"maximum context length|context length exceeded|context window|maximum prompt length|prompt is too long"
    r"|exceeds? the available context size|input token count.*exceeds",
    re.IGNORECASE | re.DOTALL,
)
_MODEL_NAMES = frozenset({"model_not_found", "invalid_model", "model_not_exist", "model_decommissioned"})
_MODEL_WORDS = re.compile(r"\bmodels?\b.*\b(?:not exist|not found|not supported|no longer|decommissioned)", re.I | re.S)
_QUOTA_NAMES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error", "insufficient_balance"})
_KEY_NAMES = frozenset({"invalid_api_key", "authentication_error"})
_MODERATION_NAMES = frozenset({"content_policy_violation", "image_content_policy_violation"})
_UNSUPPORTED_NAMES = frozenset({"unsupported_parameter", "unsupported_value", "unsupported_feature"})

# What a vendor's names mean where no HTTP status tells: inside a stream that had begun with 200.
_STATUS_BY_NAME = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "invalid_image": 400,
    "content_policy_violation": 400,
    "image_content_policy_violation": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "api_error": 500,
    "service_unavailable_error": 503,
    "overloaded_error": 529,
}

# The vendors' spellings of the fields that our callers know.
_FIELDS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning",
    "text": "response_format",
    "top_logprobs": "logprobs",
    "web_search_options": "tools",
}
_AGAIN_LATER = frozenset({408, 409, 425})
_GIVEN_UP = frozenset({504, 524})
"""What a gateway answers that no longer waits for the model, which may go on."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Whose failure it is, for messages, and how its error bodies are read.

    `title` is the name that people know. `credential` says where the operator sets the key. `secret` is masked in
    whatever the vendor says.
    """

    title: str
    read_fault: Callable[[bytes], Fault] = read_openai_fault
    credential: str = "its API key"
    secret: str | None = field(default=None, repr=False)

    def failure(
        self, data: bytes | Fault, *, status: int | None = None, retry_after: float | None = None
    ) -> EngineError:
        """The error for an answer with `status`, or for an error inside a stream, where there is none.

        Its `detail`, for the log, has the addresses and files that the message leaves out.
        """
        fault = data if isinstance(data, Fault) else self.read_fault(data)
        told = clean(fault.message, self.secret) or (
            f"it answered with HTTP status {status}." if status else "it gave no reason."
        )
        status = status or _status_of(fault)
        wait = fault.retry_after if fault.retry_after is not None else retry_after
        error = self._refusal(fault, status, told, wait) or self._disruption(fault, status, told, wait)
        whole = clean(fault.message, self.secret, places=True)
        if isinstance(error, ProviderError) and status in _GIVEN_UP:
            error.begun = True
        if whole and whole != told:
            error.detail = error.message.replace(told, whole)
        return error

    def unreachable(self, reason: str, *, detail: str | None = None) -> ProviderUnavailable:
        """The connection did not come about; `detail`, which may hold an address, is for the log alone."""
        error = ProviderUnavailable(f"{self.title} could not be reached: {clean(reason, self.secret)}.")
        error.detail = clean(detail, self.secret, places=True) if detail is not None else None
        return error

    def cut_off(self) -> ProviderUnavailable:
        """The connection ended before the answer did, which had begun."""
        error = ProviderUnavailable(f"{self.title} cut off its answer.")
        error.begun = True
        return error

    def empty(self) -> ProviderError:
        """The answer ended before anything of it came. The vendor is there, and may answer the next time."""
        error = ProviderError(f"{self.title} cut off its answer before it began.", retryable=True)
        error.begun = True
        return error

    def broke_protocol(self, what: str) -> ProviderError:
        """The vendor sent what its protocol does not allow."""
        return ProviderError(f"{self.title} broke its protocol: {what}.")

    def says_nothing(self, mebibytes: int) -> ProviderError:
        """The vendor sends on and on, and nothing of it is a part of an answer."""
        error = ProviderError(
            f"{self.title} sends nothing but comments, blank lines and empty events: {mebibytes} MiB in one answer."
        )
        error.begun = True
        return error

    def _refusal(self, fault: Fault, status: int, told: str, wait: float | None) -> EngineError | None:
        """The error of a vendor that works and does not want this request."""
        names = {fault.code, fault.kind}
        # ElevenLabs answers 401 for a quota, too.
        if status == 402 or names & _QUOTA_NAMES:
            # Waiting does not fill an account.
            return ProviderRateLimited(
                f"The quota at {self.title} is used up: {told}", retry_after=wait, retryable=False
            )
        if names & _MODERATION_NAMES and status < 500:
            return self._bad_request(fault, told)
        if status in (401, 403) or names & _KEY_NAMES:
            return ProviderRefused(f"{self.title} refused the request: {told} Check {self.credential}.")
        if status == 429 or "rate_limit_exceeded" in names:
            return ProviderRateLimited(f"{self.title} limits our rate: {told}", retry_after=wait)
        if names & _CONTEXT_NAMES or (status < 500 and _CONTEXT_WORDS.search(fault.message)):
            return ContextTooLong(f"The input is too long for the model: {told}", field="input")
        if names & _MODEL_NAMES or (status in (400, 404) and _MODEL_WORDS.search(fault.message)):
            return ModelNotFound(f"{self.title} does not serve this model: {told}", field="model")
        # What the request names is not there, and the address is right.
        missing = status == 404 and fault.code == "invalid_request_error"
        return self._bad_request(fault, told) if missing or status in (400, 413, 415, 422) else None

    def _bad_request(self, fault: Fault, told: str) -> EngineError:
        kind = UnsupportedParameter if {fault.code, fault.kind} & _UNSUPPORTED_NAMES else InvalidRequest
        return kind(f"{self.title} does not take the request: {told}", field=_field_of(fault.param))

    def _disruption(self, fault: Fault, status: int, told: str, wait: float | None) -> ProviderError:
        if status >= 500 or status in _AGAIN_LATER:
            return ProviderUnavailable(f"{self.title} cannot answer now: {told}", retry_after=wait)
        if 300 <= status < 400:
            return ProviderError(f"{self.title} answered with a redirect, which is not followed. Check its base_url.")
        hint = " Check its base_url." if status == 404 else ""
        return ProviderError(f"{self.title} failed: {told}{hint}")


def _status_of(fault: Fault) -> int:
    # OpenRouter and llama.cpp put the HTTP status into `code`.
    if fault.code.isdigit() and 400 <= int(fault.code) < 600:
        return int(fault.code)
    return _STATUS_BY_NAME.get(fault.code) or _STATUS_BY_NAME.get(fault.kind) or 0


def _field_of(param: str | None) -> str | None:
    if param is None:
        return None
    root = param.partition(".")[0].partition("[")[0]
    return _FIELDS.get(root, param)
