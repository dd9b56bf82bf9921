"""What speech and transcription at Deepgram have in common: who asks, where, and how its failures read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault
from plugins.vendors.settings import DeepgramSettings

RATE = 24_000
"""Samples a second that its voices are asked for."""


def deepgram(settings: DeepgramSettings) -> Vendor:
    """The vendor, for messages."""
    return Vendor(settings.title, read_deepgram_fault, credential=settings.credential, secret=settings.key)


def headers_of(settings: DeepgramSettings) -> dict[str, str]:
    """The header that carries the key."""
    return {"Authorization": f"Token {settings.key}"} if settings.key else {}


def address(settings: DeepgramSettings, path: str, fields: Mapping[str, Any]) -> str:
    """The address of a call, whose fields stand in its query."""
    told = {name: _text(value) for name, value in fields.items() if value is not None}
    return f"{settings.base_url}/v1/{path}?{urlencode(told, doseq=True)}"


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return list(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def read_deepgram_fault(data: bytes) -> Fault:
    """The error in an answer: `{"err_code", "err_msg", "request_id"}`. Never raises."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Fault(message=data[:200].decode(errors="replace"))
    if not isinstance(body, Mapping):
        return Fault()
    return Fault(
        message=str(body.get("err_msg") or body.get("message") or body.get("details") or ""),
        code=str(body.get("err_code") or body.get("category") or ""),
    )
