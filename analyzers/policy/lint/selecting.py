"""Label selectors that select nothing, or all that another one does."""

from __future__ import annotations

from collections import defaultdict

from analyzers.policy.lint.model import Check
from analyzers.policy.selectors import Requirement, Selector

SELECTS_NOTHING = Check("selects-nothing", "error", "a selector whose requirements exclude each other")


def impossible(selector: Selector) -> bool:
    """Whether no labels meet it."""
    by_key: dict[str, list[Requirement]] = defaultdict(list)
    for one in selector.requirements:
        by_key[one.key].append(one)
    return any(_excluded(found) for found in by_key.values())


def _excluded(requirements: list[Requirement]) -> bool:
    operators = {one.operator for one in requirements}
    wanted = [set(one.values) for one in requirements if one.operator == "In"]
    left = set[str].intersection(*wanted) if wanted else None
    for one in requirements:
        if one.operator == "NotIn" and left is not None:
            left -= set(one.values)
    if left is not None and not left:
        return True
    return "DoesNotExist" in operators and bool(operators & {"In", "Exists"})


def selects_all_of(wide: Selector, narrow: Selector) -> bool:
    """Whether `wide` selects whatever `narrow` does, for certain."""
    return set(wide.requirements) <= set(narrow.requirements)
