"""How hard Gemini is asked to think, by the generation of the model."""

from __future__ import annotations

import re
from typing import Any

from engine.api import Reasoning
from plugins.vendors.dialect import Effort, nearest_effort

BUDGETS: dict[Effort, int] = {"none": 0, "minimal": 512, "low": 2048, "medium": 8000, "high": 16000, "max": 24576}
"""Tokens that each effort may think, for the models that take budgets."""

_GENERATION = re.compile(r"gemini-(?P<major>\d+)(?:\.(?P<minor>\d+))?(?P<rest>.*)")
_ALL: tuple[Effort, ...] = ("minimal", "low", "medium", "high")
# 2.5 Pro always thinks: 128 tokens are its least.
_PRO_BUDGETS: dict[Effort, int] = {"none": 128, "max": 32768}


def thinking_config(reasoning: Reasoning, model: str) -> dict[str, Any]:
    """`thinkingConfig`: a level from the third generation on, a budget before it; empty where nothing is asked for.

    Where a model cannot do without thinking, `none` is the least that it can do.
    """
    if reasoning.effort is None and reasoning.budget is None:
        return {}
    depth = _level(reasoning, model) if takes_levels(model) else _budget(reasoning, model)
    wanted = depth.get("thinkingBudget") != 0 and reasoning.effort != "none"
    return {**depth, "includeThoughts": wanted and reasoning.summary}


def takes_levels(model: str) -> bool:
    """Whether the model is of the third generation or newer, as names without a number are."""
    found = _GENERATION.match(model)
    return int(found["major"]) >= 3 if found else model.startswith("gemini")


def effort_of_budget(budget: int) -> Effort:
    """The effort whose budget is closest."""
    return min(BUDGETS, key=lambda effort: abs(BUDGETS[effort] - budget))


def _level(reasoning: Reasoning, model: str) -> dict[str, Any]:
    effort = reasoning.effort or "medium"
    if reasoning.budget is not None:
        # A budget below zero leaves the depth to the model.
        if reasoning.budget < 0:
            return {}
        effort = effort_of_budget(reasoning.budget)
    return {"thinkingLevel": nearest_effort(effort, _levels(model)).upper()}


def _levels(model: str) -> tuple[Effort, ...]:
    found = _GENERATION.match(model)
    if found is None or "pro" not in found["rest"]:
        return _ALL
    return ("low", "high") if (found["major"], found["minor"]) == ("3", None) else ("low", "medium", "high")


def _budget(reasoning: Reasoning, model: str) -> dict[str, Any]:
    if reasoning.budget is not None:
        return {"thinkingBudget": reasoning.budget}
    budgets = {**BUDGETS, **_PRO_BUDGETS} if "-pro" in model else BUDGETS
    return {"thinkingBudget": budgets[reasoning.effort or "medium"]}
