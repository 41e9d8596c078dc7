"""`log_type`: what decoders write is what the table's documentation lists and `calls_json` takes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

import storage
from collector.decode.registry import decoder
from storage.tables import CALLS, COUNTED_LOG_TYPES, UNCOUNTED_LOG_TYPES
from tests.collector.decode import proxy_samples, samples

KNOWN = {*COUNTED_LOG_TYPES, *UNCOUNTED_LOG_TYPES}


def log_types(*lines: str, format: str = "auto") -> set[str]:
    found = decoder(format).decode(pa.array([line.encode() for line in lines], pa.large_binary()))
    return set(found.tables["calls"]["log_type"].cast(pa.string()).to_pylist())


def test_every_sample_has_a_known_one() -> None:
    audit = json.dumps(proxy_samples.GCP_RECORD | {"logName": "projects/p/logs/server-istio-audit-log"})
    lines = [*samples.EVERY_LINE, audit, *(line for lines in proxy_samples.BY_FORMAT.values() for line in lines)]
    found = log_types(*lines)
    assert found <= {*KNOWN, None}
    assert found >= {*COUNTED_LOG_TYPES, "audit", "gateway_request", "packet"}


def test_each_is_documented_and_can_be_stated() -> None:
    (doc,) = (column.doc for column in CALLS.columns if column.name == "log_type")
    assert all(name in doc for name in KNOWN)
    given = json.loads(samples.CALL)
    assert log_types(*(json.dumps(given | {"log_type": name}) for name in KNOWN), format="calls_json") == KNOWN


def test_the_views_count_the_same() -> None:
    view = (Path(storage.__file__).parent / "migrations/0020_address_minutes_from_calls.sql").read_text()
    assert f"log_type IN ('', {', '.join(map(repr, COUNTED_LOG_TYPES))})" in view
