"""Names that belong to a plugin whether it takes part or not, so that `feature_disabled` can name it."""

from __future__ import annotations

from collections.abc import Mapping

# First-party names that do not follow from the plugin's own: address prefixes and first words of commands.
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "openai_api": ("/v1",),
    "chat": ("/api/v1/chat", "/api/v1/conversations", "/api/v1/prompts"),
}
_COMMANDS: Mapping[str, tuple[str, ...]] = {"chat": ("chat", "tool")}


def reserved_prefixes(absent: Mapping[str, str]) -> dict[str, str]:
    """Address prefix to why nothing answers there, for plugins that take no part and why."""
    return {prefix: why for name, why in absent.items() for prefix in _PREFIXES.get(name, (f"/api/v1/{name}",))}


def reserved_commands(absent: Mapping[str, str]) -> dict[str, str]:
    """First word of a command to why nothing answers it, for plugins that take no part and why."""
    return {word: why for name, why in absent.items() for word in _COMMANDS.get(name, (name,))}
