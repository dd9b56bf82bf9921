"""Structured logs: one line per event, user content only when asked for, secrets never."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, cast

import msgspec
import structlog
from pydantic import SecretBytes, SecretStr
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from engine.config.secrecy import MASK, mask_text, names_secret
from engine.config.settings import LogSettings

__all__ = ("bound_contextvars", "configure", "get_logger")

_DEEPEST = 8


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose events carry `logger=name`. Event names are static; what varies goes into fields."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logs, those of Python's `logging` too, to the stream (stderr as shipped). May be called again.

    Fields bound with `bound_contextvars` (request and stream ids) are on every event of their context.
    """
    out = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    processors = _processors(settings, out)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *names: _Lines(out, *names),
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(_StandardHandler(out, processors), level, settings.user_content)


def _processors(settings: LogSettings, out: TextIO) -> list[Processor]:
    terminal = out.isatty()
    console = settings.format == "console" or (settings.format == "auto" and terminal)
    return [
        structlog.contextvars.merge_contextvars,
        _add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # The traceback as Python prints it: no local variables, they hold keys and prompts.
        structlog.processors.format_exc_info,
        *(() if settings.user_content else (drop_user_content,)),
        mask_secrets,
        _console_renderer(terminal) if console else _render_json,
    ]


def _console_renderer(colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def drop_user_content(logger: Any, method: str, event: EventDict) -> EventDict:
    """Leave out every field named pii_*, at any depth."""
    return cast("EventDict", _without_user_content(event, 0))


def mask_secrets(logger: Any, method: str, event: EventDict) -> EventDict:
    """Put *** in place of secrets, and make every value plain: text, number, boolean, list or table."""
    return {key: _masked(str(key), value, 0) for key, value in event.items()}


def _without_user_content(value: Any, depth: int) -> Any:
    if depth < _DEEPEST and isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if not str(key).startswith("pii_")}
        return {key: _without_user_content(item, depth + 1) for key, item in kept.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple):
        return [_without_user_content(item, depth + 1) for item in value]
    return value


def _masked(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, SecretStr | SecretBytes) or (names_secret(key) and value is not None):
        return MASK
    if isinstance(value, bool | int | float | None):
        return value
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(name): _masked(str(name), item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", item, depth + 1) for item in value]
    return mask_text(repr(value) if isinstance(value, BaseException) else str(value))


def _add_logger_name(logger: "_Lines", method: str, event: EventDict) -> EventDict:
    if logger.name:
        event["logger"] = logger.name
    return event


def _render_json(logger: Any, method: str, event: EventDict) -> str:
    line = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    line.update(event)
    try:
        return msgspec.json.encode(line).decode()
    except (UnicodeEncodeError, OverflowError):
        # Half a surrogate pair, an integer beyond 64 bits: the standard encoder takes both.
        return json.dumps(line)


class _Lines:
    """Writes rendered events; a stream that is closed or full must not fail what was being logged."""

    def __init__(self, out: TextIO, name: str = "") -> None:
        self.name = name
        self._out = out

    def msg(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = msg


class _StandardHandler(logging.Handler):
    """Gives records of Python's `logging` the same fields, filters and form as our own events."""

    def __init__(self, out: TextIO, processors: Sequence[Processor]) -> None:
        super().__init__()
        self._out = out
        self._processors = processors

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = _Lines(self._out, record.name)
            event: Any = {"event": record.getMessage()}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            if record.stack_info:
                event["stack"] = record.stack_info
            for process in cast("Sequence[Callable[..., Any]]", self._processors):
                event = process(lines, record.levelname.lower(), event)
            lines.msg(event)
        except Exception:
            self.handleError(record)


def _route_standard_logging(handler: _StandardHandler, level: int, user_content: bool) -> None:
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _StandardHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    # Below warning, SDKs and drivers log the requests and rows they send.
    root.setLevel(level if user_content else max(level, logging.WARNING))
