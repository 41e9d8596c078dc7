"""Counting up histograms and statuses in columns gives what dictionaries give."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.dependencies import breakdown
from analyzers.dependencies.breakdown import Breakdown
from analyzers.dependencies.histograms import QUANTILES, quantiles_us

GROUPS = 7
COUNTS = st.integers(1, 1 << 40)
ROW = st.fixed_dictionaries(
    {
        "group": st.integers(-1, GROUPS - 1),
        "buckets": st.dictionaries(st.integers(-1, 1200), COUNTS, max_size=5),
        "statuses": st.dictionaries(st.sampled_from([0, 200, 404, 65_535]), COUNTS, max_size=3),
        "grpc_statuses": st.dictionaries(st.sampled_from([0, 7, 255]), COUNTS, max_size=2),
        "faults": st.dictionaries(st.sampled_from(["caller", "callee", "ä"]), COUNTS, max_size=2),
    }
)
COLUMNS = {
    "buckets": ("hits", pa.int16()),
    "statuses": ("status_counts", pa.uint16()),
    "grpc_statuses": ("grpc_status_counts", pa.uint8()),
    "faults": ("fault_counts", pa.string()),
}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {}
    for key, (count, kind) in COLUMNS.items():
        columns[key] = pa.array([list(row[key]) for row in rows], pa.list_(kind))
        columns[count] = pa.array([list(row[key].values()) for row in rows], pa.list_(pa.uint64()))
    return pa.table(columns)


@given(st.lists(st.tuples(st.lists(ROW, max_size=9), st.booleans()), max_size=3), st.sampled_from([1 << 23, 2000, 1]))
def test_columns_say_what_dictionaries_say(parts: list[tuple[list[dict[str, Any]], bool]], places: int) -> None:
    want = {key: defaultdict[int, Counter[Any]](Counter) for key in COLUMNS}
    for rows, coarse in parts:
        for row in rows:
            for key, counted in want.items():
                found = row[key]
                if key == "buckets" and coarse:
                    found = {5 * bucket - 2 if bucket > 0 else bucket: count for bucket, count in found.items()}
                counted[row["group"]].update(found)
    given_rows = [(table(rows), np.array([row["group"] for row in rows], np.int64), coarse) for rows, coarse in parts]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(breakdown, "PLACES", places)
        patched.setattr(breakdown, "STEP", 2)
        got = Breakdown.of(given_rows, GROUPS)
    for group in range(GROUPS):
        for key in ("statuses", "grpc_statuses", "faults"):
            assert list(getattr(got, key)[group]) == sorted(want[key][group].items())
        exact = quantiles_us(want["buckets"][group].items(), QUANTILES)
        if exact is None:
            assert list(got.quantiles_ms[group]) == [None] * len(QUANTILES)
        else:
            assert list(got.quantiles_ms[group]) == pytest.approx([us / 1000 for us in exact], rel=1e-9, abs=1e-6)


def test_a_slice_of_a_table_counts_only_its_rows() -> None:
    rows = [{"buckets": {at: 1}, "statuses": {200 + at: 1}, "grpc_statuses": {}, "faults": {}} for at in range(4)]
    got = Breakdown.of([(table(rows).slice(2), np.zeros(2, np.int64), False)], 1)
    assert got.statuses == [[(202, 1), (203, 1)]]
    assert quantiles_us([(2, 1), (3, 1)], QUANTILES) == pytest.approx(
        [ms * 1000 for ms in got.quantiles_ms[0] if ms], rel=1e-3
    )
