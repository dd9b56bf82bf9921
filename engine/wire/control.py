"""Frames of the socket that stand outside any stream's log: they carry no number."""

from __future__ import annotations

import msgspec

from engine.api.errors import ErrorBody
from engine.api.events import ToolCall, ToolDelta

PROTOCOL = 1


class Frame(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Root of the frames outside the log."""


class SessionReady(Frame, frozen=True, tag="session.ready", kw_only=True):
    """First frame of a session, unprompted; with keys, after the authentication."""

    protocol: int
    session: str
    version: str
    features: list[str]


class SessionDraining(Frame, frozen=True, tag="session.draining", kw_only=True):
    """The server goes down in `seconds`: connect anew, elsewhere or later, and resume."""

    seconds: float


class SessionFeatures(Frame, frozen=True, tag="session.features", kw_only=True):
    """The operator has switched plugins: these are on from now."""

    features: list[str]


class Accepted(Frame, frozen=True, tag="accepted", kw_only=True):
    """The command `re` is under way. Comes before any event of its stream.

    `number` marks the stream's binary frames. `recovered` is false where events after the number asked for are gone: then
    a `stream.snapshot` follows.
    """

    re: str | None = None
    stream: str | None = None
    number: int | None = None
    recovered: bool | None = None


class Rejected(Frame, frozen=True, tag="rejected", kw_only=True):
    """The command `re` was not taken; nothing happened."""

    error: ErrorBody
    re: str | None = None


class AudioAck(Frame, frozen=True, tag="audio.ack", kw_only=True):
    """The client's binary frames of a stream up to its own count `n` have been taken: they need not be sent again."""

    stream: str
    n: int


class Pong(Frame, frozen=True, tag="pong", kw_only=True):
    """Answers `ping`."""

    re: str | None = None


class StreamSnapshot(Frame, frozen=True, tag="stream.snapshot", kw_only=True):
    """All that the stream said up to number `n`, for a reader that cannot get the events any more. `n + 1` follows.

    `tool_deltas` are the calls that the model is still writing, each with its arguments so far in one piece.
    """

    stream: str
    n: int
    text: str
    tool_calls: list[ToolCall]
    reasoning: str = ""
    tool_deltas: list[ToolDelta] = []


class StreamDetached(Frame, frozen=True, tag="stream.detached", kw_only=True):
    """This session no longer watches the stream; `last` is the last number sent. The stream goes on."""

    stream: str
    last: int
    error: ErrorBody | None = None


FRAMES: tuple[type[Frame], ...] = (
    SessionReady,
    SessionDraining,
    SessionFeatures,
    Accepted,
    Rejected,
    AudioAck,
    Pong,
    StreamSnapshot,
    StreamDetached,
)
