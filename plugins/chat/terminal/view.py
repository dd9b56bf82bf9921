"""How a turn looks: streamed text on standard output, everything about it on standard error."""

from __future__ import annotations

import time
from typing import Literal, Protocol, TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from engine.api.errors import ErrorBody
from engine.api.events import (
    Citation,
    Cost,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from engine.wire.control import Accepted
from engine.wire.frames import encode_json
from plugins.chat.terminal.errors import problem
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost, ConversationUnknown, Resumed, TextReplaced
from plugins.chat.terminal.wrapping import Wrapping

CONTROLS = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"}
"""Left out of what a server says: text must not command the terminal."""


class View(Protocol):
    """Shows turns, one after another."""

    def begin(self) -> None:
        """A turn was sent."""
        ...

    def show(self, event: ClientEvent) -> None:
        """Something came in."""
        ...

    def fail(self, error: ErrorBody) -> None:
        """The turn is over without an end that the server has told."""
        ...

    def close(self) -> None:
        """Nothing more comes of this turn."""
        ...


class JsonView:
    """One JSON object a line, for programs: events as they stand on the wire, and errors as `{"type":"error"}`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self) -> None:
        pass

    def show(self, event: ClientEvent) -> None:
        self._line(event)

    def fail(self, error: ErrorBody) -> None:
        self._line({"type": "error", "error": error})

    def close(self) -> None:
        pass

    def _line(self, value: object) -> None:
        self._out.write(encode_json(value).decode() + "\n")
        self._out.flush()


class TextView:
    """Prints text as it comes. Colour, spinner, wrapped lines and cleaned text are for terminals alone.

    The answer, and nothing else, goes to `out`, so that it can be piped. `reasoning` shows what the model thinks, dimmed.
    """

    def __init__(self, out: TextIO, notes: Console, *, reasoning: bool = False) -> None:
        self._out = out
        self._notes = notes
        self._reasoning = reasoning
        self._clean = out.isatty()
        # Words move by codes that such terminals would print.
        self._wraps = not (notes.is_dumb_terminal or notes.legacy_windows)
        self._line = Wrapping(lambda: notes.width)
        self._spinner: Status | None = None
        self._began = 0.0
        self._open: Literal["answer", "thought"] | None = None
        self._detail = ""
        self._lost = False

    def begin(self) -> None:
        self._began = time.monotonic()
        self._detail = ""
        self._lost = False
        self._spin("waiting for the answer")

    def show(self, event: ClientEvent) -> None:
        match event:
            case TextDelta(choice=0):
                self._answer(event.text)
            case ReasoningDelta() if self._reasoning:
                self._think(event.text)
            case StatusChanged():
                self._status(f"{event.stage}: {event.detail}" if event.detail else event.stage)
            case ToolCall():
                self._note(f"calls {event.name}{' (this terminal has no tools)' if event.client else ''}")
            case ToolResult() if event.error is not None and event.error.message:
                self._note(f"{event.name}: {event.error.message}")
            case Citation():
                self._note(f"source: {event.title + ' ' if event.title else ''}{event.url}")
            case TextReplaced():
                self._note("the answer from its beginning:")
                self._answer(event.text)
            case ConnectionLost():
                self._lost = True
                self._note("connection lost, coming back…", style="yellow")
                self._spin("connecting")
            case Resumed():
                self._back(f"resumed after {event.after}")
            case Accepted() if self._lost:
                self._back("connected again; the message was sent once")
            case StreamEnded():
                self._ended(event)
            case ConversationUnknown():
                self._note("saved; the conversation's id was lost with the connection: the next message begins another")

    def fail(self, error: ErrorBody) -> None:
        self._error(error)

    def close(self) -> None:
        self._still()
        self._end_line()

    def _answer(self, text: str) -> None:
        self._still()
        if self._open == "thought":
            self._end_line()
        shown = text.translate(CONTROLS) if self._clean else text
        if shown:
            self._out.write(self._line.fit(shown) if self._clean and self._wraps else shown)
            self._out.flush()
            self._open = None if shown.endswith("\n") else "answer"

    def _think(self, text: str) -> None:
        self._still()
        if self._open == "answer":
            self._end_line()
        shown = text.translate(CONTROLS)
        shown = self._line.fit(shown) if self._notes.is_terminal and self._wraps else shown
        self._notes.print(Text(shown, style="dim"), end="", soft_wrap=True)
        self._open = None if text.endswith("\n") else "thought"

    def _status(self, text: str) -> None:
        if text == self._detail:
            return
        self._detail = text
        if self._notes.is_terminal:
            self._spin(text)
        else:
            self._note(text)

    def _back(self, text: str) -> None:
        self._lost = False
        self._note(text)

    def _ended(self, event: StreamEnded) -> None:
        if event.status == "cancelled":
            self._note("cancelled", style="yellow")
        elif event.status == "failed":
            self._error(event.error or problem(event.reason, "the answer failed"))
        facts = [event.model, _tokens(event.usage), _money(event.cost), f"{time.monotonic() - self._began:.1f} s"]
        if event.finish_reason == "length":
            facts.append("cut off: the answer reached its longest")
        elif event.finish_reason == "content_filter":
            facts.append("cut off by the vendor's content filter")
        if event.saved is False:
            facts.append("not saved")
        self._note(" · ".join(fact for fact in facts if fact))

    def _error(self, error: ErrorBody) -> None:
        later = f" (try again in {error.retry_after:g} s)" if error.retry_after else ""
        where = f" [{error.field}]" if error.field else ""
        self._note(f"{error.code}{where}: {error.message}{later}", style="red")

    def _note(self, text: str, *, style: str = "dim") -> None:
        self._still()
        self._end_line()
        line = " ".join(text.translate(CONTROLS).split())
        self._notes.print(Text(line, style=style), soft_wrap=not self._notes.is_terminal)

    def _end_line(self) -> None:
        """End a line that was left open, where it was left open."""
        self._line.begin()
        if self._open is not None:
            stream = self._out if self._open == "answer" else self._notes.file
            stream.write("\n")
            stream.flush()
            self._open = None

    def _spin(self, text: str) -> None:
        if not self._notes.is_terminal:
            return
        self._end_line()
        line = Text(" ".join(text.translate(CONTROLS).split()), style="dim", overflow="ellipsis", no_wrap=True)
        if self._spinner is None:
            self._spinner = self._notes.status(line)
            self._spinner.start()
        else:
            self._spinner.update(line)

    def _still(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def _tokens(usage: Usage | None) -> str:
    if usage is None:
        return ""
    about = "~" if usage.estimated else ""
    return f"{about}{usage.input_tokens} in, {about}{usage.output_tokens} out"


def _money(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return f"${cost.amount}" if cost.currency == "USD" else f"{cost.amount} {cost.currency}"
