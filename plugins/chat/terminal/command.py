"""The command `betterai chat`."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from engine.wire.address import DEFAULT_ADDRESS, socket_address
from plugins.chat.terminal.background import BackgroundLoop
from plugins.chat.terminal.client import ChatClient
from plugins.chat.terminal.prompt import clean, converse
from plugins.chat.terminal.talk import Choices, Talk
from plugins.chat.terminal.view import JsonView, TextView, View
from plugins.vendors.asking import FormerServerOption, KeyOption, ServerOption, refused_address


def register(app: typer.Typer) -> None:
    """Add `chat` to the program."""
    app.command("chat")(chat)


def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="What to ask; without it, standard input or a conversation.")
    ] = None,
    server: ServerOption = DEFAULT_ADDRESS,
    url: FormerServerOption = None,
    key: KeyOption = None,
    model: Annotated[str | None, typer.Option(help="Model that answers; the server's default without it.")] = None,
    instructions: Annotated[str | None, typer.Option(help="What the model is to be and do.")] = None,
    conversation: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on with this conversation; a new one without it.")
    ] = None,
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Show what the model thinks, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print every event as one line of JSON.")] = False,
) -> None:
    """Talk with a model.

    With a PROMPT, or text on standard input: one answer; the exit code is 0 when it was completed, else 1.

    Without: a conversation. Ctrl-C stops an answer, Ctrl-D leaves.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    notes = Console(stderr=True, highlight=False)
    view: View = JsonView(sys.stdout) if json else TextView(sys.stdout, notes, reasoning=reasoning)
    text = _message(prompt)
    choices = Choices(model, instructions, conversation)
    try:
        completed = _run(ChatClient(_socket_url(server, url), key or None), view, choices, text, notes)
    except BrokenPipeError:
        _leave_quietly()
    raise typer.Exit(0 if completed else 1)


def _run(client: ChatClient, view: View, choices: Choices, text: str | None, notes: Console) -> bool:
    with BackgroundLoop() as loop:
        loop.run(client.__aenter__())
        try:
            talk = Talk(loop, client, view, choices)
            if not talk.connect():
                return False
            if text is not None:
                return talk.say(text)
            converse(talk, notes)
            return True
        finally:
            loop.run(client.__aexit__(None, None, None))


def _message(prompt: list[str] | None) -> str | None:
    """The one message to send, or None where a person is there to type."""
    if prompt:
        text = clean(" ".join(prompt))
    elif sys.stdin is not None and not sys.stdin.isatty():
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    else:
        return None
    if not text.strip():
        raise typer.BadParameter("there is nothing to send: the message is empty", param_hint="PROMPT")
    return text


def _socket_url(server: str, url: str | None) -> str:
    """The address of the server's WebSocket; `--url` is the former name of the option."""
    try:
        return socket_address(url or server)
    except ValueError as error:
        raise refused_address(error, url) from None


def _leave_quietly() -> NoReturn:
    """Whoever read our output has gone, as `head` does. Python's own flush at the exit would complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(1)
