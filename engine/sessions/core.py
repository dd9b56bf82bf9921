"""The commands of every session, whatever plugins are on: about streams, and about the session itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from engine.api.commands import Body
from engine.wire.bounds import MOST_NAMES, Name

STREAM_SCOPE = "chat"
"""What a key must grant to watch or stop streams, through whichever door."""


class CoreCommand(Body):
    """Root of the bodies of the session's own commands."""

    name: ClassVar[str]
    summary: ClassVar[str]
    example: ClassVar[Mapping[str, Any]]
    scope: ClassVar[str | None] = None
    """What the caller's key must grant; None for what is about the session alone."""


class StreamResume(CoreCommand):
    """Watch a stream from behind the number `after`; 0 watches it from its beginning."""

    name = "stream.resume"
    summary = "Watch a stream from behind a number, on this device or another."
    scope = STREAM_SCOPE
    example = {"type": "stream.resume", "id": "c7", "stream": "s_…", "after": 17}

    stream: str = Field(description="Id of the stream.", max_length=64)
    after: int = Field(0, ge=0, description="The last number seen; 0 for none.")


class StreamCancel(CoreCommand):
    """Stop a turn; the cancel reaches the vendor. A turn that has ended stays as it is."""

    name = "stream.cancel"
    summary = "Stop a turn; its stream ends with status cancelled."
    scope = STREAM_SCOPE
    example = {"type": "stream.cancel", "id": "c8", "stream": "s_…"}

    stream: str = Field(description="Id of the stream.", max_length=64)


class StreamDetach(CoreCommand):
    """Stop watching; the turn goes on as its `on_disconnect` says."""

    name = "stream.detach"
    summary = "Stop watching a stream and leave it running."
    scope = STREAM_SCOPE
    example = {"type": "stream.detach", "id": "c9", "stream": "s_…"}

    stream: str = Field(description="Id of the stream.", max_length=64)


class SessionConfigure(CoreCommand):
    """How this session wants its frames."""

    name = "session.configure"
    summary = "Choose joined frames, and the lanes to get."
    example = {"type": "session.configure", "id": "c2", "join": True}

    join: bool | None = Field(None, description="Join adjacent pieces of text that are sent at the same time.")
    lanes: list[Name] | None = Field(
        None, max_length=MOST_NAMES, description="Names of the lent lanes to get; all when absent, none when empty."
    )


class SessionAuthenticate(CoreCommand):
    """First frame where the handshake carried no credential."""

    name = "session.authenticate"
    summary = "Give the API key, where the handshake could not carry it."
    example = {"type": "session.authenticate", "key": "bai_…"}

    key: str = Field(description="An API key.", max_length=512)


class Ping(CoreCommand):
    """Asks for a `pong`."""

    name = "ping"
    summary = "Asks for a pong."
    example = {"type": "ping", "id": "p1"}


CORE_COMMANDS: tuple[type[CoreCommand], ...] = (
    StreamResume,
    StreamCancel,
    StreamDetach,
    SessionConfigure,
    SessionAuthenticate,
    Ping,
)
