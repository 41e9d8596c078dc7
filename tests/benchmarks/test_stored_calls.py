"""Generated rows are those that decoding would have given: their lines, decoded, give every column again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.storage_variants import VARIANTS, edited
from benchmarks.stored_calls import Arrival, CallShapes, SpanShapes, prepared_batch, rows_of
from benchmarks.workload import START
from collector.identity.addresses import AddressBook
from storage.migrate import DIRECTORY

NOT_OF_THE_LINE = {"received_at", "partition", "offset"}
"""What the batch says, not the line."""


def by_line(rows: pa.RecordBatch) -> pa.Table:
    """Rows in the order of their lines, names as plain texts."""
    table = pa.table(
        {
            name: column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for name, column in zip(rows.schema.names, rows.columns, strict=True)
            if name not in NOT_OF_THE_LINE
        }
    )
    return table.take(pc.sort_indices(table["raw"]))


def test_a_generated_call_is_what_its_line_decodes_to() -> None:
    shapes = CallShapes(AddressBook(), count=400)
    generated = shapes.rows(Arrival(10_000, START, 100), 500, np.random.default_rng(1), raw=True)
    lines = generated.column("raw").to_pylist()
    assert len(set(lines)) == 500
    decoded = rows_of(prepared_batch([b"\n".join(lines)], "envoy_json", AddressBook()), "calls")
    for name in by_line(decoded).schema.names:
        assert by_line(decoded)[name].equals(by_line(generated)[name]), name


def test_batches_go_on_in_time_and_offset() -> None:
    shapes = CallShapes(AddressBook(), count=400)
    random = np.random.default_rng(1)
    first, second = (shapes.rows(Arrival(at, START, 10), 6_000, random) for at in (0, 6_000))
    assert pc.max(first.column("offset")).as_py() < pc.min(second.column("offset")).as_py()
    assert pc.max(first.column("ts")).as_py() < pc.min(second.column("ts")).as_py()
    assert first.column("received_at")[0].as_py() > pc.max(first.column("ts")).as_py()
    assert pc.count_distinct(first.column("request_id")).as_py() == 3_000
    assert pc.count_distinct(first.column("trace_id")).as_py() == 750


def test_a_generated_span_has_its_path_in_its_attributes() -> None:
    rows = SpanShapes(AddressBook(), count=400).rows(Arrival(0, START, 100), 300, np.random.default_rng(1))
    for row in rows.to_pylist():
        assert dict(row["attributes"])["url.path"] == row["path"]
        assert bool(row["parent_span_id"]) == (row["kind"] == "server")


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_another_table(name: str) -> None:
    ddl = (DIRECTORY / "0001_calls.sql").read_text().strip()
    assert (edited(ddl, VARIANTS[name]) == ddl) == (name == "as it is")
