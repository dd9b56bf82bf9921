"""Names that belong to a plugin whether it is on or off, so that `feature_disabled` can name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# First-party names that do not follow from the plugin's own: address prefixes and first words of commands.
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "openai_api": ("/v1",),
    "chat": ("/api/v1/chat", "/api/v1/conversations", "/api/v1/prompts"),
}
_COMMANDS: Mapping[str, tuple[str, ...]] = {"chat": ("chat", "tool")}


def reserved_prefixes(off: Iterable[str]) -> dict[str, str]:
    """Address prefix to plugin, for the plugins that are off."""
    return {prefix: name for name in off for prefix in _PREFIXES.get(name, (f"/api/v1/{name}",))}


def reserved_commands(off: Iterable[str]) -> dict[str, str]:
    """First word of a command to plugin, for the plugins that are off."""
    return {word: name for name in off for word in _COMMANDS.get(name, (name,))}
