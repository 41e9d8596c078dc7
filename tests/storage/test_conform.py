"""A partial batch becomes exactly its table's schema; what is absent or null is the column's default."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.conform import conform, default, encode
from storage.errors import BadBatch
from storage.tables import CALLS, TABLES, Table, arrow_schema

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DICTIONARY = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
@pytest.mark.parametrize("rows", [0, 1, 3, 70_000])
def test_nothing_given_is_all_defaults(table: Table, rows: int) -> None:
    batch = conform(table, pa.record_batch({"_message": np.arange(rows)}))
    batch.validate(full=rows < 100)
    assert batch.schema == arrow_schema(table)
    assert batch.num_rows == rows
    for column, described in zip(batch.columns, table.columns, strict=True):
        assert column.null_count == 0
        if rows:
            value = column[rows - 1].as_py()
            nothing = ("", b"", 0, 0.0, [], bytes(16)) if described.default is None else (described.default,)
            assert value in nothing or str(value).startswith("1970-01-01")


def test_a_null_is_the_columns_own_default() -> None:
    weights = conform(CALLS, pa.record_batch({"weight": pa.array([None, 0, 7], pa.int64())}))["weight"]
    assert weights.to_pylist() == [1, 0, 7]
    assert conform(CALLS, pa.record_batch({"weight": pa.nulls(2)}))["weight"].to_pylist() == [1, 1]


def test_more_rows_than_the_shared_zeros() -> None:
    rows = 300_000
    batch = conform(CALLS, pa.record_batch({"status": np.full(rows, 200)}))
    assert batch.num_rows == rows
    assert batch.slice(rows - 1).to_pylist()[0]["path"] == ""
    assert batch["attributes"][rows - 1].as_py() == []


def test_values_constants_and_what_is_left_out() -> None:
    batch = conform(
        CALLS,
        pa.record_batch(
            {
                "source_service": pa.array(["a", None, "b"]),
                "method": pa.array(["GET", None, "GET"]).dictionary_encode(),
                "status": pa.array([200, None, 503], pa.int64()),
                "path": pa.array(["/x", "/y", None]).dictionary_encode(),
                "attributes": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
                "source_ip": pa.array([b"\1" * 16, None, b"\2" * 16], pa.binary(16)),
                "trace_id": pa.nulls(3),
                "_upstream": pa.array([1, 2, 3]),
            }
        ),
        received_at=NOW,
        topic="logs",
        partition=3,
        offset=pa.array([7, 7, 8]),
        span_id=None,
    )
    batch.validate(full=True)
    rows = batch.to_pylist()
    assert [row["source_service"] for row in rows] == ["a", "", "b"]
    assert [row["method"] for row in rows] == ["GET", "", "GET"]
    assert [row["status"] for row in rows] == [200, 0, 503]
    assert [row["path"] for row in rows] == ["/x", "/y", ""]
    assert [row["attributes"] for row in rows] == [[("k", "v")], [], []]
    assert [row["source_ip"] for row in rows] == [b"\1" * 16, bytes(16), b"\2" * 16]
    assert [row["offset"] for row in rows] == [7, 7, 8]
    constants = {(row["received_at"], row["topic"], row["partition"], row["trace_id"]) for row in rows}
    assert constants == {(NOW, "logs", 3, "")}


@pytest.mark.parametrize(
    ("columns", "constants", "words"),
    [
        ({"nosuch": [1]}, {}, "no column nosuch"),
        ({"status": [1]}, {"nosuch": 1}, "no column nosuch"),
        ({"status": [70000]}, {}, "column status of table calls does not fit uint16"),
        ({"status": [-1]}, {}, "column status"),
        ({"status": ["x"]}, {}, "column status"),
        ({"source_service": [1.5]}, {"partition": 2**40}, "column partition"),
        ({"path": [b"\xff"]}, {}, "column path"),
        ({"status": [1, 2]}, {"offset": pa.array([1])}, "has 1 rows, expected 2"),
        ({"source_ip": [b"short"]}, {}, "column source_ip"),
    ],
)
def test_what_does_not_fit_is_named(columns: dict[str, list[object]], constants: dict[str, object], words: str) -> None:
    with pytest.raises(BadBatch) as caught:
        conform(CALLS, pa.record_batch(columns), **constants)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


TEXTS = st.lists(st.none() | st.sampled_from(["", "a", "b", "é"]), min_size=1)


@given(TEXTS, st.lists(st.none() | st.integers(0, 100)))
def test_encoded_texts_have_no_nulls_and_no_repeats(values: list[str | None], picks: list[int | None]) -> None:
    indices = pa.array([None if pick is None else pick % len(values) for pick in picks], pa.int16())
    array = pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))
    found = encode(array, DICTIONARY)
    assert found.to_pylist() == [value or "" for value in array.to_pylist()]
    assert found.type == DICTIONARY
    assert found.null_count == found.dictionary.null_count == 0
    assert len(set(found.dictionary.to_pylist())) == len(found.dictionary)
    if len(array) > 2:
        assert encode(array.slice(1, 1), DICTIONARY).to_pylist() == [array[1].as_py() or ""]


@given(TEXTS)
def test_plain_texts_too(values: list[str | None]) -> None:
    for kind in (pa.string(), pa.large_string()):
        assert encode(pa.array(values, kind), DICTIONARY).to_pylist() == [value or "" for value in values]


@pytest.mark.parametrize(
    "kind",
    [pa.bool_(), pa.null(), pa.struct([("a", pa.string()), ("b", pa.list_(pa.uint8()))]), pa.binary(16), DICTIONARY,
     pa.map_(pa.int16(), pa.uint64()), pa.list_(pa.list_(pa.string()))],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("rows", [0, 1, 9, 2_000_000])
def test_defaults_of_any_type(kind: pa.DataType, rows: int) -> None:
    array = default(kind, rows)
    array.validate(full=rows < 100)
    assert len(array) == rows
    assert array.type == kind
