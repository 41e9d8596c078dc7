"""Consul: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter

from analyzers.policy.consul.compile import program
from analyzers.policy.consul.reference import decide
from analyzers.policy.formula import Transport
from analyzers.policy.workloads import Cluster
from storage.engine import Engine
from tests.analyzers.policy import consul_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 220, 100
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(13)
    calls = [consul_samples.call(draw, draw.choice((0.3, 0.6, 0.9))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule = 0
    for _ in range(SETS):
        documents = consul_samples.documents(draw)
        destination, settings = draw.choice(consul_samples.DESTINATIONS), draw.choice(consul_samples.SETTINGS)
        found = {
            number: decision
            for transport, where in TRANSPORTS
            for number, decision in computed(
                engine, program(documents, destination, Cluster(), settings, transport), where
            ).items()
        }
        for number, call in enumerate(calls):
            expected = decide(documents, destination, settings, call)
            assert found[number] == expected, (
                f"{found[number]}, expected {expected}: {documents} {destination} {settings} {call}"
            )
            said[expected.verdict] += 1
            by_rule += expected.policy is not None
    assert_covers(said)
    assert by_rule >= said.total() / 10, by_rule
