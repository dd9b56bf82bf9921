"""What conversations and transcriptions over OpenAI's Realtime API have in common: its events, and how its sockets end."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, ClassVar

import aiohttp
import msgspec

from engine.api import EngineError
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, clean
from plugins.vendors.lenient import Reader

RATE = 24_000
"""Samples a second that it hears and speaks."""

PCM = {"type": "audio/pcm", "rate": RATE}

EXPIRED = "session_expired"
"""The code of the error that ends a session at its limit."""

PASSES = frozenset({1000, 1001, 1006, 1011, 1012, 1013, None})
"""The codes with which a session ends that is worth another."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """A server event, with the fields that any of those heard here has."""

    NEEDED: ClassVar = frozenset({"delta", "transcript"})

    type: str = ""
    delta: str = ""
    transcript: str = ""
    item_id: str = ""
    previous_item_id: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    item: Mapping[str, Any] = {}
    response: Mapping[str, Any] = {}
    error: Mapping[str, Any] = {}
    languages: list[Mapping[str, Any]] | None = None


decode = Reader(Told).read


def audio(pcm: bytes) -> str:
    """`input_audio_buffer.append`."""
    return f'{{"type":"input_audio_buffer.append","audio":"{b64encode(pcm).decode()}"}}'


def event(type: str, **fields: Any) -> str:
    """A client event."""
    return msgspec.json.encode({"type": type, **fields}).decode()


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the caller stand beside ours, at any depth, and before them."""
    joined = {**ours, **theirs}
    for name in ours.keys() & theirs.keys():
        if isinstance(ours[name], Mapping) and isinstance(theirs[name], Mapping):
            joined[name] = merged(ours[name], theirs[name])
    return joined


def failure(vendor: Vendor, error: Mapping[str, Any]) -> EngineError:
    """The failure that an `error` tells."""
    names = {name: str(error.get(name) or "") for name in ("message", "code", "param")}
    return vendor.failure(Fault(names["message"], names["code"], str(error.get("type") or ""), names["param"] or None))


def ending(
    vendor: Vendor, socket: aiohttp.ClientWebSocketResponse, last: aiohttp.WSMessage | None
) -> tuple[int | None, str]:
    """How a session ended, as its code and in words that hold the vendor's reason."""
    closing = last is not None and last.type is aiohttp.WSMsgType.CLOSE
    code: int | None = last.data if closing and last is not None else socket.close_code
    reason = clean(str(last.extra), vendor.secret).rstrip(".") if closing and last is not None and last.extra else ""
    return code, f"{vendor.title} closed the session with code {code}{f': {reason}' if reason else ''}."
