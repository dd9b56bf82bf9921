"""The frames of the socket: JSON text for events, a 16-byte header and payload for audio, and their WebSocket framing."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from engine.api.events import Audio, Event, ReasoningDelta, TextDelta, ToolDelta

encode_json = msgspec.json.Encoder().encode

VERSION = 1
HAS_PREV = 1

_HEADER = struct.Struct(">IIBBHI")
_U32 = struct.Struct(">I")


def stream_prefix(stream: str) -> bytes:
    """The start of every text frame of a stream, made once for it."""
    return b'{"stream":"%b","n":' % stream.encode()


def encode_event(prefix: bytes, n: int, event: Event, prev: int | None = None) -> bytes:
    """A numbered event as a JSON text. `prev` is told where numbers before this one were left out for this reader."""
    body = encode_json(event)[1:]
    if prev is None or prev == n - 1:
        return b"%b%d,%b" % (prefix, n, body)
    return b'%b%d,"prev":%d,%b' % (prefix, n, prev, body)


def join_deltas(events: Sequence[Event]) -> Event | None:
    """Adjacent pieces of one kind as one piece, or None where they are of several kinds or carry log probabilities."""
    first = events[0]
    if isinstance(first, TextDelta):
        for event in events:
            if type(event) is not TextDelta or event.choice != first.choice or event.logprobs is not None:
                return None
        return TextDelta("".join([event.text for event in events]), first.choice)  # type: ignore[attr-defined]
    if isinstance(first, ToolDelta):
        return _join_arguments(first, events)
    if isinstance(first, ReasoningDelta) and all(type(event) is ReasoningDelta for event in events):
        return ReasoningDelta("".join([event.text for event in events]))  # type: ignore[attr-defined]
    return None


def _join_arguments(first: ToolDelta, events: Sequence[Event]) -> ToolDelta | None:
    call = first.call_id, first.choice
    pieces: list[str] = []
    for event in events:
        if not isinstance(event, ToolDelta) or (event.call_id, event.choice) != call:
            return None
        pieces.append(event.arguments)
    return ToolDelta(call_id=first.call_id, name=first.name, arguments="".join(pieces), choice=first.choice)


def encode_audio(number: int, n: int, lane: int, event: Audio, prev: int | None = None) -> bytes:
    """A binary frame: u32 stream number, u32 n, u8 version, u8 lane, u16 flags, u32 media time, all big-endian."""
    if prev is None or prev == n - 1:
        return _HEADER.pack(number, n, VERSION, lane, 0, event.at) + event.data
    return _HEADER.pack(number, n, VERSION, lane, HAS_PREV, event.at) + _U32.pack(prev) + event.data


class BinaryFrame(msgspec.Struct, frozen=True):
    """A binary frame taken apart; `at` is media time in milliseconds."""

    number: int
    n: int
    lane: int
    at: int
    payload: bytes
    prev: int | None = None


def decode_binary(frame: bytes) -> BinaryFrame:
    """Take a binary frame apart; raises `ValueError` that says what does not fit."""
    if len(frame) < _HEADER.size:
        raise ValueError(f"a binary frame has a header of {_HEADER.size} bytes, this one has {len(frame)} in all")
    number, n, version, lane, flags, at = _HEADER.unpack_from(frame)
    if version != VERSION:
        raise ValueError(f"this is version {version} of the binary header, the server speaks {VERSION}")
    if not flags & HAS_PREV:
        return BinaryFrame(number, n, lane, at, frame[_HEADER.size :])
    if len(frame) < _HEADER.size + 4:
        raise ValueError("flag 1 announces a previous number that is not there")
    (prev,) = _U32.unpack_from(frame, _HEADER.size)
    return BinaryFrame(number, n, lane, at, frame[_HEADER.size + 4 :], prev)


TEXT, BINARY = 0x81, 0x82


def websocket_header(opcode: int, length: int) -> bytes:
    """The header of an unmasked, final WebSocket frame (RFC 6455, section 5.2); `opcode` has the FIN bit set."""
    if length < 126:
        return bytes((opcode, length))
    if length < 1 << 16:
        return bytes((opcode, 126)) + length.to_bytes(2, "big")
    return bytes((opcode, 127)) + length.to_bytes(8, "big")
