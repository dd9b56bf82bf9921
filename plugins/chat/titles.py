"""Names new conversations with a model, where the operator asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog

from engine.api.commands import Commands
from engine.api.errors import EngineError
from engine.api.plugin import Listener, PluginContext, TurnEnded
from plugins.chat.history.store import History
from plugins.chat.settings import ChatSettings

log = structlog.get_logger(__name__)

WAITING = 100
"""Conversations that wait for a name; past it a new one keeps its first words."""

FIRST_TURN = 100
"""Messages in which the question and the answer of a first turn are looked for."""

_ASK = (
    "Give this conversation a title of two to six words. Answer with the title alone, without quotes.\n\n"
    "User: {question}\n\nAssistant: {answer}"
)


class Titles:
    """Listens for first turns, and asks the title model once for each, one after another."""

    def __init__(self, context: PluginContext, settings: ChatSettings, history: History) -> None:
        self._commands: Commands = context.commands
        self._model = settings.title_model
        self._history = history
        self._queue: asyncio.Queue[TurnEnded] = asyncio.Queue(WAITING)

    def listeners(self) -> list[Listener]:
        """One listener, or none where first words do."""
        return [Listener(self.heard)] if self._model is not None else []

    def heard(self, turn: TurnEnded) -> None:
        """Note the first turn of a conversation."""
        if turn.command != "chat.send" or turn.status != "completed" or not turn.detail.get("new"):
            return
        if self._queue.full():
            log.warning("title_left_out", stream=turn.stream)
            return
        self._queue.put_nowait(turn)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Name conversations while the plugin is on."""
        task = asyncio.create_task(self._run(), name="titles")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            turn = await self._queue.get()
            try:
                await self._name(turn)
            except EngineError as error:
                log.warning("title_failed", stream=turn.stream, error=error.message)
            except Exception:
                log.exception("title_crashed", stream=turn.stream)

    async def _name(self, turn: TurnEnded) -> None:
        conversation = str(turn.detail["conversation"])
        thread = await self._history.thread(turn.principal, conversation, None, newest=FIRST_TURN)
        words = {message.role: message.text[:2000] for message in thread.messages if message.text}
        ask = _ASK.format(question=words.get("user", ""), answer=words.get("assistant", ""))
        body: dict[str, Any] = {
            "input": ask,
            "model": self._model,
            "store": False,
            "server_tools": [],
            "max_output_tokens": 32,
        }
        reader = await self._commands.start(turn.principal, "chat.send", body)
        try:
            await reader.ended()
            title = reader.said.text.strip().strip("\"'").splitlines()
            if title and title[0].strip():
                await self._history.name(turn.principal, conversation, title[0].strip()[:100])
        finally:
            reader.close()
