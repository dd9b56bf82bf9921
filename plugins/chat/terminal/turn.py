"""One turn as its client knows it: what to ask of a connection, what a frame means, what was lost. No I/O."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from engine.api.errors import ErrorBody, ShuttingDown
from engine.api.events import Event, MessageSaved, ReasoningDelta, StreamEnded, TextDelta, ToolCall, ToolResult
from engine.wire.control import Accepted, Rejected, StreamDetached, StreamSnapshot
from plugins.chat.terminal.errors import AskAgain, Dropped, Refused
from plugins.chat.terminal.frames import Incoming, Numbered
from plugins.chat.terminal.notices import ClientEvent, ConversationUnknown, Resumed, TextReplaced

NO_TOOLS = "This client is a plain terminal and runs no tools; answer without them."


class Turn:
    """Survives its connections: `ask` is the first command on each, and `take` reads what comes back.

    `ended` says that nothing more will come. `outbox` holds further commands that are due; whoever owns the connection
    sends them.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.stream: str | None = None
        self.last = 0
        self.ended = False
        self.outbox: deque[Mapping[str, Any]] = deque()
        self._send = {"type": "chat.send", "key": secrets.token_urlsafe(24), **body}
        self._asks = 0
        self._listening = False
        self._cancelled = False
        self._placed = "conversation" in body
        self._text = ""
        self._reasoning = ""
        self._calls: set[str] = set()
        self._waiting: dict[str, Mapping[str, Any]] = {}

    def ask(self) -> Mapping[str, Any]:
        """The command that starts the turn, or that gets its events behind the last one seen.

        Until it is accepted, events are not listened to: they would come again behind it. The turn is started under one
        key however often it is asked for, so that it runs once.
        """
        self._asks += 1
        self._listening = False
        self.outbox.clear()
        if self.stream is None:
            return {**self._send, "id": self._id}
        return {"type": "stream.resume", "id": self._id, "stream": self.stream, "after": self.last}

    def cancel(self) -> None:
        """Ask the server to stop the turn, as soon as its stream is known, and again on each connection."""
        self._cancelled = True
        if self._listening:
            self._put_cancel()

    def take(self, frame: Incoming) -> list[ClientEvent]:
        """What a frame has to tell.

        Raises `AskAgain` where this connection has stopped sending or left something out, `Dropped` where another one is
        needed, and `Refused` where the server will not serve this turn.
        """
        match frame:
            case Accepted() if frame.re == self._id and frame.stream is not None:
                return list(self._accepted(frame, frame.stream))
            case Rejected() if frame.re == self._id or (frame.re is None and not self._listening):
                self._rejected(frame.error)
            case Numbered() if self._listening and frame.stream == self.stream:
                return self._numbered(frame)
            case StreamSnapshot() if self._listening and frame.stream == self.stream:
                return list(self._snapshot(frame))
            case StreamDetached() if self._listening and frame.stream == self.stream:
                raise AskAgain
        return []

    @property
    def _id(self) -> str:
        return f"t{self._asks}"

    def _accepted(self, frame: Accepted, stream: str) -> Iterator[ClientEvent]:
        self._listening = True
        if self.stream is None:
            self.stream = stream
            yield frame
        else:
            yield Resumed(stream=stream, after=self.last, recovered=frame.recovered is not False)
            if self.last == 0 and self._text and frame.recovered is not False:
                self._text = self._reasoning = ""
                yield TextReplaced("")
        if self._cancelled:
            self._put_cancel()
        self.outbox.extend(self._waiting.values())

    def _rejected(self, error: ErrorBody) -> None:
        if error.code == ShuttingDown.code or (self.stream is not None and error.retryable):
            raise Dropped
        if self.stream is not None and error.field == "after" and self.last:
            # A server that was killed may remember fewer events than it had sent; it tells the whole from the start.
            self.last = 0
            raise AskAgain
        self.ended = True
        raise Refused(error)

    def _numbered(self, frame: Numbered) -> list[ClientEvent]:
        if frame.n <= self.last:
            return []
        if frame.prev != self.last:
            raise AskAgain
        self.last = frame.n
        if frame.event is None:
            return []
        self._note(frame.event)
        if isinstance(frame.event, StreamEnded) and frame.event.saved and not self._placed:
            return [frame.event, ConversationUnknown()]
        return [frame.event]

    def _note(self, event: Event) -> None:
        match event:
            case TextDelta(choice=0):
                self._text += event.text
            case ReasoningDelta():
                self._reasoning += event.text
            case ToolCall():
                self._answer(event)
            case ToolResult():
                self._waiting.pop(event.call_id, None)
            case MessageSaved():
                self._placed = True
            case StreamEnded():
                self.ended = True

    def _snapshot(self, frame: StreamSnapshot) -> Iterator[ClientEvent]:
        """Tell what was missed. A server that kept less than it had said leaves what was told as it is."""
        self.last = frame.n
        if frame.reasoning.startswith(self._reasoning) and frame.reasoning != self._reasoning:
            yield ReasoningDelta(frame.reasoning[len(self._reasoning) :])
            self._reasoning = frame.reasoning
        if frame.text.startswith(self._text):
            if frame.text != self._text:
                yield TextDelta(frame.text[len(self._text) :])
            self._text = frame.text
        elif not self._text.startswith(frame.text):
            yield TextReplaced(frame.text)
            self._text = frame.text
        for call in frame.tool_calls:
            if call.call_id not in self._calls:
                self._answer(call)
                yield call

    def _answer(self, call: ToolCall) -> None:
        self._calls.add(call.call_id)
        if not call.client:
            return
        answer = {
            "type": "tool.result",
            "id": f"r{len(self._calls)}",
            "stream": self.stream,
            "call_id": call.call_id,
            "output": NO_TOOLS,
            "error": True,
        }
        self._waiting[call.call_id] = answer
        self.outbox.append(answer)

    def _put_cancel(self) -> None:
        self.outbox.append({"type": "stream.cancel", "id": "cancel", "stream": self.stream})
