"""How the installed plugins stand: as a running server says, or as a start with the configuration would have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from engine.cli.remote import LISTED_WITHIN, connection, reached
from engine.cli.terminal import assembled, plain_table, run
from engine.config import RawConfig

_NOT_ENABLED = "off: not in [plugins] enabled"


@dataclass(frozen=True, slots=True)
class PluginLine:
    """One plugin in the list."""

    name: str
    on: bool
    state: str
    origin: str
    hooks: Sequence[str]


def running(url: str, key: str | None) -> list[PluginLine]:
    """The plugins of the running server; raises `NoServer` where none answers."""
    answer = run(_asked(url, key))
    return [
        PluginLine(each["name"], each["state"] == "on", _state(each), each["origin"], each.get("hooks", ()))
        for each in answer["plugins"]
    ]


async def _asked(url: str, key: str | None) -> Any:
    async with connection(key, LISTED_WITHIN) as http:
        return await reached(http, url, "GET", "/api/v1/admin/plugins")


def configured(raw: RawConfig) -> list[PluginLine]:
    """The plugins as a start with this configuration would have them."""
    # A required plugin that fails stops a start; here it is a line that says why.
    engine = run(assembled(raw.with_value("plugins.required", [], "betterai plugins")))
    return [
        PluginLine(
            part.name,
            part.on,
            "on" if part.on else f"off: {part.reason}" if part.reason else _NOT_ENABLED,
            part.origin,
            part.hooks,
        )
        for part in engine.loader.parts.values()
    ]


def table(lines: Iterable[PluginLine]) -> Table:
    """The list, with what is on first."""
    shown = plain_table("plugin", "state")
    for line in sorted(lines, key=lambda line: (not line.on, line.name)):
        hooks = ", ".join(hook.removeprefix("register_") for hook in line.hooks)
        more = (f"from {line.origin}", *([f"hooks: {hooks}"] if hooks else []))
        shown.add_row(line.name, "\n".join((line.state, *more)))
    return shown


def _state(plugin: Mapping[str, Any]) -> str:
    """How a plugin of the running server stands, in words."""
    switched, reason = plugin.get("switched"), plugin.get("reason")
    match plugin["state"]:
        case "on":
            return "on: switched on since the start" if switched else "on"
        case "closing":
            return f"closing: {plugin.get('running', 0)} of its turns run on"
        case "failed":
            if plugin.get("struck_out"):
                return f"struck out: {str(reason).removeprefix('was switched off: ')}"
            return f"failed: {reason}"
        case "off" if not switched:
            return _NOT_ENABLED
        case "off":
            return "off: switched off since the start"
        case other:
            return f"{other}: {reason}" if reason else str(other)
