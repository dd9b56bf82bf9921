"""Answers that Anthropic pauses while its own tools work: asked again with what was said, the model goes on.

Source: the stop reason `pause_turn` of the Messages API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from engine.api import ChatDeltas
from plugins.chat.providers.anthropic_decoding import AnthropicDecoder
from plugins.vendors.decoding import Answer, encoded
from plugins.vendors.transport import Body, EventStream

MOST_REQUESTS = 16
"""Requests for one answer; a pause in the last of them ends it, as one that grew too long."""


class PausingAnswer:
    """One answer in as many requests as the vendor pauses it; implements `engine.api.ContinuedAnswer`."""

    __slots__ = ("_body", "_decoder", "_open", "again")

    def __init__(self, open: Callable[[Body], EventStream], body: dict[str, Any], decoder: AnthropicDecoder) -> None:
        self._open = open
        self._body = body
        self._decoder = decoder
        self.again: Callable[[], Awaitable[None]] | None = None

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        decoder, body = self._decoder, self._body
        for number in range(1, MOST_REQUESTS + 1):
            decoder.begin(keep=number < MOST_REQUESTS)
            await Answer(self._open(encoded(body)), decoder, goes_on=number > 1).push(take)
            if decoder.paused is None:
                return
            if self.again is not None:
                await self.again()
            said = {"role": "assistant", "content": decoder.paused}
            body = {**body, "messages": [*body["messages"], said]}


def has_server_tools(body: dict[str, Any]) -> bool:
    """Whether the vendor itself runs a tool of this request; only then does it pause."""
    return any(tool.get("type", "custom") != "custom" for tool in body.get("tools", ()))
