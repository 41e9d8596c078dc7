"""Istio: what the engine computes is what the plain evaluator says, and that is what the description says."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from analyzers.policy.istio.compile import program
from analyzers.policy.istio.reference import Decision, decide
from analyzers.policy.sql import verdict
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.calls import insert_calls

SETS, CALLS = 420, 60
PAIRS = 20_000


def computed(engine: Engine, case: Any, transport: str) -> dict[int, Decision]:
    """By number of the call, those over `transport`."""
    policies, workload, mesh = case
    built = program(policies, workload, mesh, transport)  # pyright: ignore[reportArgumentType]
    sql = verdict(built)
    rows = engine.query(
        f"SELECT request_id, {sql.columns} FROM calls WHERE (protocol = 'tcp') = {int(transport == 'tcp')}",
        sql.parameters,
    ).to_pylist()
    found: dict[int, Decision] = {}
    for row in rows:
        said = {None: "unknown", 0: "deny", 1: "allow"}[row["allowed"]]
        step = built.steps[row["decided_by"] - 1] if row["decided_by"] else None
        named = step is not None and bool(step.policy)
        found[int(row["request_id"][1:])] = Decision(
            said,
            step.policy if named else None,
            step.rule if named else None,  # pyright: ignore
        )
    return found


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(6)
    calls = [istio_samples.call(draw, draw.choice((0.3, 0.6, 0.9, 1.0))) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by_rule = 0
    for _ in range(SETS):
        policies = [istio_samples.policy(draw, number) for number in range(draw.choice((1, 2, 2, 3, 4)))]
        case = (policies, draw.choice(istio_samples.WORKLOADS), draw.choice(istio_samples.MESHES))
        found = computed(engine, case, "http") | computed(engine, case, "tcp")
        for number, call in enumerate(calls):
            expected = decide(*case, call)
            assert found[number] == expected, f"{found[number]}, expected {expected}: {policies} {case[1:]} {call}"
            said[expected.verdict] += 1
            by_rule += expected.policy is not None
    assert said.total() >= PAIRS
    assert min(said[verdict] for verdict in ("allow", "deny", "unknown")) >= said.total() / 5, said
    assert by_rule >= said.total() / 10, by_rule
