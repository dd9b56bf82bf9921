"""What reaches the log, in which form, and what never does."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from engine.config import LogSettings
from engine.log import bound_contextvars, configure, get_logger

SECRET = "hunter2-hunter2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_time_level_name_and_fields(out: io.StringIO) -> None:
    configure(LogSettings(), out)
    get_logger("engine.bus").info("turn_finished", ms=3, parts=("a", 1), text="zwei\nZeilen ü")
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "turn_finished",
        "logger": "engine.bus",
        "ms": 3,
        "parts": ["a", 1],
        "text": "zwei\nZeilen ü",
    }


def test_ids_bound_to_the_context_are_on_every_event(out: io.StringIO) -> None:
    configure(LogSettings(), out)
    with bound_contextvars(request_id="r1", stream_id="s1"):
        get_logger("a").info("inside")
        logging.getLogger("library").warning("inside too")
    get_logger("a").info("outside")
    inside, library, outside = lines(out)
    assert (inside["request_id"], inside["stream_id"], library["request_id"]) == ("r1", "s1", "r1")
    assert "request_id" not in outside


def test_a_logger_made_before_configure_follows_the_latest_one(out: io.StringIO) -> None:
    logger = get_logger("early")
    configure(LogSettings(), io.StringIO())
    configure(LogSettings(level="error"), out)
    configure(LogSettings(), out)
    logger.info("heard")
    logging.getLogger("library").warning("once")
    assert [line["event"] for line in lines(out)] == ["heard", "once"]


def test_events_below_the_level_are_left_out(out: io.StringIO) -> None:
    configure(LogSettings(level="warning"), out)
    get_logger("a").info("quiet")
    get_logger("a").warning("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_user_content_is_dropped_at_any_depth_unless_asked_for(out: io.StringIO) -> None:
    fields: dict[str, Any] = {"pii_text": "hello", "request": {"pii_prompt": "hello", "items": [{"pii_x": "hello"}]}}
    configure(LogSettings(), out)
    get_logger("a").info("prompt_received", **fields)
    assert "hello" not in out.getvalue()
    configure(LogSettings(user_content=True), out)
    get_logger("a").info("prompt_received", **fields)
    assert lines(out)[1]["pii_text"] == "hello"


def test_libraries_speak_from_warning_on_because_they_log_what_they_send(out: io.StringIO) -> None:
    configure(LogSettings(level="debug"), out)
    logging.getLogger("library").debug("request body: hello")
    logging.getLogger("library").warning("lost %s", "connection")
    assert [(line["event"], line["logger"], line["level"]) for line in lines(out)] == [
        ("lost connection", "library", "warning")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"headers": {"X-Api-Key": SECRET, "Authorization": SECRET}},
        {"settings": [{"client_secret": SECRET}, {"accessToken": SECRET}]},
        {"password": SecretStr(SECRET), "value": SecretStr(SECRET), "many": [SecretStr(SECRET)]},
        {"url": f"mysql://app:{SECRET}@db/x"},
        {"url": f"https://vendor/v1/models?key={SECRET}&page=2"},
        {"header": f"Bearer {SECRET}"},
        {"error": ValueError(f"401 for sk-{SECRET}")},
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked(out: io.StringIO, fields: dict[str, Any], form: str) -> None:
    configure(LogSettings.model_validate({"format": form, "user_content": True}), out)
    get_logger("a").info("call", **fields)
    assert SECRET not in out.getvalue()
    assert "***" in out.getvalue()


def test_counts_of_tokens_are_no_secret(out: io.StringIO) -> None:
    configure(LogSettings(), out)
    get_logger("a").info("usage", input_tokens=7, max_tokens=9, key="server.port")
    (line,) = lines(out)
    assert (line["input_tokens"], line["max_tokens"], line["key"]) == (7, 9, "server.port")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("standard", [False, True])
def test_a_traceback_is_there_once_without_local_variables(out: io.StringIO, form: str, standard: bool) -> None:
    configure(LogSettings.model_validate({"format": form}), out)
    prompt = "local " + "content"
    try:
        raise ValueError("broken")
    except ValueError:
        (logging.getLogger("a").exception if standard else get_logger("a").exception)("turn_failed")
    text = out.getvalue()
    assert text.count("ValueError: broken") == 1
    assert text.count("Traceback") == 1
    assert prompt not in text


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere(out: io.StringIO) -> None:
    terminal = Terminal()
    configure(LogSettings(), terminal)
    get_logger("a").info("seen")
    assert "seen" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    configure(LogSettings(), out)
    get_logger("a").info("seen")
    assert out.getvalue().startswith("{")


def test_a_value_that_json_cannot_hold_does_not_lose_the_event(out: io.StringIO) -> None:
    configure(LogSettings(), out)
    circle: list[Any] = []
    circle.append(circle)
    get_logger("a").info("odd", half="\ud800", big=1 << 80, kind=object, pairs={(1, 2): {3}}, circle=circle)
    (line,) = lines(out)
    assert line["half"] == "\ud800"
    assert line["big"] == 1 << 80
    assert line["pairs"] == {"(1, 2)": [3]}


def test_a_stream_that_is_closed_does_not_fail_what_was_logged() -> None:
    out = io.StringIO()
    configure(LogSettings(), out)
    out.close()
    get_logger("a").info("lost")
    logging.getLogger("library").warning("lost")
