"""Istio: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter

from analyzers.policy.formula import Transport
from analyzers.policy.istio.compile import program
from analyzers.policy.istio.model import Via
from analyzers.policy.istio.reference import decide
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 420, 60
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(6)
    calls = [istio_samples.call(draw, draw.choice((0.3, 0.6, 0.9, 1.0))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule = 0
    for _ in range(SETS):
        via: Via = draw.choice(("sidecar", "sidecar", "sidecar", "sidecar", "waypoint"))
        attached = 0.9 if via == "waypoint" else 0.1
        policies = [istio_samples.policy(draw, number, attached) for number in range(draw.choice((1, 2, 2, 3, 4)))]
        case = (policies, draw.choice(istio_samples.WORKLOADS), draw.choice(istio_samples.MESHES))
        found = {
            number: decision
            for transport, where in TRANSPORTS
            for number, decision in computed(engine, program(*case, transport, via), where).items()
        }
        for number, call in enumerate(calls):
            expected = decide(*case, call, via)
            assert found[number] == expected, (
                f"{found[number]}, expected {expected}: {policies} {case[1:]} {via} {call}"
            )
            said[expected.verdict] += 1
            by_rule += expected.policy is not None
    assert_covers(said)
    assert by_rule >= said.total() / 10, by_rule
