"""The edge key stands in several statements: each lists the fields of `storage.tables.EDGE_KEY_FIELDS`, in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import storage
from storage.tables import EDGE_KEY_FIELDS

SQL = Path(storage.__file__).parent / "sql" / "dependencies"
DERIVING = sorted(path.stem for path in SQL.glob("*.sql") if "INSERT INTO derived_edges_1m" in path.read_text())
KEY = ", ".join(EDGE_KEY_FIELDS)
BASE_KEY = ", ".join((*EDGE_KEY_FIELDS[:-1], "''"))


def words(name: str) -> str:
    return " ".join((SQL / f"{name}.sql").read_text().split())


@pytest.mark.parametrize("name", DERIVING)
def test_edge_ids_are_hashes_of_the_whole_key(name: str) -> None:
    hashed = re.findall(r"cityHash64\(concatWithSeparator\('\\x1f', (.*?)\)\) AS (edge_id|base_edge_id)", words(name))
    assert hashed == [(KEY, "edge_id"), (BASE_KEY, "base_edge_id")]


@pytest.mark.parametrize("name", DERIVING)
def test_derived_edges_carry_the_whole_key(name: str) -> None:
    columns = re.search(r"INSERT INTO derived_edges_1m \((.*?)\)", words(name))
    assert columns is not None
    assert f", {KEY}, requests" in columns[1]


def test_keys_are_announced_whole() -> None:
    statement = words("announce_derived_keys")
    assert f"(edge_id, {KEY}, received_on)" in statement
    head = ", ".join(EDGE_KEY_FIELDS[:-1])
    assert f"id.1, {head}, id.2, derived_on" in statement


def test_there_are_statements_to_compare() -> None:
    assert {"trace_edges", "address_edges", "metric_edges"} <= set(DERIVING)
