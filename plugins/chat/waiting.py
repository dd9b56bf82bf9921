"""Tool calls that wait for the client's answer."""

from __future__ import annotations

import asyncio

import msgspec

from engine.api.errors import ToolCallNotFound


class Answered(msgspec.Struct, frozen=True):
    """What the client's tool said."""

    output: str
    failed: bool = False


class WaitingCalls:
    """The calls of one turn: answered at most once each; a second answer to a call changes nothing."""

    def __init__(self) -> None:
        self._calls: dict[str, asyncio.Future[Answered]] = {}

    def expect(self, call_id: str) -> None:
        """Get ready for the answer to a call, before the client is told of it."""
        self._calls.setdefault(call_id, asyncio.get_running_loop().create_future())

    async def wait(self, call_id: str) -> Answered:
        """The client's answer to an expected call."""
        return await self._calls[call_id]

    def answer(self, call_id: str, output: object, failed: bool) -> None:
        """Take the client's answer; raises `ToolCallNotFound` for a call that was not made."""
        future = self._calls.get(call_id)
        if future is None:
            raise ToolCallNotFound(
                f"this turn has made no call {call_id[:80]!r} that waits for an answer", field="call_id"
            )
        if not future.done():
            future.set_result(Answered(as_text(output), failed))


def as_text(output: object) -> str:
    """A tool's output as the model is told it: text as it is, anything else as JSON."""
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()
