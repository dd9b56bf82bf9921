"""Turns as the supervisor writes them, in one line for each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.api.chat import Message, ReasoningPart, TextPart
from engine.api.data import Database
from engine.api.events import Usage
from engine.api.identity import Principal
from engine.api.streams import Ending, Said
from plugins.chat.history.records import StoredMessage
from plugins.chat.history.store import History
from plugins.chat.history.turns import Opened


class TickingClock:
    """Time that moves on by a millisecond whenever somebody looks."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def pass_by(self, time: timedelta) -> None:
        self._now += time


def said(text: str, role: Any = "user", **more: Any) -> Message:
    return Message(role=role, parts=(TextPart(text),) if text else (), **more)


def ending(text: str = "", **more: Any) -> Ending:
    """How a turn came out; by itself: completed."""
    given: dict[str, Any] = {
        "stream": "s_1",
        "status": "completed",
        "reason": "done",
        "model": "local/tiny",
        "said": Said(text=text),
    }
    return Ending(**(given | more))


class Talk:
    """One principal's side of a conversation."""

    def __init__(self, database: Database, history: History, principal: Principal) -> None:
        self._database = database
        self._history = history
        self._principal = principal

    async def ask(
        self,
        text: str | Sequence[Message],
        conversation: str | None = None,
        parent: str | None = None,
        model: str = "local",
    ) -> Opened:
        """Commit the question of a turn."""
        asked = [said(text)] if isinstance(text, str) else text
        thread = await self._history.thread(self._principal, conversation, parent)
        opened = self._history.opening(thread, self._principal, asked, model=model, stream="s_1")
        await self._database.submit(opened.rows)
        return opened

    async def answer(
        self,
        opened: Opened,
        outcome: Ending,
        steps: Sequence[Message] = (),
        reasoning: Sequence[ReasoningPart] = (),
    ) -> None:
        """Commit the end of a turn."""
        rows = self._history.closing(opened, outcome, steps=steps, reasoning=reasoning)
        await self._database.submit(rows)

    async def turn(
        self, question: str, answer: str, conversation: str | None = None, parent: str | None = None
    ) -> Opened:
        """A whole turn that went well."""
        opened = await self.ask(question, conversation, parent)
        await self.answer(opened, ending(answer, usage=Usage(input_tokens=3, output_tokens=2)))
        return opened

    async def shown(self, conversation: str) -> list[StoredMessage]:
        return await self._history.messages.branch(self._principal, conversation)

    async def words(self, conversation: str) -> list[str]:
        """The texts of the branch that is shown."""
        return [message.text for message in await self.shown(conversation)]
