"""What calls and transcriptions over Gemini Live have in common: where it is, and how its sessions end."""

from __future__ import annotations

from plugins.vendors.settings import GoogleSettings

LONGEST_MESSAGE = 1 << 24
HEARTBEAT = 20.0

PASSES = frozenset({1000, 1001, 1006, 1011, 1012, 1013, None})
"""The codes with which a session ends that is worth another; 1011 is Google's word for any trouble of its own."""

_METHOD = "ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


def address(settings: GoogleSettings) -> str:
    """Where sessions are held."""
    return f"{settings.base_url}/{_METHOD}".replace("http", "ws", 1)


def resource(model: str) -> str:
    """A model as sessions are told of it."""
    return model if "/" in model else f"models/{model}"


def reason_of(code: int | None, reason: str) -> str:
    """How a session was closed, in Google's words."""
    return f"{reason.strip().rstrip('.') or 'it gave no reason'} (close code {code})."


def status_of(code: int | None, reason: str) -> int | None:
    """The HTTP status that says the same as a close; None for one that is worth another session."""
    words = reason.lower()
    if "api key" in words or "denied access" in words:
        return 401
    if "quota" in words or "resource has been exhausted" in words:
        return 429
    if code in PASSES:
        return None
    return 404 if "not found" in words else 400


def seconds(told: str | None) -> float:
    """A duration as "9.5s"; none is 0."""
    try:
        return float((told or "").removesuffix("s"))
    except ValueError:
        return 0.0
