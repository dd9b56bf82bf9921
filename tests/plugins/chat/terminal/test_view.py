"""How turns look, on a terminal and through a pipe."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from engine.api.errors import ErrorBody
from engine.api.events import (
    Cost,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.wire.control import Accepted
from plugins.chat.terminal.notices import ClientEvent, ConnectionLost, Resumed, TextReplaced
from plugins.chat.terminal.view import JsonView, TextView

ENDED = StreamEnded(
    status="completed",
    reason="done",
    model="parrot-1",
    usage=Usage(input_tokens=12, output_tokens=34),
    cost=Cost(amount="0.000123"),
)


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def piped(*events: ClientEvent, reasoning: bool = False) -> tuple[str, str]:
    """What goes to standard output and to standard error, neither of them a terminal."""
    out, notes = io.StringIO(), io.StringIO()
    view = TextView(out, Console(file=notes, force_terminal=False), reasoning=reasoning)
    view.begin()
    for event in events:
        view.show(event)
    view.close()
    return out.getvalue(), notes.getvalue()


def on_screen(*events: ClientEvent, reasoning: bool = False) -> str:
    screen = Screen()
    notes = Console(file=screen, force_terminal=True, color_system="standard", width=80, _environ={})
    view = TextView(screen, notes, reasoning=reasoning)
    view.begin()
    for event in events:
        view.show(event)
    view.close()
    return screen.getvalue()


def test_a_pipe_gets_the_answer_and_nothing_else() -> None:
    out, notes = piped(TextDelta("Hel"), TextDelta("lo"), ENDED)
    assert out == "Hello\n"
    assert re.fullmatch(r"parrot-1 · 12 in, 34 out · \$0\.000123 · \d+\.\d s\n", notes)


def test_nothing_that_is_piped_has_escape_codes() -> None:
    out, notes = piped(
        StatusChanged(stage="loading", detail="10%"),
        ReasoningDelta("hm"),
        TextDelta("a"),
        ConnectionLost(),
        Resumed(stream="s", after=3, recovered=True),
        TextDelta("b"),
        ENDED,
        reasoning=True,
    )
    assert "\x1b" not in out + notes
    assert "loading: 10%" in notes


def test_an_answer_that_ends_its_line_gets_no_second_end() -> None:
    assert piped(TextDelta("Hello\n"), ENDED)[0] == "Hello\n"


def test_the_last_line_on_a_terminal_is_dim() -> None:
    assert re.search(r"\x1b\[2mparrot-1 · .* s\x1b\[0m\n$", on_screen(TextDelta("Hello"), ENDED))


def test_words_move_on_a_terminal_that_can_and_stay_on_one_that_cannot() -> None:
    text = TextDelta("word " * 15 + "extraordinary")
    assert "word " * 15 + "extr\x1b[4D\x1b[K\nextraordinary\n" in on_screen(text, ENDED)
    screen = Screen()
    view = TextView(screen, Console(file=screen, force_terminal=True, width=80, _environ={"TERM": "dumb"}))
    view.show(text)
    assert screen.getvalue() == text.text


def test_a_loading_model_shows_its_progress_in_a_spinner_that_leaves_no_trace() -> None:
    shown = on_screen(StatusChanged(stage="loading", detail="reading the model"), TextDelta("Hello"), ENDED)
    assert "loading: reading the model" in shown
    assert "\x1b[?25h" in shown[: shown.index("Hello")]


def test_text_cannot_command_the_terminal() -> None:
    shown = on_screen(TextDelta("a\x1b]0;owned\x07\x9b2Jb\rc\n"))
    assert "a]0;owned2Jbc\n" in shown


def test_notes_cannot_command_the_terminal() -> None:
    _, notes = piped(StatusChanged(stage="loading", detail="x\x1b[31m\ny"))
    assert notes == "loading: x[31m y\n"


def test_reasoning_is_shown_dimmed_where_it_is_asked_for() -> None:
    events = (ReasoningDelta("Let me "), ReasoningDelta("think"), TextDelta("Hello"), ENDED)
    assert "think" not in on_screen(*events)
    assert re.search(r"\x1b\[2mthink\x1b\[0m\nHello\n", on_screen(*events, reasoning=True))


def test_reasoning_does_not_go_into_the_piped_answer() -> None:
    assert piped(ReasoningDelta("hm"), TextDelta("Hello"), ENDED, reasoning=True)[0] == "Hello\n"


def test_a_lost_connection_and_its_return_are_told_once_each() -> None:
    out, notes = piped(
        TextDelta("Hel"), ConnectionLost(), Resumed(stream="s", after=17, recovered=True), TextDelta("lo"), ENDED
    )
    assert notes.startswith("connection lost, coming back…\nresumed after 17\nparrot-1")
    assert out == "Hel\nlo\n"


def test_a_message_that_was_sent_again_is_said_to_have_been_sent_once() -> None:
    notes = piped(ConnectionLost(), Accepted(stream="s"), ENDED)[1]
    assert "connected again" in notes


def test_a_first_acceptance_is_not_worth_a_word() -> None:
    assert piped(Accepted(stream="s"))[1] == ""


def test_a_replaced_answer_is_told_from_its_beginning() -> None:
    assert piped(TextDelta("Hel"), TextReplaced("Good day"), ENDED)[0] == "Hel\nGood day\n"


def test_a_failed_answer_shows_one_line_with_the_code() -> None:
    error = ErrorBody(code="provider_refused", message="OpenAI refused\nthe key", retryable=False)
    ended = StreamEnded(status="failed", reason="provider_error", error=error)
    assert piped(ended)[1].splitlines()[0] == "provider_refused: OpenAI refused the key"
    assert "\x1b[31mprovider_refused" in on_screen(ended)


def test_a_cancelled_answer_says_so() -> None:
    ended = StreamEnded(
        status="cancelled", reason="client_cancel", usage=Usage(input_tokens=1, output_tokens=2, estimated=True)
    )
    notes = piped(TextDelta("Hel"), ended)[1]
    assert notes.startswith("cancelled\n~1 in, ~2 out")


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (StreamEnded(status="completed", reason="done", finish_reason="length"), "cut off"),
        (StreamEnded(status="completed", reason="done", finish_reason="content_filter"), "content filter"),
        (StreamEnded(status="completed", reason="done", saved=False), "not saved"),
    ],
)
def test_an_answer_that_is_not_all_right_says_why(ended: StreamEnded, told: str) -> None:
    assert told in piped(ended)[1]


def test_a_tool_call_names_the_tool() -> None:
    call = ToolCall(call_id="k", name="weather", arguments="{}", client=True)
    assert "calls weather (this terminal has no tools)" in piped(call)[1]


def test_json_is_one_object_a_line() -> None:
    out = io.StringIO()
    view = JsonView(out)
    view.begin()
    view.show(TextDelta("a\nb"))
    view.fail(ErrorBody(code="no_server", message="none", retryable=True))
    view.close()
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"type": "text.delta", "text": "a\nb"},
        {"type": "error", "error": {"code": "no_server", "message": "none", "retryable": True}},
    ]
