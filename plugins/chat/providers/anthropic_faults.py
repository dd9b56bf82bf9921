"""What Anthropic says when it fails (types: `anthropic.types.shared`)."""

from __future__ import annotations

import re
from dataclasses import replace

from plugins.vendors.faults import Fault, read_openai_fault

# The message begins with the place in the body: "messages.0.content: …".
_PLACE = re.compile(r"(?P<root>[a-z_]+)(?:\.[\w.-]+)?: ")
_FIELDS = {
    "max_tokens": "max_output_tokens",
    "messages": "input",
    "metadata": "user",
    "model": "model",
    "output_config": "response_format",
    "stop_sequences": "stop",
    "system": "instructions",
    "temperature": "temperature",
    "thinking": "reasoning",
    "tool_choice": "tool_choice",
    "tools": "tools",
    "top_p": "top_p",
}
_CODES = (
    (re.compile(r"credit balance", re.IGNORECASE), "insufficient_quota"),
    (re.compile(r"exceed context limit|exceeds? the context", re.IGNORECASE), "context_length_exceeded"),
)


def read_anthropic_fault(data: bytes) -> Fault:
    """The error in a body or an `error` event: `{"type": "error", "error": {type, message}}`. Never raises.

    Anthropic's types are coarse; what its sentences say beyond them becomes `code` and `param`.
    """
    fault = read_openai_fault(data)
    place = _PLACE.match(fault.message)
    field = _FIELDS.get(place["root"]) if place else None
    if fault.kind == "not_found_error" and field == "model":
        return replace(fault, code="model_not_found")
    if fault.kind in ("timeout_error", "gateway_timeout_error"):
        return replace(fault, code="service_unavailable_error")
    code = next((code for words, code in _CODES if words.search(fault.message)), fault.code)
    return replace(fault, code=code, param=field or fault.param)
