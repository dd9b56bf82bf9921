"""Tools that plugins offer to the model, run on the server under the caller's identity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from engine.api.identity import Principal


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One call of a tool: who asks, on which stream, with which validated arguments."""

    principal: Principal
    stream: str
    call_id: str
    arguments: BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function for the model. `parameters` describes and validates its arguments.

    `run` returns text or plain data (sent to the model as JSON). What it raises is told to the model and shown as an
    event; the turn goes on. `timeout` is in seconds.
    """

    name: str
    description: str
    parameters: type[BaseModel]
    run: Callable[[ToolRequest], Awaitable[Any]]
    scope: str = "chat"
    timeout: float = 30.0


class Tools(Protocol):
    """The tool table, as a feature sees it."""

    def offered(self, principal: Principal) -> Sequence[Tool]:
        """The tools that this caller may use."""
        ...

    def get(self, name: str) -> Tool | None:
        """The tool of this name, or None."""
        ...

    def table(self) -> Mapping[str, Tool]:
        """All tools by name."""
        ...
