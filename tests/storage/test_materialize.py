"""WITH clauses that the engine keeps: the word is put in once, and only where the engine understands it."""

from __future__ import annotations

import pytest

from storage.engine import Engine
from storage.errors import BadStatement
from storage.materialize import KEEPS, can_materialize, materialized
from storage.sql import load, parse

_TWICE = """-- The same numbers twice; one more every time that they are selected.
WITH
    drawn AS (
        SELECT rand64() AS n FROM numbers(1)
    )
SELECT (SELECT groupArray(n) FROM drawn) = (SELECT groupArray(n) FROM drawn) AS same
"""


def test_a_clause_that_is_kept_is_selected_once(engine: Engine) -> None:
    assert can_materialize(engine)
    twice = parse("test/twice", _TWICE)
    kept = engine.query(materialized(twice, "drawn"), settings=KEEPS)
    assert kept["same"].to_pylist() == [1]


def test_a_clause_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadStatement, match="one WITH clause that opens with 'far AS \\('"):
        materialized(load("dependencies/trace_edges"), "far")
    assert "near AS MATERIALIZED (" in materialized(load("dependencies/trace_edges"), "near")
