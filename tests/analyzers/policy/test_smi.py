"""SMI: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter

from analyzers.policy.formula import Transport
from analyzers.policy.smi.compile import program
from analyzers.policy.smi.reference import decide
from storage.engine import Engine
from tests.analyzers.policy import smi_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 180, 120
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(14)
    calls = [smi_samples.call(draw, draw.choice((0.5, 0.8, 1.0))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule = 0
    for _ in range(SETS):
        documents = smi_samples.documents(draw)
        destination, settings = draw.choice(smi_samples.DESTINATIONS), draw.choice(smi_samples.SETTINGS)
        found = {
            number: decision
            for transport, where in TRANSPORTS
            for number, decision in computed(
                engine, program(documents, destination, smi_samples.CLUSTER, settings, transport), where
            ).items()
        }
        for number, call in enumerate(calls):
            expected = decide(documents, destination, smi_samples.CLUSTER, settings, call)
            assert found[number] == expected, (
                f"{found[number]}, expected {expected}: {documents} {destination} {settings} {call}"
            )
            said[expected.verdict] += 1
            by_rule += expected.policy is not None
    assert_covers(said)
    assert by_rule >= said.total() / 10, by_rule
