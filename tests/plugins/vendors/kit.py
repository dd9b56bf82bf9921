"""What tests of chat providers share: an open pool of connections, requests in short, answers folded."""

from collections.abc import Sequence
from typing import Any, TypeVar

import aiohttp

from engine.api import (
    ChatDelta,
    ChatRequest,
    Finish,
    Message,
    Part,
    ReasoningDelta,
    TextDelta,
    TextPart,
    Usage,
)

DeltaT = TypeVar("DeltaT")


class OpenHttp:
    """A pool that is open already."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self) -> aiohttp.ClientSession:
        return self._session


def user(*parts: Part | str) -> Message:
    return Message(role="user", parts=tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def ask(text: str = "hello there", **fields: Any) -> ChatRequest:
    return ChatRequest(**{"model": "test-model", "messages": (user(text),), **fields})


def only(kind: type[DeltaT], deltas: Sequence[ChatDelta]) -> list[DeltaT]:
    return [delta for delta in deltas if isinstance(delta, kind)]


def text_of(deltas: Sequence[ChatDelta]) -> str:
    return "".join(delta.text for delta in only(TextDelta, deltas))


def reasoning_of(deltas: Sequence[ChatDelta]) -> str:
    return "".join(delta.text for delta in only(ReasoningDelta, deltas))


def finish_of(deltas: Sequence[ChatDelta]) -> str:
    (finish,) = only(Finish, deltas)
    return finish.reason


def usage_of(deltas: Sequence[ChatDelta]) -> Usage:
    (usage,) = only(Usage, deltas)
    return usage
