"""What a vendor says when it fails, read from its many spellings and cleaned of secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from engine.wire.hiding import without_places
from plugins.vendors.lenient import read_json

LONGEST_MESSAGE = 500
MASK = "***"
# What is shorter is a stand-in for a key, and may be part of any word.
SHORTEST_SECRET = 8

# The prefixes that vendors give their keys; OpenAI repeats a wrong key with its middle starred out.
_KEYS = (
    re.compile(r"\b(?:sk|pk|rk|xai|gsk|pplx|AIza|AQ\.|whsec|ghp|hf)[-_]?[A-Za-z0-9_*-]{8,}"),
    re.compile(r"(?<=bearer )[^\s\"',]{6,}", re.IGNORECASE),
    re.compile(r"(?<=[?&]key=)[^&\s\"']+"),
    re.compile(r"(?<=://)[^\s/@\"']+(?=@)"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure in the vendor's words. `code` and `kind` are its machine names, `param` the request field it blames.

    `retry_after` is in seconds, where the body says it.
    """

    message: str = ""
    code: str = ""
    kind: str = ""
    param: str | None = None
    retry_after: float | None = None


def read_openai_fault(data: bytes) -> Fault:
    """The error in a body or event of OpenAI, or of a vendor that is like it. Never raises.

    Known spellings: `{"error": {message, type, param, code}}`, `{"error": "…", "code": …}` (xAI, Ollama), the same
    fields without a wrapper (Mistral, an `error` event of Responses), `{"detail": …}` (servers built on FastAPI),
    `{"errors": [{message}]}` (gateways), `{"response": {"error": …}}` (`response.failed`), and what OpenRouter adds in
    `metadata`: `raw`, the words of the vendor behind it, and `reasons` for which it refuses an input.
    """
    try:
        body = read_json(data)
    except msgspec.DecodeError:
        return Fault(message=_plain_text(data))
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return Fault(message=_words(body))
    if isinstance(body.get("response"), Mapping):
        body = body["response"]
    inner = body.get("error") or _first(body.get("errors"))
    error = inner if isinstance(inner, Mapping) else body
    # Without a wrapper, `type` may be that of the event.
    kind = _words(error.get("type"))
    metadata = error.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    message = _inner_words(error.get("message")) or _words(inner) or _detail(body.get("detail"))
    behind = _behind(beside.get("raw"))
    return Fault(
        message=f"{message}: {behind}" if message and behind else message or behind,
        code="content_policy_violation" if beside.get("reasons") else _words(error.get("code")),
        kind="" if kind == "error" else kind,
        param=_words(error.get("param")) or None,
    )


def clean(text: str, secret: str | None = None, *, places: bool = False) -> str:
    """A vendor's message for clients: one line, not too long, without keys, private addresses and files.

    With `places` it is for the log, which may have the addresses and files, and no key either.
    """
    if secret and len(secret) >= SHORTEST_SECRET:
        text = text.replace(secret, MASK)
    for pattern in _KEYS:
        text = pattern.sub(MASK, text)
    text = " ".join(text.split())
    text = text if places else without_places(text)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or an HTTP date, RFC 9110, 10.2.3)."""
    if (milliseconds := _seconds(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _seconds(value)
    return seconds if seconds is not None or value is None else _until(value)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    # "-0000" says UTC and that the sender's zone is unknown; the parser then leaves the zone out.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _plain_text(data: bytes) -> str:
    text = data.decode(errors="replace").strip()
    # A page of a proxy in between says nothing to the caller.
    return "" if text.startswith("<") else text


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _inner_words(value: Any) -> str:
    """Words, also where an object stands in their place."""
    if isinstance(value, Mapping):
        return next((words for name in ("message", "detail", "error") if (words := _words(value.get(name)))), "")
    return _words(value)


def _behind(raw: Any) -> str:
    """The words in an answer that one vendor passes on from another."""
    if not isinstance(raw, str) or not raw:
        return ""
    try:
        body = read_json(raw)
    except msgspec.DecodeError:
        return raw
    error = body.get("error", body) if isinstance(body, Mapping) else body
    return _inner_words(error.get("message") if isinstance(error, Mapping) else error)


def _detail(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        place = ".".join(str(step) for step in value[0].get("loc", ()))
        return f"{place}: {_words(value[0].get('msg'))}"
    return _words(value)
