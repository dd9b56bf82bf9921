"""What Google says when it fails (`google.rpc.Status` with its error details)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.api import EngineError
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, read_openai_fault

_HTTP_STATUS = {
    "INVALID_ARGUMENT": "400",
    "OUT_OF_RANGE": "400",
    "UNAUTHENTICATED": "401",
    "PERMISSION_DENIED": "403",
    "NOT_FOUND": "404",
    "RESOURCE_EXHAUSTED": "429",
    "INTERNAL": "500",
    "UNAVAILABLE": "503",
    "DEADLINE_EXCEEDED": "504",
}
# The key is wrong, or its project may not use the API from where we are: Google answers both with 400.
_REFUSED = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "FAILED_PRECONDITION": 403}
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")
_FIELDS = {
    "contents": "input",
    "system_instruction": "instructions",
    "candidate_count": "n",
    "max_output_tokens": "max_output_tokens",
    "response_json_schema": "response_format",
    "response_schema": "response_format",
    "stop_sequences": "stop",
    "thinking_config": "reasoning",
    "tool_config": "tool_choice",
}


class GoogleVendor(Vendor):
    """Google, whose refusals of a key are told apart by name and not by HTTP status."""

    def failure(
        self, data: bytes | Fault, *, status: int | None = None, retry_after: float | None = None
    ) -> EngineError:
        """The error for an answer with `status`, or for an error inside a stream, where there is none."""
        fault = data if isinstance(data, Fault) else self.read_fault(data)
        return super().failure(fault, status=_REFUSED.get(fault.kind, status), retry_after=retry_after)


def read_google_fault(data: bytes) -> Fault:
    """The error in a body or chunk: `{"error": {code, message, status, details}}`, also in a list. Never raises."""
    plain = read_openai_fault(data)
    error = _error(data)
    if error is None:
        return plain
    details = [detail for detail in error.get("details") or () if isinstance(detail, Mapping)]
    status = str(error.get("status") or "")
    if any(str(detail.get("reason", "")).startswith("API_KEY_") for detail in details):
        status = "UNAUTHENTICATED"
    return Fault(
        message=plain.message,
        code=_HTTP_STATUS.get(status) or plain.code,
        kind=status,
        param=next(_blamed(details), None),
        retry_after=next(_delays(details), None),
    )


def _error(data: bytes) -> Mapping[str, Any] | None:
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, Mapping) else None
    return error if isinstance(error, Mapping) else None


def _delays(details: list[Mapping[str, Any]]) -> Iterator[float]:
    """`google.rpc.RetryInfo`: seconds as "7s" or "7.5s"."""
    for detail in details:
        if found := _SECONDS.fullmatch(str(detail.get("retryDelay", ""))):
            yield float(found[1])


def _blamed(details: list[Mapping[str, Any]]) -> Iterator[str]:
    """`google.rpc.BadRequest`: the first field that is blamed, by the name that our callers know."""
    for detail in details:
        for violation in detail.get("fieldViolations") or ():
            path = str(violation.get("field", "")) if isinstance(violation, Mapping) else ""
            steps = [step.partition("[")[0] for step in path.split(".")]
            inside = [step for step in steps if step not in ("GenerateContentRequest", "generation_config")]
            if inside and inside[0]:
                yield _FIELDS.get(inside[0], inside[0])
