"""NetworkPolicy: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter

from analyzers.policy.kubernetes.compile import program
from analyzers.policy.kubernetes.reference import decide
from storage.engine import Engine
from tests.analyzers.policy import network_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 350, 60


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(15)
    calls = [network_samples.call(draw, draw.choice((0.6, 0.8, 1.0, 1.0))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for _ in range(SETS):
        policies = [network_samples.policy(draw, number) for number in range(draw.choice((1, 2, 2, 3, 4)))]
        case = (policies, draw.choice(network_samples.DESTINATIONS), draw.choice(network_samples.CLUSTERS))
        found = computed(engine, program(*case, "tcp"))
        for number, call in enumerate(calls):
            expected = decide(*case, call)
            assert found[number] == expected, f"{found[number]}, expected {expected}: {policies} {case[1:]} {call}"
            said[expected.verdict] += 1
            if expected.policy is not None:
                named[f"{expected.verdict} {(expected.rule or '').partition('[')[0]}"] += 1
    assert_covers(said)
    assert min(named[kind] for kind in ("deny ", "allow ingress", "allow egress")) >= said.total() / 100, named
