"""A slow reader of a world's messages, written from the formats alone: it counts the edges again, line by line."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from eastwatch.world import ACCESS_LOGS, METRICS, TRACES, Message

GATEWAY = "istio-system/istio-ingressgateway"


@dataclass
class SpanSeen:
    """One span with where it came from."""

    node: str
    span: Span
    attributes: dict[str, Any]

    @property
    def parent(self) -> bytes:
        return self.span.parent_span_id


@dataclass
class Account:
    """Everything the messages say."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    """Access-log lines with `_pod` (name, or None for a plain line) and `_wrote` ("namespace/service" of the proxy)."""
    sides: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(lambda: {"source": [], "destination": []})
    )
    spans: dict[bytes, SpanSeen] = field(default_factory=dict)
    points: list[tuple[str, str, dict[str, Any], Any]] = field(default_factory=list)
    """(metric, pod, attributes, data point) in order of arrival."""


class Addresses:
    """Who has an address when, from the inventory."""

    def __init__(self, inventory: bytes) -> None:
        self._pods: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        self.pods: dict[str, dict[str, Any]] = {}
        for item in json.loads(inventory)["items"]:
            if item["kind"] != "Pod":
                continue
            node = f"{item['metadata']['namespace']}/{item['metadata']['labels']['app']}"
            self.pods[item["metadata"]["name"]] = item
            begin, end = _seconds(item["status"]["startTime"]), float("inf")
            for container in item["status"]["containerStatuses"]:
                if terminated := container["state"].get("terminated"):
                    end = _seconds(terminated["finishedAt"])
            self._pods[item["status"]["podIP"]].append((begin, end, node))

    def node(self, address: str | None, at: float) -> str | None:
        """`namespace/app` of the pod that had `ip:port` or `ip` at this time."""
        ip = (address or "").rpartition(":")[0] or address or ""
        owners = [node for begin, end, node in self._pods.get(ip, ()) if begin <= at < end]
        assert len(owners) <= 1, (address, at, owners)
        return owners[0] if owners else None


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def recount(messages: Iterable[Message], inventory: bytes) -> Account:
    """Read every message."""
    account, addresses = Account(), Addresses(inventory)
    for message in messages:
        if message.topic == ACCESS_LOGS:
            for text in message.value.decode().splitlines():
                _line(account, addresses, json.loads(text))
        elif message.topic == TRACES:
            _traces(account, ExportTraceServiceRequest.FromString(message.value))
        else:
            assert message.topic == METRICS
            _metrics(account, ExportMetricsServiceRequest.FromString(message.value))
    return account


def _line(account: Account, addresses: Addresses, record: dict[str, Any]) -> None:
    pod = None
    line = record
    if "kubernetes" in record:
        pod = record["kubernetes"]["pod_name"]
        line = json.loads(record["log"])
    at = _seconds(line["start_time"])
    cluster = line["upstream_cluster"]
    if cluster.startswith("inbound|"):
        side = "destination"
        wrote = addresses.node(line["downstream_local_address"], at)
        source, destination = addresses.node(line["downstream_direct_remote_address"], at), wrote
    else:
        side = "source"
        # A gateway's downstream is outside; its own address is the local one.
        wrote = addresses.node(line["downstream_direct_remote_address"], at)
        wrote = wrote or addresses.node(line["downstream_local_address"], at)
        source, destination = wrote, _upstream(line)
    assert source and destination and wrote, line
    if pod:
        item = addresses.pods[pod]
        assert wrote == f"{item['metadata']['namespace']}/{item['metadata']['labels']['app']}"
    account.lines.append({**line, "_pod": pod, "_wrote": wrote})
    account.sides[source, destination][side].append(line)


def _upstream(line: dict[str, Any]) -> str:
    cluster = line["upstream_cluster"]
    if cluster == "PassthroughCluster":
        return f"external:{line['authority']}"
    host = cluster.split("|")[3]
    if host.endswith(".svc.cluster.local"):
        name, namespace = host.split(".")[:2]
        return f"{namespace}/{name}"
    return f"external:{host}"


def _traces(account: Account, request: ExportTraceServiceRequest) -> None:
    for resource_spans in request.resource_spans:
        resource = {a.key: a.value.string_value for a in resource_spans.resource.attributes}
        node = f"{resource['k8s.namespace.name']}/{resource['service.name']}"
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                assert span.span_id not in account.spans
                values = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
                account.spans[span.span_id] = SpanSeen(node, span, values)


def _metrics(account: Account, request: ExportMetricsServiceRequest) -> None:
    for resource_metrics in request.resource_metrics:
        resource = {a.key: a.value.string_value for a in resource_metrics.resource.attributes}
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    labels = {a.key: a.value.string_value for a in point.attributes}
                    account.points.append((metric.name, resource["k8s.pod.name"], labels, point))


def edges(account: Account) -> dict[tuple[str, str], dict[str, Any]]:
    """The edges as the definition of counting has them, from lines, and from spans where no line tells."""
    out = {pair: _from_lines(pair[0], **sides) for pair, sides in account.sides.items()}
    for pair, seen in _from_spans(account).items():
        if pair in out:
            out[pair]["evidence"].append("trace")
        else:
            out[pair] = seen
    return out


def _from_lines(from_node: str, source: list[dict[str, Any]], destination: list[dict[str, Any]]) -> dict[str, Any]:
    counted = source or destination
    took = sorted(line["duration"] for line in counted)
    protocols = Counter(_protocol(line) for line in counted)
    return {
        "direction": "ingress" if from_node == GATEWAY else None,
        "protocol": protocols.most_common(1)[0][0],
        "requests": len(counted),
        "errors": sum(map(_is_error, counted)),
        "statuses": dict(sorted(Counter(str(x["response_code"]) for x in counted if x["method"]).items())),
        "attempts": len(destination) if destination else None,
        "denied": sum("rbac_access_denied" in _why(line) for line in destination) if destination else None,
        "mtls_share": (
            sum(line["downstream_peer_uri_san"] is not None for line in destination) / len(destination)
            if destination
            else None
        ),
        "p50_ms": _rank(took, 50),
        "p95_ms": _rank(took, 95),
        "p99_ms": _rank(took, 99),
        "bytes_sent": sum(line["bytes_sent"] for line in counted),
        "bytes_received": sum(line["bytes_received"] for line in counted),
        "evidence": ["log"],
    }


def _protocol(line: dict[str, Any]) -> str:
    if line["method"] is None:
        return "tcp"
    if line["grpc_status"] is not None:
        return "grpc"
    return "http2" if line["protocol"] == "HTTP/2" else "http"


def _is_error(line: dict[str, Any]) -> bool:
    if line["response_code"] >= 500 or line["grpc_status"] in (2, 4, 13, 14, 15):
        return True
    return line["response_code"] == 0 and line["response_flags"] not in ("-", "DC")


def _why(line: dict[str, Any]) -> str:
    return f"{line['response_code_details']}{line['connection_termination_details']}"


def _rank(ordered: list[int], percent: int) -> int:
    return ordered[-(-percent * len(ordered) // 100) - 1]


def _from_spans(account: Account) -> dict[tuple[str, str], dict[str, Any]]:
    pairs: dict[tuple[str, str], list[SpanSeen]] = defaultdict(list)
    for seen in account.spans.values():
        parent = account.spans.get(seen.parent)
        if seen.span.kind == Span.SPAN_KIND_CONSUMER and parent:
            pairs[parent.node, seen.node].append(parent)
        elif seen.span.kind == Span.SPAN_KIND_CLIENT:
            host = seen.attributes.get("server.address") or seen.attributes["net.peer.name"]
            pairs[seen.node, _host_node(host, seen.node)].append(seen)
    return {
        pair: {
            "requests": len(spans),
            "errors": sum(seen.span.status.code == Status.STATUS_CODE_ERROR for seen in spans),
            "attempts": len(spans) if spans[0].span.kind == Span.SPAN_KIND_PRODUCER else None,
            "denied": None,
            "mtls_share": None,
            "p50_ms": _rank(sorted(_whole_ms(seen.span) for seen in spans), 50),
            "evidence": ["trace"],
        }
        for pair, spans in pairs.items()
    }


def _whole_ms(span: Span) -> int:
    return (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000


def _host_node(host: str, caller: str) -> str:
    if host.endswith(".example"):
        return f"external:{host}"
    name, _, rest = host.partition(".")
    namespace = rest.partition(".")[0] or caller.partition("/")[0]
    return f"{namespace}/{name}"
