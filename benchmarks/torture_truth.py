"""What the torture test sends, and what a store must hold of it: counted here, from the records alone.

Every table and every rollup becomes a multiset (`Counter`): a record, or a number of a rollup's row under its key. What
the truth has more of than the store is lost, what the store has more of is there twice.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from storage.engine import Engine
from tests.support.otlp_metrics import counter, request

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTES, APART_S = 24, 7_260
"""Event times lie in as many minutes, so far apart: over three days, so that each rollup has several rows of an edge,
and in few minutes, because each one that has news is derived anew."""
FAILED_SHARE, DEAD_SHARE = 0.05, 0.01
LINES_IN_ONE = 20
"""Lines of the larger messages."""
_BASE = math.log(1.01 / 0.99)

Message = tuple[str, bytes]
"""(kind of topic: `lines` or `otlp`, body)."""
Multiset = Counter[Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One line."""

    at: datetime
    source: str
    destination: str
    operation: str
    status: int
    duration_us: int
    bytes_sent: int


@dataclass
class Truth:
    """Makes records from a seed and remembers them."""

    chance: random.Random
    minutes: int = MINUTES
    """In how many minutes event times lie."""
    calls: dict[str, Call] = field(default_factory=dict[str, Call])
    """By request id."""
    spans: Multiset = field(default_factory=Counter)
    span_minutes: Multiset = field(default_factory=Counter)
    traced: Multiset = field(default_factory=Counter)
    """(source, destination) -> requests that spans tell of."""
    dead: Multiset = field(default_factory=Counter)
    points: Multiset = field(default_factory=Counter)

    def messages(self, lines: int, spans: int, points: int) -> Iterator[Message]:
        """At least as many records, in messages of one record and of several, all kinds mixed."""
        made = [*self._lines(lines), *self._spans(spans), *self._points(points)]
        self.chance.shuffle(made)
        return iter(made)

    def _second(self) -> int:
        return self.chance.randrange(self.minutes) * APART_S + self.chance.randrange(60)

    def _lines(self, count: int) -> Iterator[Message]:
        while count > 0:
            size = LINES_IN_ONE if self.chance.random() < 0.1 else 1
            yield "lines", b"\n".join(self._line() for _ in range(size))
            count -= size

    def _line(self) -> bytes:
        if self.chance.random() < DEAD_SHARE:
            broken = b'{"torn": %d' % (len(self.dead) + 1)
            self.dead[broken] += 1
            return broken
        number = f"r{len(self.calls)}"
        call = Call(
            START + timedelta(seconds=self._second()),
            f"web-{self.chance.randrange(5)}",
            f"cart-{self.chance.randrange(4)}",
            f"GET /{self.chance.choice(('list', 'buy', 'pay'))}",
            503 if self.chance.random() < FAILED_SHARE else 200,
            self.chance.randrange(2, 3_000_000),
            self.chance.randrange(50_000),
        )
        self.calls[number] = call
        return json.dumps(
            {
                "ts": call.at.isoformat(),
                "reporter": "source",
                "source_namespace": "shop",
                "source_service": call.source,
                "destination_namespace": "shop",
                "destination_service": call.destination,
                "protocol": "http",
                "method": "GET",
                "path": call.operation.removeprefix("GET "),
                "status": call.status,
                "duration_us": call.duration_us,
                "bytes_sent": call.bytes_sent,
                "request_id": number,
            }
        ).encode()

    def _spans(self, count: int) -> Iterator[Message]:
        """Pairs of a client's span and its server's, each in a request of its own: they meet in the store, or never."""
        for _ in range(count // 2):
            source, destination = f"front-{self.chance.randrange(4)}", f"back-{self.chance.randrange(4)}"
            at = START + timedelta(seconds=self._second())
            trace, client, server = self.chance.randbytes(16), self.chance.randbytes(8), self.chance.randbytes(8)
            self.traced[source, destination] += 1
            for span_id, parent, service, kind in ((client, b"", source, 3), (server, client, destination, 2)):
                self.spans[span_id.hex()] += 1
                self.span_minutes[_seconds(at, 60)] += 1
                yield "otlp", _span(trace, span_id, parent, service, kind, at)

    def _points(self, count: int) -> Iterator[Message]:
        for _ in range(count):
            value = float(len(self.points) + 1)
            self.points[value] += 1
            labels = {
                "reporter": "destination",
                "source_workload": "measured-a",
                "source_workload_namespace": "shop",
                "destination_service_name": "measured-b",
                "destination_service_namespace": "shop",
                "response_code": "200",
            }
            at_s = float(self._second())
            yield (
                "otlp",
                request({"service.name": "measured-b"}, [counter("istio_requests_total", labels, at_s, value)]),
            )

    # What the tables must hold.

    def rollup(self, step_s: int, *, operations: bool, wide: bool = False) -> Multiset:
        """Rows of a rollup with steps of `step_s` seconds, as `found_rollup` reads them.

        Where the buckets of the latency histogram are `wide`, five are one.
        """
        expected: Multiset = Counter()
        for call in self.calls.values():
            key = (_seconds(call.at, step_s), call.source, call.destination, call.operation if operations else "")
            bucket = math.ceil(math.log(call.duration_us) / _BASE)
            expected[*key, "requests"] += 1
            expected[*key, "errors"] += call.status >= 500
            expected[*key, "bytes_sent"] += call.bytes_sent
            expected[*key, "status", call.status] += 1
            expected[*key, "bucket", (bucket + 4) // 5 if wide else bucket] += 1
        return +expected

    def edges(self) -> Multiset:
        """(source, destination) -> requests, over all lines."""
        return Counter((call.source, call.destination) for call in self.calls.values())


def _seconds(at: datetime, step_s: int) -> int:
    return int(at.timestamp()) // step_s * step_s


def _span(trace: bytes, span_id: bytes, parent: bytes, service: str, kind: int, at: datetime) -> bytes:
    made = ExportTraceServiceRequest()
    added = made.resource_spans.add()
    for key, value in (("service.name", service), ("k8s.namespace.name", "shop")):
        added.resource.attributes.add(key=key).value.string_value = value
    span = added.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.parent_span_id, span.kind, span.name = trace, span_id, parent, kind, "GET /x"
    span.start_time_unix_nano = int(at.timestamp()) * 10**9
    span.end_time_unix_nano = span.start_time_unix_nano + 5_000_000
    return made.SerializeToString()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One table: sums over its multiset."""

    table: str
    expected: int
    found: int
    lost: int
    duplicated: int


def compare(table: str, expected: Multiset, found: Multiset) -> Verdict:
    """What `found` lacks of `expected`, and what it has beyond."""
    lost, more = sum((expected - found).values()), sum((found - expected).values())
    return Verdict(table, sum(expected.values()), sum(found.values()), lost, more)


ROLLUPS: Sequence[tuple[str, str, int, bool]] = (
    ("edges_1m", "minute", 60, True),
    ("edges_1h", "hour", 3600, True),
    ("edges_1d", "day", 86_400, False),
    ("base_edges_1m", "minute", 60, False),
    ("base_edges_10m", "start", 600, False),
    ("base_edges_1h", "hour", 3600, False),
    ("base_edges_6h", "start", 21_600, False),
)
"""(table, its column of time, step in seconds, whether its key holds the operation)."""
WIDE = "edges_1d"
"""The rollup whose latency histogram has wide buckets."""

_ROLLUP = """
WITH keys AS (
    SELECT edge_id, any(source_service) AS source, any(destination_service) AS destination, any(operation) AS operation
    FROM edge_keys GROUP BY edge_id
)
SELECT toUnixTimestamp({column}) AS at, keys.source AS source, keys.destination AS destination,
    {operation} AS operation, sum(requests) AS requests, sum(errors) AS errors, sum(bytes_sent) AS bytes_sent,
    sumMap(statuses) AS statuses, sumMap(histogram) AS histogram
FROM {table} AS rows LEFT JOIN keys ON rows.edge_id = keys.edge_id
GROUP BY ALL
"""
_LEDGER = """
SELECT keys.source AS source, keys.destination AS destination, sum(requests) AS n
FROM edge_ledger AS rows LEFT JOIN (
    SELECT edge_id, any(source_service) AS source, any(destination_service) AS destination
    FROM edge_keys GROUP BY edge_id
) AS keys ON rows.edge_id = keys.edge_id
GROUP BY ALL
"""


def found_rollup(engine: Engine, table: str, column: str, *, operations: bool) -> Multiset:
    """The rows of a rollup: (time, source, destination, operation, what[, which]) -> number."""
    operation = "keys.operation" if operations else "''"
    found: Multiset = Counter()
    for row in engine.query(_ROLLUP.format(table=table, column=column, operation=operation)).to_pylist():
        key = (row["at"], _text(row["source"]), _text(row["destination"]), _text(row["operation"]))
        for name in ("requests", "errors", "bytes_sent"):
            found[*key, name] += row[name]
        for name, values in (("status", row["statuses"]), ("bucket", row["histogram"])):
            for which, number in values:
                found[*key, name, which] += number
    return +found


def verdicts(engine: Engine, truth: Truth, map_edges: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Every table and rollup of a store beside the truth; `map_edges` are those of `eastwatch map --json`."""

    def rows(sql: str) -> Multiset:
        return Counter({_text(row["key"]): row["n"] for row in engine.query(sql).to_pylist()})

    told = [
        compare(
            "calls",
            Counter(dict.fromkeys(truth.calls, 1)),
            rows("SELECT request_id AS key, count() AS n FROM calls GROUP BY key"),
        ),
        compare("spans", truth.spans, rows("SELECT span_id AS key, count() AS n FROM spans GROUP BY key")),
        compare(
            "span_minutes",
            truth.span_minutes,
            rows("SELECT toUnixTimestamp(minute) AS key, sum(records) AS n FROM span_minutes GROUP BY key"),
        ),
        compare(
            "metric_points", truth.points, rows("SELECT value AS key, count() AS n FROM metric_points GROUP BY key")
        ),
        compare(
            "metric_samples", truth.points, rows("SELECT amount AS key, count() AS n FROM metric_samples GROUP BY key")
        ),
        compare(
            "dead_letters",
            truth.dead,
            Counter({_bytes(key): number for key, number in rows(_DEAD).items()}),
        ),
    ]
    for table, column, step_s, operations in ROLLUPS:
        expected = truth.rollup(step_s, operations=operations, wide=table == WIDE)
        told.append(compare(table, expected, found_rollup(engine, table, column, operations=operations)))
    ledger = engine.query(_LEDGER).to_pylist()
    told.append(
        compare(
            "edge_ledger",
            truth.edges(),
            Counter({(_text(row["source"]), _text(row["destination"])): row["n"] for row in ledger}),
        )
    )
    drawn: Multiset = Counter()
    for edge in map_edges:
        source, destination = (edge[side].removeprefix("shop/") for side in ("source", "destination"))
        if not destination.startswith("measured"):
            drawn[source, destination] += edge["requests"]
    told.append(compare("the map", truth.edges() + truth.traced, drawn))
    return told


_DEAD = "SELECT payload AS key, count() AS n FROM dead_letters GROUP BY key"


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value
