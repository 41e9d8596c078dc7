"""The columnar decoders against the slow reference, over random requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.contract import Decoded
from collector.decode.otlp_proto import OtlpProto
from tests.collector.otlp.reference import point_rows, span_rows
from tests.collector.otlp.requests import metric_requests, trace_requests

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def decode(messages: Sequence[bytes], signal: Any) -> Decoded:
    return OtlpProto(signal=signal).decode(pa.array(messages, pa.large_binary()))


def compare(decoded: Decoded, table: str, rows: list[dict[str, Any]], dead: list[tuple[int, int]]) -> None:
    assert [(letter.message, letter.record) for letter in decoded.dead] == dead
    fast = decoded.tables[table].to_pylist() if table in decoded.tables else []
    assert len(fast) == len(rows)
    for got, want in zip(fast, rows, strict=True):
        for column, value in want.items():
            found = got[column] if column in got else type(value)()  # a column that is not there stands for the default
            if isinstance(value, float) and math.isnan(value):
                assert math.isnan(found), column
            else:
                assert found == value, column
        assert got.keys() <= want.keys()


@quick
@given(st.lists(trace_requests(), max_size=3))
def test_spans(messages: list[bytes]) -> None:
    compare(decode(messages, "traces"), "spans", *span_rows(messages))


@quick
@given(st.lists(metric_requests(), max_size=3))
def test_metric_points(messages: list[bytes]) -> None:
    compare(decode(messages, "metrics"), "metric_points", *point_rows(messages))
