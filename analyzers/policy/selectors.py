"""Kubernetes' label selectors: `matchLabels` and `matchExpressions`, all of which must hold.

Source: kubernetes.io/docs/concepts/overview/working-with-objects/labels, apimachinery/pkg/labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from analyzers.policy.documents import Value

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NAME = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One expression over one label."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are so. `NotIn` holds of a label that is not there."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def __call__(self, labels: Mapping[str, str]) -> bool:
        """Whether it selects what bears these labels."""
        return all(one.holds(labels) for one in self.requirements)


def read_selector(value: Value, null: str | None = None) -> Selector:
    """A LabelSelector.

    Args:
        null: what a label's value is where it is null: the empty text in Kubernetes' own kinds. None refuses it.

    Raises:
        BadPolicy: what Kubernetes would refuse.
    """
    fields = value.fields("matchLabels", "matchExpressions")
    found: list[Requirement] = []
    if labels := fields.get("matchLabels"):
        for name, text in labels.entries().items():
            _check_name(text, name)
            found.append(Requirement(name, "In", (_label_value(text, null),)))
    if expressions := fields.get("matchExpressions"):
        found.extend(_expression(item, null) for item in expressions.items())
    return Selector(tuple(found))


def _expression(value: Value, null: str | None) -> Requirement:
    fields = value.fields("key", "operator", "values")
    for needed in ("key", "operator"):
        if needed not in fields:
            value.refuse(f"no {needed}, expected one")
    key, operator = fields["key"].text(), fields["operator"].one_of(*OPERATORS)
    _check_name(fields["key"], key)
    values = tuple(_label_value(item, null) for item in fields["values"].items()) if "values" in fields else ()
    if operator in ("In", "NotIn") and not values:
        value.refuse(f"{operator} without values, expected at least one")
    if operator not in ("In", "NotIn") and values:
        value.refuse(f"{operator} with values, expected none")
    return Requirement(key, operator, values)


def _check_name(at: Value, name: str) -> None:
    if not _NAME.fullmatch(name):
        at.refuse(f"{name[:60]!r}, expected the name of a label, such as app or example.com/tier")


def _label_value(value: Value, null: str | None) -> str:
    if value.is_null:
        # Left out, it would select more than what is written.
        if null is None:
            value.refuse("a label without a value, expected one ('' where it is empty)")
        return null
    text = value.text()
    if not _VALUE.fullmatch(text):
        value.refuse(f"{value.shown}, expected a label's value: at most 63 letters, digits, '-', '_' and '.'")
    return text
