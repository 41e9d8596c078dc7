"""A row's columns and its `raw` are of the same line, also where lines of a batch differ in which values are null."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from collector.decode.limits import Limits
from collector.decode.registry import decoder


def line(number: int) -> str:
    return json.dumps(
        {
            "start_time": f"2026-03-02T10:00:00.{number:03d}Z",
            "method": "GET" if number % 2 else None,
            "path": f"/{number}" if number % 2 else None,
            "response_code": 200,
            "response_flags": "-",
            "bytes_sent": number,
            "request_id": f"id-{number}" if number % 3 else None,
            "upstream_cluster": f"outbound|80||s{number}.shop.svc.cluster.local",
            "downstream_local_address": "10.96.0.1:80",
        }
    )


@pytest.mark.parametrize("envelope", [False, True])
def test_columns_are_of_the_raw_line(envelope: bool) -> None:
    lines = [line(number) for number in range(12)]
    if envelope:
        lines = [json.dumps({"log": each, "kubernetes": {"pod_name": f"p-{i}"}}) for i, each in enumerate(lines)]
    values = pa.array(["\n".join(lines[:7]).encode(), "\n".join(lines[7:]).encode()], pa.large_binary())
    decoded = decoder("envoy_json", Limits()).decode(values)
    calls = decoded.tables["calls"]
    assert calls.num_rows == 12
    for row in calls.to_pylist():
        raw = json.loads(row["raw"])
        assert row["bytes_sent"] == raw["bytes_sent"]
        assert (row["request_id"] or None) == raw["request_id"]
        assert row["upstream_cluster"] == raw["upstream_cluster"]
        assert row["_message"] == (0 if row["bytes_sent"] < 7 else 1)
        if envelope:
            assert row["source_pod"] == f"p-{row['bytes_sent']}"
