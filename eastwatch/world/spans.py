"""Spans of the traced applications, as OTLP `ExportTraceServiceRequest` bytes.

Only applications send spans, no proxy does. Go and Node services use today's semantic conventions, Java and Python ones
the older names, as in most real fleets. Services that are not instrumented pass no context on: what they call begins a
new trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from eastwatch.world.cluster import Cluster, Pod
from eastwatch.world.happenings import Calls, Deliveries, Happenings, Ids, Inner, Ints, Queries
from eastwatch.world.model import External, Operation, Runtime, Service
from eastwatch.world.naming import authority, host_name
from eastwatch.world.otlp import Value, attribute_field, attributes, field, fields
from eastwatch.world.shipping import SPAN_WINDOW_US, Message, Windows, packed

_ATTRIBUTES = 9  # Span.attributes
_ERROR = Span(status=Status(code=Status.STATUS_CODE_ERROR)).SerializeToString()
_GRPC_SERVER_ERRORS = frozenset((2, 4, 12, 13, 14, 15))

_SCOPES: Mapping[Runtime, str] = {
    "go": "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
    "java": "io.opentelemetry.tomcat-10.0",
    "node": "@opentelemetry/instrumentation-http",
    "python": "opentelemetry.instrumentation.fastapi",
    "envoy": "",
    "native": "",
}


class SpanShipper:
    """Encodes spans and ships them, as a collector's batch processor would: one request per window."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._topic = topic
        self._windows: Windows[bytes] = Windows(SPAN_WINDOW_US, staggered=False)
        self._constant: dict[tuple[object, ...], bytes] = {}
        self._heads = [_resource(pod) for pod in cluster.pods]

    def add(self, happenings: Happenings) -> None:
        """Take every span of `happenings`, in any order."""
        for calls in happenings.calls:
            self._client(calls)
            self._server(calls)
        for queries in happenings.queries:
            self._queries(queries)
        for deliveries in happenings.deliveries:
            self._deliver(deliveries)
        for inner in happenings.inner:
            self._inner(inner)

    def ship(self, until_us: int | None) -> Iterator[Message]:
        """Messages due by `until_us` (None = all that is left), in order of time."""
        request: list[bytes] = []
        due_us = 0
        for closes_us, pod, spans in self._windows.close(until_us):
            if closes_us != due_us:
                yield from packed(self._topic, request, due_us)
                request, due_us = [], closes_us
            resource, scope = self._heads[pod]
            scope_spans = field(2, scope + fields(2, (span for _, span in spans)))
            request.append(field(1, resource + scope_spans))
        yield from packed(self._topic, request, due_us)

    def _put(
        self, pods: Ints, trace: Ids, span: Ids, parent: Ids, start_us: Ints, duration_us: Ints, rest: list[bytes]
    ) -> None:
        heads = _heads(trace, span, parent, start_us, start_us + duration_us)
        self._windows.add(
            pods.tolist(),
            (start_us + duration_us).tolist(),
            [head + tail for head, tail in zip(heads, rest, strict=True)],
        )

    def _same(
        self, key: tuple[object, ...], name: str, kind: Span.SpanKind.ValueType, values: dict[str, Value]
    ) -> bytes:
        if key not in self._constant:
            span = Span(name=name, kind=kind, attributes=attributes(values))
            self._constant[key] = span.SerializeToString()
        return self._constant[key]

    def _client(self, calls: Calls) -> None:
        spans = calls.client_spans
        if spans is None:
            return
        source, destination, operation = calls.source, calls.destination, calls.operation
        host = destination.host if isinstance(destination, External) else host_name(source, destination)
        modern = _modern(source)
        key = ("client", source.id, operation.id)
        if isinstance(destination, Service) and destination.protocol == "grpc":
            constant = self._same(
                key, operation.path.removeprefix("/"), Span.SPAN_KIND_CLIENT,
                {**_rpc(operation), **_peer(modern, host, destination.port)},
            )  # fmt: skip
            self._put(
                calls.caller_pod, spans.trace, spans.span, spans.parent, spans.start_us, spans.duration_us,
                [constant + _grpc_status(code, code != 0) for code in calls.grpc.tolist()],
            )  # fmt: skip
            return
        values = {
            "http.request.method" if modern else "http.method": operation.method,
            **_peer(modern, host, destination.port),
        }
        constant = self._same(key, operation.method, Span.SPAN_KIND_CLIENT, values)
        scheme = "https" if isinstance(destination, External) and destination.port == 443 else "http"
        base = f"{scheme}://{authority(source, destination)}"
        url = "url.full" if modern else "http.url"
        rest = [
            constant
            + attribute_field(_ATTRIBUTES, url, base + path)
            + _http_status(modern, status, status >= 400 or status == 0)
            for path, status in zip(calls.paths, calls.status.tolist(), strict=True)
        ]
        self._put(
            calls.caller_pod, spans.trace, spans.span, spans.parent, spans.start_us, spans.duration_us, rest
        )  # fmt: skip

    def _server(self, calls: Calls) -> None:
        spans, destination, operation = calls.server_spans, calls.destination, calls.operation
        if spans is None or not isinstance(destination, Service):
            return
        modern, key = _modern(destination), ("server", operation.id)
        # Behind a sidecar every connection comes from 127.0.0.6.
        peer: dict[str, Value] = {"network.peer.address" if modern else "net.sock.peer.addr": "127.0.0.6"}
        if destination.protocol == "grpc":
            constant = self._same(
                key, operation.path.removeprefix("/"), Span.SPAN_KIND_SERVER, {**_rpc(operation), **peer}
            )
            rest = [constant + _grpc_status(code, code in _GRPC_SERVER_ERRORS) for code in spans.code.tolist()]
        else:
            route = operation.path.partition("?")[0]
            values: dict[str, Value] = {
                "http.request.method" if modern else "http.method": operation.method,
                "http.route": route,
                "url.scheme" if modern else "http.scheme": "http",
                "server.address" if modern else "net.host.name": destination.name,
                "server.port" if modern else "net.host.port": destination.target_port,
                **peer,
            }
            constant = self._same(key, f"{operation.method} {route}", Span.SPAN_KIND_SERVER, values)
            paths = [calls.paths[row] for row in spans.row.tolist()]
            if modern:
                paths = [path.partition("?")[0] for path in paths]
            target = "url.path" if modern else "http.target"
            rest = [
                constant + attribute_field(_ATTRIBUTES, target, path) + _http_status(modern, status, status >= 500)
                for path, status in zip(paths, spans.code.tolist(), strict=True)
            ]
        self._put(
            calls.callee_pod[spans.row], spans.trace, spans.span, spans.parent, spans.start_us, spans.duration_us, rest
        )  # fmt: skip

    def _queries(self, queries: Queries) -> None:
        source, query = queries.source, queries.query
        modern = _modern(source)
        namespace, name = query.store.split("/")
        host = f"{name}.{namespace}.svc.cluster.local" if source.runtime == "java" else f"{name}.{namespace}"
        values: dict[str, Value] = {
            "db.system.name" if modern else "db.system": query.system,
            "db.operation.name" if modern else "db.operation": query.verb,
            **_peer(modern, host, 6379 if query.system == "redis" else 5432),
        }
        if query.system == "postgresql":
            values["db.namespace" if modern else "db.name"] = query.subject
        key = ("query", source.id, query.store, query.verb)
        constant = self._same(key, f"{query.verb} {query.subject}", Span.SPAN_KIND_CLIENT, values)
        self._put(
            queries.pod, queries.trace, queries.span, queries.parent, queries.start_us, queries.duration_us,
            [constant] * len(queries.pod),
        )  # fmt: skip

    def _deliver(self, deliveries: Deliveries) -> None:
        publish, n = deliveries.publish, len(deliveries.producer_pod)
        namespace, name = publish.broker.split("/")
        broker = f"{name}.{namespace}.svc.cluster.local"
        common: dict[str, Value] = {"messaging.system": "kafka", "messaging.destination.name": publish.topic}
        sent = self._same(
            ("send", deliveries.source.id, publish.topic), f"{publish.topic} publish", Span.SPAN_KIND_PRODUCER,
            {**common, "messaging.operation": "publish", **_peer(_modern(deliveries.source), broker, 9092)},
        )  # fmt: skip
        processed = self._same(
            ("process", deliveries.destination.id, publish.topic), f"{publish.topic} process", Span.SPAN_KIND_CONSUMER,
            {**common, "messaging.operation": "process", "messaging.kafka.consumer.group": deliveries.destination.name},
        )  # fmt: skip
        self._put(
            deliveries.producer_pod, deliveries.trace, deliveries.producer_span, deliveries.parent,
            deliveries.producer_start_us, deliveries.producer_duration_us, [sent] * n,
        )  # fmt: skip
        self._put(
            deliveries.consumer_pod, deliveries.trace, deliveries.consumer_span, deliveries.producer_span,
            deliveries.consumer_start_us, deliveries.consumer_duration_us, [processed] * n,
        )  # fmt: skip

    def _inner(self, inner: Inner) -> None:
        constant = self._same(("inner", inner.service.id, inner.name), inner.name, Span.SPAN_KIND_INTERNAL, {})
        self._put(
            inner.pod, inner.trace, inner.span, inner.parent, inner.start_us, inner.duration_us,
            [constant] * len(inner.pod),
        )  # fmt: skip


