"""A person's talk with a server: one turn after another, each of which Ctrl-C can stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from engine.api.errors import Cancelled
from engine.api.events import MessageSaved, StreamEnded
from plugins.chat.terminal.background import BackgroundLoop
from plugins.chat.terminal.banner import banner
from plugins.chat.terminal.client import ChatClient
from plugins.chat.terminal.errors import ChatFailure, problem
from plugins.chat.terminal.view import View

_LEFT = problem(Cancelled.code, "no longer waiting; the server may still finish the answer and keep it")


@dataclass(slots=True)
class Choices:
    """What goes with every message; `conversation` is the server's once it has saved an answer."""

    model: str | None = None
    instructions: str | None = None
    conversation: str | None = None


class Talk:
    """Called from the main thread; its turns run on `loop`."""

    def __init__(self, loop: BackgroundLoop, client: ChatClient, view: View, choices: Choices) -> None:
        self.choices = choices
        self._loop = loop
        self._client = client
        self._view = view
        self._answering: asyncio.Task[Any] | None = None
        self._asked_to_stop = False

    def connect(self) -> bool:
        """Open the session; False when there is none to be had, which is shown."""
        return self._interruptible(self._connect())

    def banner(self) -> list[str]:
        """What is to be read before the first message."""
        client = self._client
        models = self._loop.run(client.models())
        return list(banner(client.address, client.version, models, self.choices.model))

    def say(self, text: str) -> bool:
        """Send a message and show the answer; True when it was completed.

        Ctrl-C asks the server to stop; where it cannot be asked, or at the second time, the waiting ends at once.
        """
        return self._interruptible(self._answer(text))

    def _interruptible(self, work: Coroutine[Any, Any, bool]) -> bool:
        """Run work to its end; Ctrl-C then speaks to the work, and does not tear this thread out of its waiting."""
        self._asked_to_stop = False
        before = signal.signal(signal.SIGINT, lambda *_: self._loop.start(self._interrupt()))
        try:
            return self._loop.run(work)
        finally:
            signal.signal(signal.SIGINT, before)

    async def _interrupt(self) -> None:
        if not self._asked_to_stop and await self._client.cancel():
            self._asked_to_stop = True
        elif self._answering is not None:
            self._answering.cancel()

    async def _connect(self) -> bool:
        self._answering = asyncio.current_task()
        try:
            await self._client.connect()
        except ChatFailure as failure:
            self._view.fail(failure.body)
            return False
        except asyncio.CancelledError:
            return False
        finally:
            self._answering = None
        return True

    async def _answer(self, text: str) -> bool:
        self._answering = asyncio.current_task()
        self._view.begin()
        try:
            return await self._follow(text)
        except ChatFailure as failure:
            self._view.fail(failure.body)
        except asyncio.CancelledError:
            self._view.fail(_LEFT)
        finally:
            self._answering = None
            self._view.close()
        return False

    async def _follow(self, text: str) -> bool:
        choices = self.choices
        completed = False
        events = self._client.send(
            text, model=choices.model, conversation=choices.conversation, instructions=choices.instructions
        )
        async with aclosing(events):
            async for event in events:
                self._view.show(event)
                if isinstance(event, MessageSaved):
                    choices.conversation = event.conversation
                elif isinstance(event, StreamEnded):
                    completed = event.status == "completed"
        return completed
