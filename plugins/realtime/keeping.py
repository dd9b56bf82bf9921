"""What is kept of a call: its turns in the conversation, and their sound where the operator wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from engine.api import Commands, Cost, EngineError, ErrorBody, MessageSaved, Status, Usage, Writer
from plugins.realtime.recording import Recorder, TurnSound


class Outcome(msgspec.Struct):
    """How an answer came out, as its provider told, until it has been played."""

    status: Status = "completed"
    usage: Usage | None = None
    cost: Cost | None = None
    conversation: str | None = None
    message: str | None = None
    answered_by: str | None = None
    error: ErrorBody | None = None


class Keeping:
    """Writes down the turns of one call, in order. `model` is the name under which answers are kept.

    A provider that keeps its turns itself (`itself`) has only their sound kept here.
    """

    def __init__(
        self, commands: Commands, recorder: Recorder, *, model: str, conversation: str | None, itself: bool
    ) -> None:
        self._commands = commands
        self._recorder = recorder
        self._model = model
        self._conversation = conversation
        self._itself = itself
        self._one_by_one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._awaited: asyncio.Future[MessageSaved | None] | None = None
        """Where an answer is kept that was stopped before its provider could say; a turn's sound waits for it."""

    def keep(self, stream: Writer, said: str, answered: str, outcome: Outcome) -> None:
        """Keep the turn that is over now; `answered` is what was heard of the answer."""
        sound = self._recorder.take()
        if not self._itself:
            self._own(self._turn(stream, said, answered, outcome, sound), stream)
        elif self._recorder.on:
            self._own(self._sound(stream, sound, self._place(outcome)), stream)

    def saved(self, event: MessageSaved | None) -> None:
        """The provider has kept an answer, or the answer before the next one is not kept."""
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.done():
            awaited.set_result(event)

    async def close(self) -> None:
        """Wait until all is kept."""
        self.saved(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None], stream: Writer) -> None:
        task = asyncio.create_task(work, name=f"keeping a turn of {stream.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _place(self, outcome: Outcome) -> asyncio.Future[MessageSaved | None]:
        """Where the answer is kept: as its provider told, or will tell once it has cut it to what was heard."""
        place: asyncio.Future[MessageSaved | None] = asyncio.get_running_loop().create_future()
        self.saved(None)
        if outcome.conversation is not None and outcome.message is not None:
            place.set_result(MessageSaved(conversation=outcome.conversation, message=outcome.message))
        else:
            self._awaited = place
        return place

    async def _sound(self, stream: Writer, sound: TurnSound, place: asyncio.Future[MessageSaved | None]) -> None:
        ids = await self._recorder.keep(stream, sound)
        saved = await place
        if saved is None or not ids:
            return
        notes = {"metadata": _noted(ids, "assistant"), "question": _noted(ids, "user")}
        body = {"conversation": saved.conversation, "message": saved.message, **notes}
        try:
            await self._commands.call(stream.principal, "chat.annotate", body)
        except EngineError as error:
            stream.status("not_saved", error.message)

    async def _turn(self, stream: Writer, said: str, answered: str, outcome: Outcome, sound: TurnSound) -> None:
        ids = await self._recorder.keep(stream, sound)
        messages: list[dict[str, Any]] = []
        if said.strip():
            messages.append({"role": "user", "text": said, "metadata": _noted(ids, "user")})
        if answered.strip():
            messages.append(self._answer(answered, outcome) | {"metadata": _noted(ids, "assistant")})
        if not messages:
            return
        try:
            async with self._one_by_one:
                body: dict[str, Any] = {"messages": messages}
                if self._conversation is not None:
                    body["conversation"] = self._conversation
                kept = await self._commands.call(stream.principal, "chat.record", body)
                self._conversation = kept["conversation"]
            stream.publish(MessageSaved(conversation=kept["conversation"], message=kept["messages"][-1]))
        except EngineError as error:
            stream.status("not_saved", error.message)

    def _answer(self, text: str, outcome: Outcome) -> dict[str, Any]:
        told: dict[str, Any] = {"role": "assistant", "text": text, "status": outcome.status, "model": self._model}
        if outcome.usage is not None:
            told["usage"] = msgspec.to_builtins(outcome.usage)
        if outcome.cost is not None:
            told["cost"] = msgspec.to_builtins(outcome.cost)
        return told


def _noted(ids: Mapping[str, str], role: str) -> dict[str, str]:
    """What the history is told of a message's sound."""
    return {"audio": ids[role]} if role in ids else {}
