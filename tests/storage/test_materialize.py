"""WITH clauses that the engine keeps: the word is put in once, and only where the engine understands it."""

from __future__ import annotations

import pytest

from storage.engine import Engine
from storage.errors import BadStatement
from storage.materialize import KEEPS, can_materialize, materialized
from storage.sql import load, parse

_TWICE = """-- The same numbers twice; others every time that they are selected.
WITH
    drawn AS (
        SELECT generateUUIDv4() AS id FROM numbers(3)
    )
SELECT count() AS same FROM drawn AS x INNER JOIN drawn AS y ON x.id = y.id
"""


def test_a_clause_that_is_kept_is_selected_once(engine: Engine) -> None:
    assert can_materialize(engine)
    twice = parse("test/twice", _TWICE)
    kept = engine.query(materialized(twice, "drawn"), settings=KEEPS)
    assert kept["same"].to_pylist() == [3]
    assert engine.query(twice.text)["same"].to_pylist() == [0]


def test_a_clause_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadStatement, match="one WITH clause that opens with 'far AS \\('"):
        materialized(load("dependencies/trace_edges"), "far")
    assert "near AS MATERIALIZED (" in materialized(load("dependencies/trace_edges"), "near")
