"""What a chat client tells beside the events of the stream: about its connection, and about text that changed."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from engine.api.events import Event
from engine.wire.control import Accepted


class Notice(msgspec.Struct, frozen=True, tag_field="type"):
    """Root of what the client itself has to say."""


class ConnectionLost(Notice, frozen=True, tag="connection.lost"):
    """The connection is gone; the client tries to come back by itself."""


class Resumed(Notice, frozen=True, tag="connection.resumed", kw_only=True):
    """The turn goes on behind number `after`. `recovered` is false where single events are gone for good."""

    stream: str
    after: int
    recovered: bool


class TextReplaced(Notice, frozen=True, tag="text.replaced"):
    """All that was told of the answer so far is void; it begins with `text`."""

    text: str


class ConversationUnknown(Notice, frozen=True, tag="conversation.unknown"):
    """The answer is saved in a conversation whose id was lost with the connection: the next message begins another one."""


ClientEvent: TypeAlias = Event | Accepted | Notice
