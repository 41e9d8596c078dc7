"""The slow, plain reading of OTLP: one span or point at a time with opentelemetry-proto. The oracle of the fast one."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = 31_536_000 * 10**9, 4_102_444_800 * 10**9
KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
GRPC = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


def plain(value: Any) -> Any:
    """An AnyValue as JSON would hold it."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(v) for v in value.array_value.values]
    if kind == "kvlist_value":
        return {kv.key: plain(kv.value) for kv in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind)


def text(value: Any) -> str:
    """An AnyValue as the text of a map."""
    kind = value.WhichOneof("value")
    if kind in (None, "string_value", "bytes_value"):
        return plain(value) or ""
    if kind in ("array_value", "kvlist_value"):
        return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return pa.scalar(plain(value)).cast(pa.string()).as_py()


def pairs(attributes: Any) -> list[tuple[str, str]]:
    return [(kv.key, text(kv.value)) for kv in attributes]


def first(attributes: Any, *keys: str) -> Any:
    """The AnyValue of the first of `keys` that is there; the last one where a key is repeated."""
    for key in keys:
        for kv in reversed(attributes):
            if kv.key == key:
                return kv.value
    return None


def word(attributes: Any, *keys: str) -> str:
    found = first(attributes, *keys)
    return "" if found is None else text(found)


def whole(attributes: Any, keys: Sequence[str], names: dict[str, int] | None = None) -> int | None:
    found = first(attributes, *keys)
    if found is None:
        return None
    if found.WhichOneof("value") == "int_value":
        return found.int_value
    given = text(found)
    if names and given.upper() in names:
        return names[given.upper()]
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def within(value: int | None, limit: int, low: int = 0) -> int:
    return value if value is not None and low <= value <= limit else 0


def identity(resource: Any) -> dict[str, Any]:
    a = resource.attributes
    return {
        "cluster": word(a, "k8s.cluster.name"),
        "namespace": word(a, "k8s.namespace.name", "service.namespace"),
        "service": word(a, "service.name"),
        "workload": word(
            a,
            "k8s.deployment.name",
            "k8s.statefulset.name",
            "k8s.daemonset.name",
            "k8s.cronjob.name",
            "k8s.job.name",
        ),
        "version": word(a, "service.version"),
        "pod": word(a, "k8s.pod.name"),
        "_pod_ip": word(a, "k8s.pod.ip"),
        "resource": pairs(a),
    }


