"""Rules of Istio's that others make void or superfluous, and rules that contradict themselves.

Only what is certain is told: where one policy applies wherever another does, and one rule holds of every request and of
every connection of which another does (`implies.py`). What several rules do together is looked at policy by policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from analyzers.policy.formula import FALSE, Formula, either
from analyzers.policy.istio.compile import rule_formula
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.lint.implies import Implications
from analyzers.policy.lint.istio_fields import covers
from analyzers.policy.lint.model import Check, Remark, Subject

NEVER = Check("never-matches", "error", "a rule whose conditions exclude each other")
VOID = Check("void-rule", "warning", "an ALLOW rule all of whose calls are denied")
SUPERFLUOUS = Check("superfluous-rule", "note", "a rule all of whose calls another one matches")
CHECKS = (NEVER, VOID, SUPERFLUOUS)
_T = TypeVar("_T")
MAX_PAIRS, MAX_LOOKED_AT = 100_000, 2_000_000
"""Pairs of rules that are compared, and of which it is looked at whether they are to be; those beyond are not."""


@dataclass(frozen=True)
class _Rule:
    subject: Subject
    number: int
    mesh: Mesh

    @property
    def policy(self) -> AuthorizationPolicy:
        return self.subject.model

    @cached_property
    def formulas(self) -> tuple[Formula, Formula]:
        """Over requests, and over connections."""
        rule = self.policy.rules[self.number]
        return (
            rule_formula(rule, self.policy, self.mesh, "http"),
            rule_formula(rule, self.policy, self.mesh, "tcp"),
        )

    @property
    def place(self) -> str:
        return f"spec.rules[{self.number}]"

    @property
    def shown(self) -> str:
        return f"rule {self.number} of {self.policy.action} policy {self.policy.id[:120]}"


def remarks(subjects: Sequence[Subject]) -> Iterator[Remark]:
    """What is to be said of the AuthorizationPolicies among `subjects`."""
    mesh = next((one.model for one in subjects if isinstance(one.model, Mesh)), Mesh())
    # What decides nothing is in nobody's way; a provider's answer is not known.
    enforced = [
        one
        for one in subjects
        if isinstance(one.model, AuthorizationPolicy) and not one.model.dry_run and one.model.action != "AUDIT"
    ]
    rules = [[_Rule(one, number, mesh) for number in range(len(one.model.rules))] for one in enforced]
    decided = Implications()
    for own in rules:
        for rule in own:
            if decided.never(rule.formulas[0]) and decided.never(rule.formulas[1]):
                done = "lets nobody in" if rule.policy.action == "ALLOW" else "stops nobody"
                # What is FALSE by itself was told where its value stands.
                if rule.formulas[0] != FALSE:
                    yield rule.subject.remark(
                        NEVER,
                        rule.place,
                        f"its conditions exclude each other, so it {done}: take out one of those that conflict",
                    )
    yield from _compared(rules, decided)


class _Bound:
    """How much is still done."""

    def __init__(self) -> None:
        self._looked_at, self._pairs = MAX_LOOKED_AT, MAX_PAIRS

    def covers(self, wide: _Rule, narrow: _Rule) -> bool:
        """Whether one's policy applies wherever the other's does; False once too much was looked at."""
        self._looked_at -= 1
        if self._looked_at < 0:
            return False
        return wide.policy is narrow.policy or covers(wide.policy, narrow.policy, wide.mesh)

    def takes(self, pairs: int = 1) -> bool:
        """Whether so many more may be compared."""
        self._pairs -= pairs
        return self._pairs >= 0 and self._looked_at >= 0


def _near(rules: Mapping[str, list[_T]], rule: _Rule) -> Iterator[_T]:
    """Those of the rule's namespace, and of the root namespace: no others apply wherever it does."""
    for namespace in dict.fromkeys((rule.policy.namespace, rule.mesh.root_namespace)):
        yield from rules.get(namespace, ())


def _compared(rules: Sequence[Sequence[_Rule]], decided: Implications) -> Iterator[Remark]:
    bound = _Bound()
    void: set[int] = set()
    denying: dict[str, list[Sequence[_Rule]]] = defaultdict(list)
    for own in rules:
        if own and own[0].policy.action == "DENY":
            denying[own[0].policy.namespace].append(own)
    for own in rules:
        if not own or own[0].policy.action != "ALLOW":
            continue
        for others in _near(denying, own[0]):
            if not bound.covers(others[0], own[0]):
                continue
            for rule in own:
                if id(rule) in void:
                    continue
                if not bound.takes(len(others)):
                    return
                if by := _by(rule, others, decided):
                    void.add(id(rule))
                    yield rule.subject.remark(
                        VOID, rule.place, f"{by} denies all that it lets in: narrow that one, or remove this rule"
                    )
    yield from _superfluous(rules, decided, void, bound)


def _by(rule: _Rule, others: Sequence[_Rule], decided: Implications) -> str:
    """Which of the rules matches all that `rule` does, or their policy; empty where that is not certain."""
    if all(one == FALSE for one in rule.formulas):
        return ""
    for other in others:
        if _within(rule, other, decided):
            return other.shown
    if len(others) > 1 and all(
        decided.implies(one, either([other.formulas[at] for other in others])) for at, one in enumerate(rule.formulas)
    ):
        return f"{others[0].policy.action} policy {others[0].policy.id[:120]}"
    return ""


def _within(rule: _Rule, other: _Rule, decided: Implications) -> bool:
    return all(decided.implies(one, two) for one, two in zip(rule.formulas, other.formulas, strict=True))


def _superfluous(
    rules: Sequence[Sequence[_Rule]], decided: Implications, told: set[int], bound: _Bound
) -> Iterator[Remark]:
    """Of two rules that match the same the later one is; what was told of once is not told again."""
    every = [rule for own in rules for rule in own if rule.policy.action in ("ALLOW", "DENY")]
    place = {id(rule): at for at, rule in enumerate(every)}
    near: dict[str, list[_Rule]] = defaultdict(list)
    for rule in every:
        near[rule.policy.namespace].append(rule)
    dropped: set[int] = set()
    for rule in every:
        if id(rule) in told or decided.never(rule.formulas[0]):
            continue
        for other in _near(near, rule):
            if other is rule or other.policy.action != rule.policy.action or id(other) in dropped:
                continue
            if not bound.covers(other, rule):
                continue
            if not bound.takes():
                return
            if not _within(rule, other, decided):
                continue
            same = _within(other, rule, decided) and bound.covers(rule, other)
            if same and place[id(other)] > place[id(rule)]:
                continue
            dropped.add(id(rule))
            yield rule.subject.remark(
                SUPERFLUOUS, rule.place, f"{other.shown} matches all that it does: remove this one"
            )
            break
