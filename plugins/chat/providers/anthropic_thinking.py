"""How hard Claude is asked to think, by the generation of the model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from engine.api import ChatRequest, InvalidRequest, Message, Reasoning, ReasoningPart
from plugins.vendors.dialect import Effort

SMALLEST_BUDGET = 1024
DEFAULT_MAX_TOKENS = 8192
BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 2048, "medium": 8000, "high": 16000, "max": 32000}
"""Tokens that each effort may think, for the models that take budgets."""

# Adaptive thinking has no effort below low.
_EFFORTS: dict[Effort, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "max": "max"}

_NAME = re.compile(r"claude-(?P<family>[a-z]+)?-?(?P<major>\d{1,2})?(?:[-.](?P<minor>\d{1,2})(?!\d))?")
# They always think, and a request not to is an error.
_ALWAYS = frozenset({"mythos", "fable"})

Generation: TypeAlias = Literal["budget", "both", "adaptive"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """The fields that a body gets. `on` is whether the model may think because of them."""

    max_tokens: int
    on: bool = False
    thinking: dict[str, Any] | None = None
    effort: str | None = None


def thinking(request: ChatRequest, provider: str, most: int | None) -> Thinking:
    """Thinking and the bound on the output, which contains it; `most` is the most that the model can put out.

    Raises `InvalidRequest` for a budget that the API does not take.
    """
    room = request.max_output_tokens or min(DEFAULT_MAX_TOKENS, most or DEFAULT_MAX_TOKENS)
    asked = request.reasoning
    if asked is None or (asked.effort is None and asked.budget is None):
        return Thinking(room)
    effort = asked.effort if asked.budget is None else effort_of_budget(asked.budget)
    if effort is None or effort == "none":
        return _without(request, room)
    generation = generation_of(request.model)
    if generation == "adaptive" or (generation == "both" and asked.budget is None):
        grown = request.max_output_tokens or _within(room + BUDGETS[effort], most)
        return Thinking(grown, True, _shown({"type": "adaptive"}, asked), _EFFORTS[effort])
    if _goes_on_unthought(request.messages, provider):
        return Thinking(room)
    return _budgeted(request, asked, BUDGETS[effort] if asked.budget is None else asked.budget, room, most)


def effort_of_budget(budget: int) -> Effort:
    """The effort whose budget is closest."""
    if budget <= 0:
        return "none"
    return min(BUDGETS, key=lambda effort: abs(BUDGETS[effort] - budget))


def generation_of(model: str) -> Generation:
    """Whether the model takes budgets (up to 4.5, and the servers that imitate it), adaptive thinking, or both (4.6)."""
    family, version = _version(model)
    if family is None and version is None:
        return "budget"
    if family in _ALWAYS:
        return "adaptive"
    if version is None or version == (4, 6):
        return "both"
    return "adaptive" if version > (4, 6) else "budget"


def _version(model: str) -> tuple[str | None, tuple[int, int] | None]:
    found = _NAME.search(model)
    if found is None:
        return None, None
    # Before the fourth generation the family came last: claude-3-7-sonnet.
    version = (int(found["major"]), int(found["minor"] or 0)) if found["major"] else None
    return found["family"], version


def _without(request: ChatRequest, room: int) -> Thinking:
    family, version = _version(request.model)
    if family in _ALWAYS:
        return Thinking(room, True, None, "low")
    # Older models think only when asked, and some of them refuse to be told not to.
    return Thinking(room, thinking={"type": "disabled"} if version is not None and version >= (5, 0) else None)


def _budgeted(request: ChatRequest, asked: Reasoning, budget: int, room: int, most: int | None) -> Thinking:
    if asked.budget is not None and budget < SMALLEST_BUDGET:
        raise InvalidRequest(f"Anthropic's smallest reasoning budget is {SMALLEST_BUDGET} tokens.", field="reasoning")
    bound = request.max_output_tokens or _within(room + budget, most)
    if budget >= bound:
        if asked.budget is not None or bound <= SMALLEST_BUDGET:
            raise InvalidRequest(
                f"max_output_tokens contains the reasoning: it must be above {budget}, the tokens to reason with.",
                field="max_output_tokens",
            )
        # An effort is no exact figure: half of the room is left for the answer.
        budget = max(SMALLEST_BUDGET, bound // 2)
    return Thinking(bound, True, _shown({"type": "enabled", "budget_tokens": budget}, asked))


def _within(tokens: int, most: int | None) -> int:
    return min(tokens, most) if most else tokens


def _shown(thinking: dict[str, Any], asked: Reasoning) -> dict[str, Any]:
    if not asked.summary:
        return {**thinking, "display": "omitted"}
    # Models with adaptive thinking may show nothing unless told to; older ones always show it.
    return {**thinking, "display": "summarized"} if thinking["type"] == "adaptive" else thinking


def _goes_on_unthought(messages: tuple[Message, ...], provider: str) -> bool:
    """Whether tools now answer calls that were made without thinking, which a model with a budget may then not do."""
    last = next((message for message in reversed(messages) if message.role != "tool"), None)
    if last is None or last.role != "assistant" or not last.tool_calls:
        return False
    thoughts = (part for part in last.parts if isinstance(part, ReasoningPart))
    return not any(part.provider == provider and part.signature for part in thoughts)
