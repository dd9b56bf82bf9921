"""The picture of a chat in the terminal: the real view, shown a scripted talk."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from engine.api.events import Cost, StreamEnded, TextDelta, Usage
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost, Resumed
from plugins.chat.terminal.prompt import PROMPT
from plugins.chat.terminal.view import TextView

WIDTH = 84
FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.S)
"""Left out of the picture: it shows without a network, in whatever monospaced font is there."""

_MODEL = "anthropic/claude-haiku-5-5"

TALK: Sequence[tuple[str, str, Sequence[ClientEvent]]] = (
    (
        "Why is the sky blue? One sentence.",
        "1.1 s",
        (
            TextDelta("Air scatters the short, blue waves of sunlight "),
            TextDelta("far more than the long, red ones."),
            StreamEnded(
                status="completed",
                reason="done",
                model=_MODEL,
                usage=Usage(input_tokens=19, output_tokens=31),
                cost=Cost(amount="0.0000174"),
            ),
        ),
    ),
    (
        "And at sunset?",
        "3.4 s",
        (
            TextDelta("Then the light comes through much more air, "),
            ConnectionLost(),
            Resumed(stream="s_…", after=12, recovered=True),
            TextDelta("and by the time it reaches you only the reds are left."),
            StreamEnded(
                status="completed",
                reason="done",
                model=_MODEL,
                usage=Usage(input_tokens=64, output_tokens=27),
                cost=Cost(amount="0.0000199"),
            ),
        ),
    ),
)


class Answers(io.StringIO):
    """Standard output of the view, printed on the console that draws the picture."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def write(self, text: str) -> int:
        self._console.print(Text(text), end="")
        return len(text)


def picture() -> str:
    """The talk as SVG: the same text for the same view."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=False, highlight=False)
    console.print(Text("$ betterai chat", style="bold"))
    for question, took, events in TALK:
        console.print(Text(PROMPT + question, style="bold"))
        before = len(console._record_buffer)
        view = TextView(Answers(console), console)
        view.begin()
        for event in events:
            view.show(event)
        view.close()
        _say_how_long(console, before, took)
    console.print(Text(PROMPT, style="bold"))
    return console.export_svg(title="betterai chat", unique_id="talk", code_format=FONTS.sub("", CONSOLE_SVG_FORMAT))


def _say_how_long(console: Console, since: int, took: str) -> None:
    """The script answers at once; the picture tells the time that such an answer takes."""
    buffer = console._record_buffer
    buffer[since:] = [segment._replace(text=re.sub(r"\d+\.\d s$", took, segment.text)) for segment in buffer[since:]]
