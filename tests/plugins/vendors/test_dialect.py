"""Names and budgets for how hard to think are translated into each other."""

import pytest

from plugins.vendors.dialect import Effort, effort_of_budget, nearest_effort


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "none"), (1, "minimal"), (1024, "minimal"), (4000, "low"), (10_000, "medium"), (50_000, "high")],
)
def test_a_budget_becomes_the_effort_that_comes_closest(budget: int, effort: Effort) -> None:
    assert effort_of_budget(budget) == effort


@pytest.mark.parametrize(
    ("asked", "offered", "sent"),
    [
        ("medium", ("low", "medium", "high"), "medium"),
        ("max", ("low", "high"), "high"),
        ("medium", ("low", "high"), "low"),
        ("minimal", ("none", "low", "medium"), "low"),
        ("none", ("none", "low"), "none"),
        ("none", ("low", "high"), "low"),
        ("low", ("none", "high"), "high"),
    ],
)
def test_an_effort_that_is_not_offered_becomes_the_nearest(
    asked: Effort, offered: tuple[Effort, ...], sent: Effort
) -> None:
    assert nearest_effort(asked, offered) == sent
