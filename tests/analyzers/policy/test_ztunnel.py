"""Istio's ztunnel: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from analyzers.policy.istio.model import Action, AuthorizationPolicy, Rule, When
from analyzers.policy.istio.ztunnel import program
from analyzers.policy.istio.ztunnel_reference import decide
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 350, 60
WORKLOADS = (*istio_samples.WORKLOADS, Workload("shop"))
NOT_KNOWN = ("requestPrincipals", "remoteIpBlocks", "trustDomains", "hosts", "methods", "paths")
PRINCIPALS = (
    *istio_samples.PRINCIPALS,
    "spiffe://cluster.local/ns/shop/sa/web",
    "spiffe://cluster.local/ns/batch/sa/report",
    "spiffe://cluster.local/ns//sa/web",
    "spiffe://cluster.local/ns/shop/sa/web/1",
    "https://cluster.local/ns/shop/sa/web",
    "",
)


def _policy(draw: random.Random, number: int) -> AuthorizationPolicy:
    """One of Istio's, of which half the clauses that ztunnel does not know are taken out: else nearly all have one."""
    found = istio_samples.policy(draw, number)
    action: Action = draw.choice(("ALLOW", "ALLOW", "DENY")) if draw.random() < 0.9 else found.action
    rules = tuple(_rule(draw, one) for one in found.rules)
    return replace(found, namespace=draw.choice(("shop", "shop", found.namespace)), action=action, rules=rules)


def _rule(draw: random.Random, rule: Rule) -> Rule:
    def known(clauses: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(one for one in clauses if draw.random() < 0.2 or not any(_bare(name) in NOT_KNOWN for name in one))

    operations = known(rule.operations)
    return Rule(known(rule.sources), operations, tuple(_when(draw, one) for one in rule.when))


def _bare(name: str) -> str:
    bare = name.removeprefix("not")
    return bare[0].lower() + bare[1:]


def _when(draw: random.Random, when: When) -> When:
    if draw.random() < 0.2:
        return when
    key = draw.choice(("source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port"))
    values = tuple(draw.choices(istio_samples.KEYS[key], k=1))
    return When(key, values if when.values else (), values if when.not_values else ())


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(11)
    calls = [istio_samples.call(draw, draw.choice((0.1, 0.2, 0.4, 1.0))) for _ in range(CALLS)]
    for call in calls:
        if "source_principal" in call:
            call["source_principal"] = draw.choice(PRINCIPALS)
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule = 0
    for _ in range(SETS):
        policies = [_policy(draw, number) for number in range(draw.choice((2, 3, 3, 4)))]
        case = (policies, draw.choice(WORKLOADS), draw.choice(istio_samples.MESHES))
        found = computed(engine, program(*case))
        for number, call in enumerate(calls):
            expected = decide(*case, call)
            assert found[number] == expected, f"{found[number]}, expected {expected}: {policies} {case[1:]} {call}"
            said[expected.verdict] += 1
            by_rule += expected.policy is not None
    assert_covers(said)
    assert by_rule >= said.total() / 10, by_rule