def when(nanoseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def span_rows(messages: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Rows of `spans`, and (message, record) of those that cannot be used."""
    rows: list[dict[str, Any]] = []
    dead: list[tuple[int, int]] = []
    for index, payload in enumerate(messages):
        record = 0
        for rs in ExportTraceServiceRequest.FromString(payload).resource_spans:
            for ss in rs.scope_spans:
                for span in ss.spans:
                    if usable(span):
                        rows.append({"_message": index, **span_row(rs.resource, ss.scope, span)})
                    else:
                        dead.append((index, record))
                    record += 1
    return rows, dead


def usable(span: Any) -> bool:
    return (
        len(span.trace_id) == 16
        and any(span.trace_id)
        and len(span.span_id) == 8
        and any(span.span_id)
        and FIRST <= span.start_time_unix_nano < LAST
        and span.end_time_unix_nano < LAST
        and len(span.attributes) <= 256
    )


def span_row(resource: Any, scope: Any, span: Any) -> dict[str, Any]:
    a = span.attributes
    who = identity(resource)
    if (tagged := first(a, "istio.namespace")) is not None:
        tag = text(tagged)
        who["namespace"] = who["namespace"] or tag
        who["service"] = who["service"].removesuffix(f".{tag}")
    kind = span.kind if 0 <= span.kind < 6 else 0
    parent = span.parent_span_id
    return {
        "ts": when(span.start_time_unix_nano),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": parent.hex() if len(parent) == 8 and any(parent) else "",
        **who,
        "name": span.name,
        "kind": KINDS[kind],
        "status": ["unset", "ok", "error"][span.status.code if 0 <= span.status.code < 3 else 0],
        "status_message": span.status.message,
        "error": int(span.status.code == 2 or word(a, "error").lower() == "true"),
        "duration_us": max(0, span.end_time_unix_nano - span.start_time_unix_nano) // 1000,
        **request(a, span.name),
        **peer(a, kind),
        "scope": scope.name,
        "attributes": pairs(a),
        "events": events(span),
        "links": links(span),
    }


def request(a: Any, name: str) -> dict[str, Any]:
    def has(*keys: str) -> bool:
        return first(a, *keys) is not None

    observed = micrometer(a)
    method_keys = ("http.request.method", "http.method", *(("method",) if observed else ()))
    status_keys = ("http.response.status_code", "http.status_code", *(("status",) if observed else ()))
    grpc_keys = ("rpc.grpc.status_code", "rpc.response.status_code", "rpc.status_code", "grpc.status_code")
    protocol = ""
    if has(*method_keys, *status_keys):
        protocol = "http"
    if has("messaging.system"):
        protocol = "messaging"
    if has("db.system.name", "db.system", "db.type"):
        protocol = "database"
    if has(*grpc_keys):
        protocol = "grpc"
    if has("rpc.system.name", "rpc.system"):
        protocol = word(a, "rpc.system.name", "rpc.system").lower()
    method = word(a, *method_keys)

    operation = ""
    if has("rpc.method"):
        called = word(a, "rpc.method")
        operation = f"{word(a, 'rpc.service')}/{called}" if has("rpc.service") else called
    rpc = operation if has("rpc.method") else None
    if not operation and has("http.route", "url.template"):
        route = word(a, "http.route", "url.template")
        operation = f"{method} {route}" if has(*method_keys) else route
    if not operation and observed and word(a, "uri") not in ("", "UNKNOWN", "NOT_FOUND", "REDIRECTION", "none"):
        operation = f"{method} {word(a, 'uri')}"

    path = ""
    if has("url.path", "http.target", "http.path"):
        path = word(a, "url.path", "http.target", "http.path")
        path += f"?{word(a, 'url.query')}" if word(a, "url.query") else ""
    elif has("url.full", "http.url"):
        path = url_path(word(a, "url.full", "http.url"))
    if not path and rpc is not None:
        path = f"/{rpc}"
    return {
        "protocol": protocol,
        "method": method,
        "path": path,
        "operation": operation,
        "http_status": within(whole(a, status_keys), 999),
        "grpc_status": within(whole(a, grpc_keys, GRPC), 255),
        "request_id": word(
            a, "guid:x-request-id", "http.request.header.x-request-id", "http.request.header.x_request_id"
        ),
    }


def micrometer(a: Any) -> bool:
    return all(first(a, key) is not None for key in ("outcome", "method", "uri"))


def is_url(url: str) -> bool:
    """Its first slash is followed by another."""
    at = url.find("/")
    return at >= 0 and url[at + 1 : at + 2] == "/"


def url_path(url: str) -> str:
    if not is_url(url):
        return url if url.startswith("/") else ""
    third = url.find("/", url.find("/") + 2)
    if third < 0:
        split = parts(url)
        if split is None or not split.netloc:
            return ""
        return (split.path or "/") + (f"?{split.query}" if split.query else "")
    before = url[:third]
    return "" if "#" in before else url[third:].partition("#")[0]


def parts(url: str) -> Any:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def host_port(address: str) -> tuple[str, int | None]:
    scheme = ""
    if "://" in address:
        split = parts(address)
        scheme, address = ("", "") if split is None else (split.scheme, split.netloc.rpartition("@")[2])
    address = address.strip().lower()
    host, port = address, ""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.rpartition(":")[2] if ":" in port else host.rpartition(":")[2]
    elif address.count(":") == 1:
        host, port = address.split(":")
    number = int(port[:6]) if port.isascii() and port.isdigit() else 0
    return host.rstrip("."), number if 0 < number < 65536 else {"http": 80, "https": 443}.get(scheme.lower())


def peer(a: Any, kind: int) -> dict[str, Any]:
    serves, messaging = kind in (2, 5), kind in (4, 5)
    service, namespace = word(a, "service.peer.name", "peer.service"), word(a, "service.peer.namespace")
    host, ports = "", []
    cluster = first(a, "upstream_cluster.name", "upstream_cluster")
    named = None if cluster is None or serves else outbound(text(cluster))
    if serves:
        host_keys = (
            *("network.peer.address", "net.sock.peer.addr", "net.peer.ip", "client.address"),
            *("peer.ipv4", "peer.ipv6"),
        )
        port_keys = ("network.peer.port", "net.sock.peer.port", "net.peer.port", "client.port", "peer.port")
    else:
        host_keys = (
            *("server.address", "net.peer.name", "peer.hostname"),
            *("network.peer.address", "net.sock.peer.addr", "net.peer.ip", "peer.ipv4", "peer.ipv6"),
        )
        port_keys = ("server.port", "net.peer.port", "network.peer.port", "net.sock.peer.port", "peer.port")
    ports.append(whole(a, port_keys))
    if named is not None:
        service, namespace = service or named[0], namespace or named[1]
        host = named[2]
        ports.append(named[3] or None)
    if (given := first(a, *host_keys)) is not None:
        host_, port_ = host_port(text(given))
        host = host or host_
        ports.append(port_)
    if not host and not serves and (given := first(a, "url.full", "http.url")) is not None and is_url(text(given)):
        url = text(given)
        third = url.find("/", url.find("/") + 2)
        host, port_ = host_port(url if third < 0 else url[:third])
        ports.append(port_)
    if not host and (serves or cluster is None) and (given := first(a, "peer.address")) is not None:
        host, port_ = host_port(text(given))
        ports.append(port_)
    if not host and not serves and micrometer(a) and word(a, "client.name") != "none":
        host = host_port(word(a, "client.name"))[0]
    if not service and messaging:
        service = word(a, "messaging.destination.name", "messaging.destination", "message_bus.destination")
    if not service and not host and not serves:
        service = word(a, "db.system.name", "db.system", "db.type")
    port = next((p for p in ports if p is not None), None)
    return {
        "peer_service": service,
        "peer_namespace": namespace,
        "peer_host": host,
        "peer_port": within(port, 65535),
    }


def outbound(cluster: str) -> tuple[str, str, str, int] | None:
    fields = cluster.split("|")
    if len(fields) != 4 or fields[0] != "outbound" or not fields[3]:
        return None
    host = fields[3].lower()
    port = int(fields[1]) if fields[1].isascii() and fields[1].isdigit() and len(fields[1]) < 6 else 0
    labels = host.split(".")
    in_cluster = len(labels) >= 3 and labels[2] == "svc"
    return (
        labels[0] if in_cluster else "",
        labels[1] if in_cluster else "",
        host,
        port if port < 65536 else 0,
    )


def events(span: Any) -> str:
    if not span.events:
        return ""
    return json.dumps(
        [
            {
                "ts": when(min(e.time_unix_nano, 2**63 - 1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "name": e.name,
                "attributes": dict(pairs(e.attributes)),
            }
            for e in span.events
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def links(span: Any) -> str:
    def sound(value: bytes, size: int) -> str:
        return value.hex() if len(value) == size and any(value) else ""

    if not span.links:
        return ""
    return json.dumps(
        [
            {
                "trace_id": sound(link.trace_id, 16),
                "span_id": sound(link.span_id, 8),
                "attributes": dict(pairs(link.attributes)),
            }
            for link in span.links
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


NAN = float("nan")
EMPTY_POINT: dict[str, Any] = {
    "temporality": "unspecified",
    "monotonic": 0,
    "value": 0.0,
    "count": 0,
    "sum": 0.0,
    "min": 0.0,
    "max": 0.0,
    "bounds": [],
    "bucket_counts": [],
    "scale": 0,
    "zero_count": 0,
    "positive_offset": 0,
    "positive_counts": [],
    "negative_offset": 0,
    "negative_counts": [],
    "quantiles": [],
    "quantile_values": [],
}


def point_rows(messages: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Rows of `metric_points`, and (message, point in the message) of those that cannot be used."""
    rows: list[dict[str, Any]] = []
    dead: list[tuple[int, int]] = []
    for index, payload in enumerate(messages):
        number = 0
        for rm in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
            for sm in rm.scope_metrics:
                for metric in sm.metrics:
                    for point, row in points_of(metric):
                        if FIRST <= point.time_unix_nano < LAST:
                            rows.append(
                                {
                                    "_message": index,
                                    **EMPTY_POINT,
                                    **identity(rm.resource),
                                    "scope": sm.scope.name,
                                    "name": metric.name,
                                    "unit": metric.unit,
                                    **row,
                                }
                            )
                        else:
                            dead.append((index, number))
                        number += 1
    return rows, dead


def optional(point: Any, *names: str) -> dict[str, float]:
    return {name: getattr(point, name) if point.HasField(name) else NAN for name in names}


def points_of(metric: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    of_metric: dict[str, Any] = {"type": kind}
    if kind in ("sum", "histogram", "exponential_histogram"):
        code = data.aggregation_temporality
        of_metric["temporality"] = ["unspecified", "delta", "cumulative"][code if 0 <= code < 3 else 0]
    if kind == "sum":
        of_metric["monotonic"] = int(data.is_monotonic)
    for point in data.data_points:
        start = point.start_time_unix_nano
        row = {
            **of_metric,
            "ts": when(point.time_unix_nano),
            "start_ts": when(start if FIRST <= start < LAST else 0),
            "attributes": pairs(point.attributes),
            "flags": point.flags,
        }
        if kind in ("gauge", "sum"):
            given = point.WhichOneof("value")
            row["value"] = NAN if given is None or point.flags & 1 else float(getattr(point, given))
        elif kind == "histogram":
            row |= {"count": point.count, **optional(point, "sum", "min", "max")}
            row |= {"bounds": list(point.explicit_bounds), "bucket_counts": list(point.bucket_counts)}
        elif kind == "exponential_histogram":
            row |= {"count": point.count, **optional(point, "sum", "min", "max")}
            row |= {"scale": point.scale, "zero_count": point.zero_count}
            row |= {"positive_offset": point.positive.offset, "positive_counts": list(point.positive.bucket_counts)}
            row |= {"negative_offset": point.negative.offset, "negative_counts": list(point.negative.bucket_counts)}
        else:
            row |= {"count": point.count, "sum": point.sum}
            row |= {
                "quantiles": [q.quantile for q in point.quantile_values],
                "quantile_values": [q.value for q in point.quantile_values],
            }
        yield point, row
