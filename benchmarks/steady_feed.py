"""Messages of the workload as they would come now: the same bytes, with new ids and the present time written over.

Making a line or a span takes longer than ingesting it; writing over what differs takes a hundredth of that.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from kafka import KafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.workload import lines, messages, span_messages

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
TEMPLATES = 200
"""Different messages of each kind: as good as every edge and operation is among their records."""
PER_MESSAGE = 300
_TIME_WIDTH = len("2026-11-01T12:00:00.000")
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_UUID = (0, 8, 12, 16, 20, 32)


@dataclass(frozen=True, slots=True)
class Topic:
    """What goes into one topic: `rate` records a second, as bodies of `records` each."""

    name: str
    rate: float
    records: int
    bodies: Iterator[Callable[[float], bytes]]


class Lines:
    """One message of access-log lines. Called with a time (seconds since 1970), it gives the message of that time."""

    def __init__(self, body: bytes, seed: int) -> None:
        self._body = np.frombuffer(body, np.uint8)
        self._random = np.random.default_rng(seed)
        self._times = _after(body, rb'"start_time":"')
        self._requests = _after(body, rb'"request_id":"')
        self._traces = _after(body, rb'"trace_id":"')

    def __call__(self, now: float) -> bytes:
        """The message, its calls within the second before `now`."""
        body, count = self._body.copy(), len(self._times)
        ts = np.datetime64(int(now * 1000) - 1000, "ms") + np.arange(count) * 1000 // count
        text = np.frombuffer("".join(np.datetime_as_string(ts).tolist()).encode(), np.uint8)
        _write(body, self._times, text.reshape(count, _TIME_WIDTH))
        ids = self._hex(count)
        for place, (first, last) in enumerate(itertools.pairwise(_UUID)):
            _write(body, self._requests + first + place, ids[:, first:last])
        _write(body, self._traces, self._hex(count))
        return body.tobytes()

    def _hex(self, count: int) -> Bytes:
        return _HEX[self._random.integers(0, 16, (count, 32))]


class Spans:
    """One OTLP request of spans, clients and their servers. Called like `Lines`."""

    def __init__(self, body: bytes, seed: int) -> None:
        self._body = np.frombuffer(body, np.uint8)
        self._random = np.random.default_rng(seed)
        request = ExportTraceServiceRequest.FromString(body)
        found = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        self.records = len(found)
        clients = [span for span in found if not span.parent_span_id]
        servers = {span.parent_span_id: span for span in found if span.parent_span_id}
        self._traces = [_all(body, span.trace_id) for span in clients]
        self._clients = [_all(body, span.span_id) for span in clients]
        self._servers = np.array([_all(body, servers[span.span_id].span_id) for span in clients])[:, 0]
        starts = [span.start_time_unix_nano.to_bytes(8, "little") for span in clients]
        self._starts = [_all(body, start) for start in starts]
        self._ends = [_all(body, span.end_time_unix_nano.to_bytes(8, "little")) for span in clients]
        self._lengths = np.array([span.end_time_unix_nano - span.start_time_unix_nano for span in clients])

    def __call__(self, now: float) -> bytes:
        """The message, its spans started within the second before `now`."""
        body, count = self._body.copy(), len(self._lengths)
        starts = int(now * 1e9) - 10**9 + np.arange(count) * 10**9 // count
        for places, values in (
            (self._traces, self._ids(count, 16)),
            (self._clients, self._ids(count, 8)),
            (self._starts, _fixed64(starts)),
            (self._ends, _fixed64(starts + self._lengths)),
        ):
            for both in np.array(places).T:
                _write(body, both, values)
        _write(body, self._servers, self._ids(count, 8))
        return body.tobytes()

    def _ids(self, count: int, width: int) -> Bytes:
        return self._random.integers(1, 256, (count, width), np.uint8)


def line_topic(name: str, rate: float) -> Topic:
    """JSON lines of Istio, many a message."""
    bodies = messages(lines(TEMPLATES * PER_MESSAGE, "json", seed=5), PER_MESSAGE)
    made = [Lines(body, seed) for seed, body in enumerate(bodies)]
    return Topic(name, rate, PER_MESSAGE, itertools.cycle(made))


def span_topic(name: str, rate: float) -> Topic:
    """Spans in protobuf, many a message."""
    made = [Spans(body, seed) for seed, body in enumerate(span_messages(TEMPLATES * PER_MESSAGE, PER_MESSAGE, seed=6))]
    return Topic(name, rate, PER_MESSAGE, itertools.cycle(made))


def feed(bootstrap: str, topics: list[Topic], seconds: float) -> dict[str, int]:
    """Write to all topics at their rates for so long, and return how many records went into each.

    What it falls behind by is not made up for in a burst beyond a second's worth.
    """
    producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, batch_size=1 << 20, max_request_size=16 << 20)
    sent = {topic.name: 0 for topic in topics}
    began = last = time.monotonic()
    owed = {topic.name: 0.0 for topic in topics}
    while (now := time.monotonic()) < began + seconds:
        for topic in topics:
            owed[topic.name] = min(owed[topic.name] + (now - last) * topic.rate, topic.rate)
            while owed[topic.name] >= topic.records:
                producer.send(topic.name, next(topic.bodies)(time.time()))
                owed[topic.name] -= topic.records
                sent[topic.name] += topic.records
        last = now
        time.sleep(0.01)
    producer.flush()
    producer.close()
    return sent


def _after(body: bytes, key: bytes) -> Places:
    return np.array([found.end() for found in re.finditer(key, body)], np.int64)


def _all(body: bytes, value: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(value), body)]


def _write(body: Bytes, places: Places, values: Bytes) -> None:
    body[np.asarray(places)[:, None] + np.arange(values.shape[1])] = values


def _fixed64(values: npt.NDArray[np.int64]) -> Bytes:
    return values.astype("<u8").view(np.uint8).reshape(len(values), 8)
