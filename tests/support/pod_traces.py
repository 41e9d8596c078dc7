"""Traces as one CSV a minute whose spans name pods and nothing else (the `faults-*` data sets) as OTLP protobuf.

A row has TraceID, SpanID, ParentID (`root` for none), PodName, OperationName, StartTimeUnixNano, EndTimeUnixNano,
Duration. Kinds are not recorded. The service is the pod's Deployment: its name without the two hashes at the end.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

ROOT = "root"


@dataclass(frozen=True, slots=True)
class Row:
    """One span as recorded."""

    trace_id: str
    span_id: str
    parent_id: str
    pod: str
    operation: str
    start_ns: int
    end_ns: int

    @property
    def service(self) -> str:
        """Deployment of the pod."""
        return re.sub(r"-[0-9a-f]{6,10}-[0-9a-z]{5}$", "", self.pod)


def minutes(archive: Path) -> Iterator[tuple[str, list[Row]]]:
    """The archive's files in the order of their names, with their rows.

    A trace that spans two minutes was exported with both: its second copy is left out.
    """
    before: set[tuple[str, str]] = set()
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            file = tar.extractfile(member)
            if file is None or not member.name.endswith(".csv"):
                continue
            with io.TextIOWrapper(file, "utf-8") as text:
                rows = [_row(record) for record in csv.DictReader(text)]
            yield member.name, [row for row in rows if (row.trace_id, row.span_id) not in before]
            before |= {(row.trace_id, row.span_id) for row in rows}


def to_otlp(rows: list[Row]) -> ExportTraceServiceRequest:
    """One request with all rows, one resource per pod."""
    request = ExportTraceServiceRequest()
    by_pod: dict[str, list[Row]] = {}
    for row in rows:
        by_pod.setdefault(row.pod, []).append(row)
    for pod, own in by_pod.items():
        resource = request.resource_spans.add()
        for key, value in (("service.name", own[0].service), ("k8s.pod.name", pod)):
            resource.resource.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
        spans = resource.scope_spans.add().spans
        for row in own:
            parent = b"" if row.parent_id == ROOT else bytes.fromhex(row.parent_id)
            spans.append(
                Span(
                    trace_id=bytes.fromhex(row.trace_id),
                    span_id=bytes.fromhex(row.span_id),
                    parent_span_id=parent,
                    name=row.operation,
                    start_time_unix_nano=row.start_ns,
                    end_time_unix_nano=row.end_ns,
                )
            )
    return request


def _row(record: dict[str, str]) -> Row:
    return Row(
        record["TraceID"],
        record["SpanID"],
        record["ParentID"],
        record["PodName"],
        record["OperationName"],
        int(record["StartTimeUnixNano"]),
        int(record["EndTimeUnixNano"]),
    )
