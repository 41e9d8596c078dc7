"""Metrics of the mesh, as OTLP `ExportMetricsServiceRequest` bytes: Istio's standard metrics of every sidecar, scraped
once a minute by a collector's Prometheus receiver, and the process metrics of the traced applications.

Counters are cumulative since the world, or later their pod, began. Label names and values: istio.io, "Istio Standard
Metrics".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from eastwatch.world.cluster import Cluster, Pod
from eastwatch.world.happenings import Calls, Connections, Happenings, Ints, Outcome
from eastwatch.world.model import External, Place, Service
from eastwatch.world.otlp import Value, attributes, field
from eastwatch.world.shipping import Message, packed

BOUNDS_MS = (
    0.5,
    1,
    5,
    10,
    25,
    50,
    100,
    250,
    500,
    1000,
    2500,
    5000,
    10000,
    30000,
    60000,
    300000,
    600000,
    1800000,
    3600000,
)
"""Upper bounds of `istio_request_duration_milliseconds`."""

_FLAGS = {Outcome.NO_HEALTHY: "UH", Outcome.UNREACHABLE: "URX,UF", Outcome.TIMED_OUT: "UT", Outcome.HUNG_UP: "DC"}
_SERVER_FLAGS = {Outcome.RESET: "UC", Outcome.TIMED_OUT: "DC", Outcome.HUNG_UP: "DC"}
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_SCRAPE_US = 60_000_000

_Key = tuple[str, bool, int, int, int, int, int]


@dataclass(slots=True)
class _Event:
    """Requests or connections that count when they end: series, end, duration, bytes."""

    series: Ints
    end_us: Ints
    took_ms: NDArray[np.float64]
    sent: Ints
    received: Ints


class MetricShipper:
    """Counts what the sidecars count and ships it after each minute."""

    def __init__(self, cluster: Cluster, topic: str, start_us: int, seed: int) -> None:
        self._cluster = cluster
        self._topic = topic
        self._start_us = start_us
        self._next_us = start_us + _SCRAPE_US
        self._seed = seed
        self._number: dict[_Key, int] = {}
        self._known: dict[tuple[int, bytes], int] = {}
        self._pod: list[int] = []
        self._tcp: list[bool] = []
        # Attributes are another field in a histogram point than in a number point.
        self._labels: list[bytes] = []
        self._histogram_labels: list[bytes] = []
        self._events: list[_Event] = []
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._buckets: NDArray[np.int64] = np.zeros((0, len(BOUNDS_MS) + 1), np.int64)
        self._sums: NDArray[np.float64] = np.zeros((0, 3))
        self._cpu_s: NDArray[np.float64] = np.zeros(len(cluster.pods))

    def add(self, happenings: Happenings) -> None:
        """Take what happened; it is counted by the first scrape after its end."""
        for calls in happenings.calls:
            destination = calls.destination
            sealed = isinstance(destination, External) and destination.way == "sealed"
            if calls.source.meshed and not calls.failed_attempt:
                self._requests(calls, np.arange(len(calls)), from_source=True, tcp=sealed)
            if isinstance(destination, Service) and destination.meshed:
                self._requests(calls, np.flatnonzero(calls.callee_pod >= 0), from_source=False, tcp=False)
            if calls.server_spans is not None:
                pods = calls.callee_pod[calls.server_spans.row]
                np.add.at(self._cpu_s, pods, calls.server_spans.duration_us * 2e-7)
        for connections in happenings.connections:
            if connections.source.meshed:
                self._connections(connections, np.arange(len(connections)), from_source=True)
            if connections.destination.meshed:
                self._connections(connections, np.flatnonzero(connections.callee_pod >= 0), from_source=False)

    def ship(self, until_us: int) -> Iterator[Message]:
        """The scrapes due by `until_us`, each in one message or several."""
        while self._next_us <= until_us:
            yield from packed(self._topic, self._scrape(self._next_us), self._next_us)
            self._next_us += _SCRAPE_US

    # Counting

    def _requests(self, calls: Calls, rows: Ints, *, from_source: bool, tcp: bool) -> None:
        if len(rows) == 0:
            return
        if from_source:
            reporting, other = calls.caller_pod[rows], calls.callee_pod[rows]
            status, grpc = calls.status[rows], calls.grpc[rows]
            end_us, took_us = (calls.start_us + calls.duration_us)[rows], calls.duration_us[rows]
        else:
            reporting, other = calls.callee_pod[rows], calls.caller_pod[rows]
            status, grpc = calls.server_status[rows], calls.server_grpc[rows]
            end_us, took_us = (calls.server_start_us + calls.server_duration_us)[rows], calls.server_duration_us[rows]
        if tcp:
            status = np.zeros(len(rows), np.int64)
        site = f"{calls.source.id}>{calls.destination.id}{'' if calls.secured else '!'}"
        series = self._series(site, from_source, calls.source, calls.destination, reporting, other, status, grpc,
                              calls.outcome[rows], tcp, calls.secured)  # fmt: skip
        self._events.append(_Event(series, end_us, took_us / 1000, calls.bytes_sent[rows], calls.bytes_received[rows]))

    def _connections(self, connections: Connections, rows: Ints, *, from_source: bool) -> None:
        if len(rows) == 0:
            return
        caller, callee = connections.caller_pod[rows], connections.callee_pod[rows]
        zeros = np.zeros(len(rows), np.int64)
        series = self._series(
            f"{connections.source.id}>{connections.destination.id}", from_source, connections.source,
            connections.destination, caller if from_source else callee, callee if from_source else caller, zeros,
            zeros - 1, connections.outcome[rows], True, connections.source.meshed,
        )  # fmt: skip
        end_us = (connections.start_us + connections.duration_us)[rows]
        took_ms = connections.duration_us[rows] / 1000
        self._events.append(
            _Event(series, end_us, took_ms, connections.bytes_sent[rows], connections.bytes_received[rows])
        )

    def _series(
        self, site: str, from_source: bool, source: Service, destination: Place, reporting: Ints, other: Ints,
        status: Ints, grpc: Ints, outcome: Ints, tcp: bool, secured: bool,
    ) -> Ints:  # fmt: skip
        """The number of each row's series. The other side is labelled by workload: its pods share a series."""
        workloads = self._workloads()
        peer = np.where(other >= 0, workloads[other], -1)
        columns = np.stack([reporting, peer, status, grpc, outcome])
        distinct, inverse = np.unique(columns, axis=1, return_inverse=True)
        numbers: list[int] = []
        for pod, peer_pod, code, trailer, how in distinct.T.tolist():
            key = (site, from_source, pod, peer_pod, code, trailer, how)
            if key not in self._number:
                labels = self._label(from_source, source, destination, pod, peer_pod, code, trailer, how, tcp,
                                     secured)  # fmt: skip
                self._number[key] = self._numbered(pod, labels, tcp)
            numbers.append(self._number[key])
        return np.array(numbers, np.int64)[inverse.reshape(-1)]

    def _numbered(self, pod: int, labels: dict[str, Value], tcp: bool) -> int:
        """The number of a series; what the labels do not tell apart is one series."""
        encoded = NumberDataPoint(attributes=attributes(labels)).SerializeToString()
        if (pod, encoded) not in self._known:
            self._known[pod, encoded] = len(self._labels)
            self._pod.append(pod)
            self._tcp.append(tcp)
            self._labels.append(encoded)
            self._histogram_labels.append(HistogramDataPoint(attributes=attributes(labels)).SerializeToString())
        return self._known[pod, encoded]

    def _workloads(self) -> Ints:
        """For each pod the first pod of its workload, which stands for the workload."""
        first: dict[tuple[str, str], int] = {}
        pods = self._cluster.pods
        return np.array([first.setdefault((pod.service.id, pod.workload), pod.index) for pod in pods], np.int64)

    def _label(
        self, from_source: bool, source: Service, destination: Place, pod: int, peer: int, code: int, trailer: int,
        how: int, tcp: bool, secured: bool,
    ) -> dict[str, Value]:  # fmt: skip
        pods = self._cluster.pods
        caller = pods[pod if from_source else peer]
        callee = None if from_source and peer < 0 else pods[peer if from_source else pod]
        grpc = isinstance(destination, Service) and destination.protocol == "grpc"
        labels: dict[str, Value] = {"reporter": "source" if from_source else "destination"}
        # A destination's sidecar knows its caller by the metadata that the caller's sidecar sends.
        labels |= _side("source", caller if source.meshed else None)
        labels |= _side("destination", callee)
        if source.meshed and not secured:
            labels |= {"source_principal": "unknown", "destination_principal": "unknown"}
        if isinstance(destination, External):
            name = "PassthroughCluster" if destination.way == "passthrough" else destination.host
            labels |= {
                "destination_service": destination.host,
                "destination_service_name": name,
                "destination_service_namespace": "unknown",
            }
        else:
            labels |= {
                "destination_service": destination.host,
                "destination_service_name": destination.name,
                "destination_service_namespace": destination.namespace,
            }
        labels["request_protocol"] = "tcp" if tcp else "grpc" if grpc else "http"
        if not tcp:
            labels["response_code"] = str(code)
            labels["grpc_response_status"] = str(trailer) if trailer >= 0 else ""
        flags = _FLAGS if from_source else _SERVER_FLAGS
        labels["response_flags"] = flags.get(Outcome(how), "-")
        labels["connection_security_policy"] = "unknown" if from_source else "mutual_tls" if secured else "none"
        return labels

    # Scraping

    def _scrape(self, at_us: int) -> list[bytes]:
        self._tally(at_us)
        by_pod: dict[int, list[int]] = {}
        for series, pod in enumerate(self._pod):
            if self._counts[series]:
                by_pod.setdefault(pod, []).append(series)
        parts = [
            self._sidecar(pod, series, _times(self._counting_since_us(pod), at_us))
            for pod, series in sorted(by_pod.items())
        ]
        rng = np.random.default_rng([self._seed, 0x3E, (at_us - self._start_us) // _SCRAPE_US])
        parts += [
            self._process(pod, rng, at_us)
            for pod in self._cluster.pods
            if pod.service.traced and pod.started_us <= at_us and (pod.ended_us is None or at_us < pod.ended_us)
        ]
        return [field(1, part) for part in parts]

    def _counting_since_us(self, pod: int) -> int:
        """When the pod's sidecar began to count: with the world, or later with the pod."""
        return max(self._start_us, self._cluster.pods[pod].started_us)

    def _tally(self, at_us: int) -> None:
        grown = len(self._labels) - len(self._counts)
        if grown:
            self._counts = np.concatenate([self._counts, np.zeros(grown, np.int64)])
            self._buckets = np.concatenate([self._buckets, np.zeros((grown, len(BOUNDS_MS) + 1), np.int64)])
            self._sums = np.concatenate([self._sums, np.zeros((grown, 3))])
        if not self._events:
            return
        events = self._events
        series = np.concatenate([event.series for event in events])
        end_us = np.concatenate([event.end_us for event in events])
        took_ms = np.concatenate([event.took_ms for event in events])
        sent = np.concatenate([event.sent for event in events])
        received = np.concatenate([event.received for event in events])
        done = end_us <= at_us
        np.add.at(self._counts, series[done], 1)
        np.add.at(self._buckets, (series[done], np.searchsorted(BOUNDS_MS, took_ms[done], side="left")), 1)
        np.add.at(self._sums, series[done], np.stack([took_ms[done], sent[done], received[done]], axis=1))
        left = ~done
        self._events = [_Event(series[left], end_us[left], took_ms[left], sent[left], received[left])]

    def _sidecar(self, pod: int, series: list[int], times: bytes) -> bytes:
        requests: list[bytes] = []
        durations: list[bytes] = []
        opened: list[bytes] = []
        sent: list[bytes] = []
        received: list[bytes] = []
        for each in series:
            labels, count = self._labels[each], int(self._counts[each])
            if self._tcp[each]:
                opened.append(_number(labels, times, count))
                sent.append(_number(labels, times, int(self._sums[each, 1])))
                received.append(_number(labels, times, int(self._sums[each, 2])))
            else:
                requests.append(_number(labels, times, count))
                durations.append(
                    _histogram(
                        self._histogram_labels[each],
                        times,
                        count,
                        float(self._sums[each, 0]),
                        self._buckets[each].tolist(),
                    )
                )
        metrics: list[bytes] = []
        for name, unit, points in (
            ("istio_requests_total", "", requests),
            ("istio_tcp_connections_opened_total", "", opened),
            ("istio_tcp_sent_bytes_total", "By", sent),
            ("istio_tcp_received_bytes_total", "By", received),
        ):
            if points:
                head = Metric(name=name, unit=unit).SerializeToString()
                shape = Sum(aggregation_temporality=_CUMULATIVE, is_monotonic=True).SerializeToString()
                metrics.append(head + field(7, b"".join(points) + shape))
        if durations:
            head = Metric(name="istio_request_duration_milliseconds", unit="ms").SerializeToString()
            shape = Histogram(aggregation_temporality=_CUMULATIVE).SerializeToString()
            metrics.append(head + field(9, b"".join(durations) + shape))
        scope = ScopeMetrics(scope=InstrumentationScope(name="otelcol/prometheusreceiver")).SerializeToString()
        resource = ResourceMetrics(resource=Resource(attributes=attributes(_target(self._cluster.pods[pod]))))
        return resource.SerializeToString() + field(2, scope + b"".join(field(2, metric) for metric in metrics))

    def _process(self, pod: Pod, rng: np.random.Generator, at_us: int) -> bytes:
        start_ns, now_ns = self._start_us * 1000, at_us * 1000
        cpu = NumberDataPoint(
            start_time_unix_nano=start_ns, time_unix_nano=now_ns, as_double=round(float(self._cpu_s[pod.index]), 3)
        )
        memory = NumberDataPoint(time_unix_nano=now_ns, as_int=int(rng.normal(180e6, 6e6)))
        scope = ScopeMetrics(
            scope=InstrumentationScope(name="process"),
            metrics=[
                Metric(
                    name="process.cpu.time",
                    unit="s",
                    sum=Sum(data_points=[cpu], aggregation_temporality=_CUMULATIVE, is_monotonic=True),
                ),
                Metric(name="process.memory.usage", unit="By", gauge=Gauge(data_points=[memory])),
            ],
        )
        values: dict[str, Value] = {
            "service.name": pod.service.name,
            "service.version": pod.version.name,
            "service.instance.id": pod.uid,
            "k8s.namespace.name": pod.service.namespace,
            "k8s.pod.name": pod.name,
        }
        return ResourceMetrics(
            resource=Resource(attributes=attributes(values)), scope_metrics=[scope]
        ).SerializeToString()


def _side(side: str, pod: Pod | None) -> dict[str, Value]:
    if pod is None:
        workload = namespace = principal = name = version = cluster = "unknown"
    else:
        service = pod.service
        workload, namespace, name, version = pod.workload, service.namespace, service.name, pod.version.name
        principal, cluster = service.principal if service.meshed else "unknown", "Kubernetes"
    return {
        f"{side}_workload": workload,
        f"{side}_workload_namespace": namespace,
        f"{side}_principal": principal,
        f"{side}_app": name,
        f"{side}_version": version,
        f"{side}_cluster": cluster,
        f"{side}_canonical_service": name,
        f"{side}_canonical_revision": version,
    }


def _target(pod: Pod) -> dict[str, Value]:
    """Resource attributes that the Prometheus receiver and the Kubernetes processor give a scraped sidecar."""
    return {
        "service.name": "istio-proxies",
        "service.instance.id": f"{pod.address}:15020",
        "server.address": pod.address,
        "server.port": "15020",
        "url.scheme": "http",
        "k8s.namespace.name": pod.service.namespace,
        "k8s.pod.name": pod.name,
        "k8s.node.name": pod.node,
    }


def _times(start_us: int, at_us: int) -> bytes:
    # start_time_unix_nano (2) and time_unix_nano (3), alike in number and histogram points.
    return struct.pack("<BQBQ", 0x11, start_us * 1000, 0x19, at_us * 1000)


def _number(labels: bytes, times: bytes, value: int) -> bytes:
    # NumberDataPoint: as_double is field 4, as Prometheus values are.
    return field(1, labels + times + struct.pack("<Bd", 0x21, float(value)))


_BOUNDS = HistogramDataPoint(explicit_bounds=BOUNDS_MS).SerializeToString()


def _histogram(labels: bytes, times: bytes, count: int, total: float, buckets: list[int]) -> bytes:
    point = HistogramDataPoint(count=count, sum=total, bucket_counts=buckets).SerializeToString()
    return field(1, labels + times + point + _BOUNDS)
