"""eastwatch's own telemetry: what is sent, that nothing is without an endpoint, and that it never holds anybody up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from collector.contract import Batch
from collector.decode.otlp_proto import OtlpProto
from collector.sources.otlp_http import serve
from eastwatch.telemetry import CLOSE_LIMIT_S, INSTRUMENTS, CounterName, MeasureName, Telemetry
from tests.support.feed import free_port


def test_every_name_is_described() -> None:
    counters = {name for name, instrument in INSTRUMENTS.items() if instrument.kind == "counter"}
    assert counters == set(get_args(CounterName))
    assert INSTRUMENTS.keys() - counters == set(get_args(MeasureName))


def test_without_an_endpoint_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    before = threading.active_count()
    with Telemetry() as telemetry:
        telemetry.count("eastwatch.records.stored", 3, table="calls")
        telemetry.record("eastwatch.insert.duration", 0.1)
        with telemetry.span("insert"):
            pass
        assert not telemetry.enabled
        assert threading.active_count() == before


def test_without_an_endpoint_opentelemetry_is_not_imported() -> None:
    program = "import sys; from eastwatch.telemetry import Telemetry; Telemetry().close(); "
    program += "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], env={"PATH": ""}, timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("by_environment", [False, True])
def test_what_is_sent_arrives(by_environment: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[bytes] = []

    def submit(batch: Batch, format: str) -> None:
        bodies.extend(batch.values.to_pylist())

    receiver = serve(("127.0.0.1", 0), submit)
    endpoint = f"http://127.0.0.1:{receiver.port}/"
    try:
        if by_environment:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        with Telemetry("" if by_environment else endpoint) as telemetry:
            telemetry.count("eastwatch.records.accepted", 5, topic="t")
            telemetry.count("eastwatch.records.accepted", 2, topic="t")
            telemetry.record("eastwatch.insert.duration", 0.2, table="calls")
            telemetry.record("eastwatch.source.lag", 40, partition=1)
            with pytest.raises(ValueError, match="broken"), telemetry.span("insert", table="calls"):
                raise ValueError("broken")
    finally:
        receiver.close()
    tables = OtlpProto().decode(pa.array(bodies, pa.large_binary())).tables
    points = {row["name"]: row for row in tables["metric_points"].to_pylist()}
    assert points["eastwatch.records.accepted"]["value"] == 7
    assert points["eastwatch.records.accepted"]["attributes"] == [("topic", "t")]
    assert points["eastwatch.insert.duration"]["count"] == 1
    assert points["eastwatch.insert.duration"]["bounds"] == list(INSTRUMENTS["eastwatch.insert.duration"].bounds)
    assert points["eastwatch.source.lag"]["value"] == 40
    (span,) = tables["spans"].to_pylist()
    assert (span["service"], span["name"], span["status"]) == ("eastwatch", "insert", "error")


def test_a_receiver_that_is_down_holds_nobody_up() -> None:
    telemetry = Telemetry(f"http://127.0.0.1:{free_port()}")
    telemetry.count("eastwatch.records.stored")
    with telemetry.span("insert"):
        pass
    began = time.monotonic()
    telemetry.close()
    telemetry.close()
    assert time.monotonic() - began < CLOSE_LIMIT_S + 1
    telemetry.count("eastwatch.records.stored")  # after the end: nothing happens, nothing breaks


def test_an_ingestion_tells_what_it_does(tmp_path: Path) -> None:
    bodies: list[bytes] = []
    receiver = serve(("127.0.0.1", 0), lambda batch, format: bodies.extend(batch.values.to_pylist()))
    line = '{"ts":"2026-11-23T01:00:00Z","destination_service":"cart","request_id":"r"}'
    (tmp_path / "calls.jsonl").write_text("\n".join([*[line] * 5, "nonsense", ""]))
    environment = {**os.environ, "EASTWATCH_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}"}
    source, store = f"file:{tmp_path}/calls.jsonl?format=calls_json", f"chdb:{tmp_path}/store"
    command = [sys.executable, "-c", "from eastwatch.cli import main; main()", "ingest", source, "--until-idle"]
    try:
        subprocess.run([*command, "--store", store], env=environment, timeout=120, check=True)
    finally:
        receiver.close()
    tables = OtlpProto().decode(pa.array(bodies, pa.large_binary())).tables
    measured = {row["name"]: row for row in tables["metric_points"].to_pylist()}
    points = {name: row for name, row in measured.items() if row["type"] == "sum"}
    values = {name.removeprefix("eastwatch.records."): row["value"] for name, row in points.items()}
    assert (values["accepted"], values["stored"], values["dead_lettered"], values["refused"]) == (6, 5, 1, 0)
    assert ("table", "calls") in {label for span in tables["spans"].to_pylist() for label in span["attributes"]}
    assert {span["name"] for span in tables["spans"].to_pylist()} == {"insert", "derive"}
    for name in ("eastwatch.decode.duration", "eastwatch.batch.size"):
        assert (measured[name]["count"], measured[name]["attributes"]) == (1, [("format", "calls_json")])
