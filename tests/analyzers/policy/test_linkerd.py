"""Linkerd: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter

from analyzers.policy.formula import Transport
from analyzers.policy.linkerd.compile import program
from analyzers.policy.linkerd.reference import decide
from storage.engine import Engine
from tests.analyzers.policy import linkerd_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 200, 130
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(12)
    calls = [linkerd_samples.call(draw, draw.choice((0.55, 0.75, 0.95, 1.0))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule: Counter[str] = Counter()
    for _ in range(SETS):
        documents = linkerd_samples.documents(draw)
        case = (
            documents,
            draw.choice(linkerd_samples.WORKLOADS),
            draw.choice(linkerd_samples.CLUSTERS),
            draw.choice(linkerd_samples.SETTINGS),
        )
        found = {
            number: decision
            for transport, where in TRANSPORTS
            for number, decision in computed(engine, program(*case, transport), where).items()
        }
        for number, call in enumerate(calls):
            expected = decide(*case, call)
            assert found[number] == expected, f"{found[number]}, expected {expected}: {case} {call}"
            said[expected.verdict] += 1
            by_rule[(expected.rule or "").partition(" ")[0]] += 1
    assert_covers(said)
    kinds = ("AuthorizationPolicy", "ServerAuthorization", "accessPolicy", "HTTPRoute", "GRPCRoute", "no")
    assert min(by_rule[one] for one in kinds) > 50, by_rule
