"""How a vendor's Chat Completions differ from the common ground, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "max"]

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "max")
"""From no thinking to as much as there is."""

# The most tokens that count as each effort; what is above the last is "high".
_BUDGETS: tuple[tuple[int, Effort], ...] = ((0, "none"), (1024, "minimal"), (4096, "low"), (16384, "medium"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What a vendor takes; the defaults are the common ground."""

    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    seed: str = "seed"
    developer_role: bool = False
    """Whether there is a role `developer`; without it such messages are sent as `system`."""
    include_usage: bool = True
    """Whether usage has to be asked for with `stream_options`; a vendor that refuses the field sends it unasked."""
    efforts: tuple[Effort, ...] = EFFORTS
    """The names that `reasoning_effort` takes; any other is sent as the nearest. Empty: there is no such field."""
    reasoning_object: bool = False
    """Reasoning is asked for with OpenRouter's object `reasoning` in place of `reasoning_effort`."""
    reasoning_back: str | None = None
    """Field in which the vendor wants its own thinking back between tool calls."""
    web_search: Literal["web_search_options", "plugin", "always"] | None = None
    """How the vendor's search is switched on: by OpenAI's field, OpenRouter's plugin, or not at all as it always is."""
    top_k: bool = True
    """Whether there is a field `top_k`."""
    cache_control: bool = False
    """Whether marks for the prompt cache are taken in parts of messages and in tools, as Anthropic words them."""
    headers: Mapping[str, str] = field(default_factory=dict)


COMMON = Dialect()
"""What nearly every OpenAI-compatible server understands."""

OPENAI = Dialect(max_tokens="max_completion_tokens", developer_role=True, web_search="web_search_options", top_k=False)
"""OpenAI's own Chat Completions."""


def effort_of_budget(budget: int) -> Effort:
    """The effort that comes closest to a budget of thinking tokens."""
    return next((effort for most, effort in _BUDGETS if budget <= most), "high")


def nearest_effort(effort: Effort, offered: tuple[Effort, ...]) -> Effort:
    """The offered effort that is closest; of two, the lower. `none` is never taken for an effort that is some."""
    wanted = EFFORTS.index(effort)
    some = [name for name in offered if name != "none" or effort == "none"] or list(offered)
    return min(some, key=lambda name: (abs(EFFORTS.index(name) - wanted), EFFORTS.index(name)))