def _modern(service: Service) -> bool:
    return service.runtime in ("go", "node")


def _peer(modern: bool, host: str, port: int) -> dict[str, Value]:
    return {
        "server.address" if modern else "net.peer.name": host,
        "server.port" if modern else "net.peer.port": port,
    }


def _rpc(operation: Operation) -> dict[str, Value]:
    service, method = operation.path.removeprefix("/").split("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _grpc_status(code: int, error: bool) -> bytes:
    status = attribute_field(_ATTRIBUTES, "rpc.grpc.status_code", code)
    return status + _ERROR if error else status


def _http_status(modern: bool, status: int, error: bool) -> bytes:
    # No response, no status code.
    name = "http.response.status_code" if modern else "http.status_code"
    encoded = attribute_field(_ATTRIBUTES, name, status) if status else b""
    return encoded + _ERROR if error else encoded


def _resource(pod: Pod) -> tuple[bytes, bytes]:
    """The encoded `resource` of a pod's spans, and the encoded `scope`."""
    service = pod.service
    values: dict[str, Value] = {
        "service.name": service.name,
        "service.version": pod.version.name,
        "service.instance.id": pod.uid,
        "k8s.namespace.name": service.namespace,
        "k8s.pod.name": pod.name,
        "k8s.pod.ip": pod.address,
        "k8s.node.name": pod.node,
        "telemetry.sdk.language": {"node": "nodejs"}.get(service.runtime, service.runtime),
    }
    owner = {"ReplicaSet": "deployment", "StatefulSet": "statefulset", "Job": "cronjob"}[pod.owner_kind]
    values[f"k8s.{owner}.name"] = pod.workload
    resource = ResourceSpans(resource=Resource(attributes=attributes(values)))
    scope = ScopeSpans(scope=InstrumentationScope(name=_SCOPES[service.runtime], version="1.0.0"))
    return resource.SerializeToString(), scope.SerializeToString()


def _heads(trace: Ids, span: Ids, parent: Ids, start_us: Ints, end_us: Ints) -> list[bytes]:
    """The fields that differ from span to span, encoded: ids (fields 1, 2, 4) and times in ns (fixed64, 7 and 8)."""
    n = len(span)
    rows: NDArray[np.uint8] = np.empty((n, 56), np.uint8)
    rows[:, 0:2] = (0x0A, 16)
    rows[:, 2:18] = trace.astype(">u8").view(np.uint8).reshape(n, 16)
    rows[:, 18:20] = (0x12, 8)
    rows[:, 20:28] = span.astype(">u8").view(np.uint8).reshape(n, 8)
    rows[:, 28] = 0x39
    rows[:, 29:37] = (start_us * 1000).astype("<u8").view(np.uint8).reshape(n, 8)
    rows[:, 37] = 0x41
    rows[:, 38:46] = (end_us * 1000).astype("<u8").view(np.uint8).reshape(n, 8)
    rows[:, 46:48] = (0x22, 8)
    rows[:, 48:56] = parent.astype(">u8").view(np.uint8).reshape(n, 8)
    joined = rows.tobytes()
    roots = (parent == 0).tolist()
    # A root has no parent field at all.
    return [joined[56 * i : 56 * i + (46 if root else 56)] for i, root in enumerate(roots)]
