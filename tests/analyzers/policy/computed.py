"""What the engine makes of a program, call by call, as the plain evaluators say it; and what a suite must cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from analyzers.policy.decision import Decision
from analyzers.policy.formula import Program
from analyzers.policy.sql import verdict
from storage.engine import Engine

PAIRS = 20_000
"""Of policies and calls, for each engine."""
_VERDICTS: Mapping[int | None, Literal["allow", "deny", "unknown"]] = {None: "unknown", 0: "deny", 1: "allow"}


def computed(engine: Engine, program: Program, where: str = "1") -> dict[int, Decision]:
    """Decisions on the calls that `insert_calls` stored, by their number."""
    sql = verdict(program)
    rows = engine.query(sql.each("request_id", f"calls WHERE {where}"), sql.parameters).to_pylist()
    found: dict[int, Decision] = {}
    for row in rows:
        step = sql.steps[row["decided_by"] - 1] if row["decided_by"] else None
        named = step if step is not None and step.policy else None
        found[int(row["request_id"][1:])] = Decision(
            _VERDICTS[row["allowed"]], named.policy if named else None, named.rule if named else None
        )
    return found


def assert_covers(said: Counter[str]) -> None:
    """At least 20 000 pairs, and a fifth of them each verdict."""
    assert said.total() >= PAIRS, said
    assert min(said[one] for one in ("allow", "deny", "unknown")) >= said.total() / 5, said
