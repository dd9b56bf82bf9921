"""The loop in which a person types: messages, and commands that begin with a slash."""

from __future__ import annotations

import contextlib

from rich.console import Console
from rich.text import Text

from plugins.chat.terminal.talk import Talk
from plugins.chat.terminal.view import CONTROLS

PROMPT = "> "
HELP = """\
/model NAME  answer with another model; without a name: the server's default
/new         begin a new conversation
/help        show this
/quit        leave, as Ctrl-D does
Ctrl-C stops an answer, and leaves at the prompt."""


def converse(talk: Talk, notes: Console) -> None:
    """Read and answer until the person leaves, by `/quit`, Ctrl-C or Ctrl-D."""
    with contextlib.suppress(ImportError):
        # Gives `input` its line editing and history, and takes memory that no server needs; Windows has none.
        import readline  # noqa: F401
    for line in talk.banner():
        _note(notes, clean(line).translate(CONTROLS))
    _note(notes, "/help shows the commands")
    while (line := _typed(notes)) != "/quit":
        if line.startswith("/"):
            _command(line, talk, notes)
        elif line:
            talk.say(clean(line))
    if talk.choices.conversation:
        _note(notes, f"go on later with --conversation {talk.choices.conversation}")


def _typed(notes: Console) -> str:
    try:
        return input(PROMPT).strip()
    except (EOFError, KeyboardInterrupt):
        notes.print()
        return "/quit"


def clean(text: str) -> str:
    """The text with a mark in the place of bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _command(line: str, talk: Talk, notes: Console) -> None:
    name, _, argument = line.partition(" ")
    match name:
        case "/model":
            talk.choices.model = argument.strip() or None
            _note(notes, f"model: {talk.choices.model or 'the default of the server'}")
        case "/new":
            talk.choices.conversation = None
            _note(notes, "a new conversation")
        case "/help":
            _note(notes, HELP)
        case _:
            _note(notes, f"there is no command {name}; /help shows those that there are", style="red")


def _note(notes: Console, text: str, style: str = "dim") -> None:
    notes.print(Text(text, style=style), soft_wrap=not notes.is_terminal)
