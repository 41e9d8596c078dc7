"""Access-log lines of the sidecars and the gateway, as Istio's JSON encoding prints them.

The keys are Istio's 24 (istio/istio, pilot/pkg/model/telemetry_logging.go) and those that the operator of this mesh
added to see identities: the peers' URI SANs, the TLS version, the direct peer, gRPC status, attempts, `traceparent`.
Durations are whole milliseconds, header values are strings, what is absent is `null`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from json.encoder import encode_basestring

import numpy as np

from eastwatch.world.cluster import Cluster
from eastwatch.world.happenings import ANSWERED, NOT_REACHED, Calls, Connections, Happenings, Ids, Ints, Outcome
from eastwatch.world.model import External, Runtime, Service
from eastwatch.world.naming import SITE, authority, cluster_outside
from eastwatch.world.paths import uuids
from eastwatch.world.traffic import AGENTS

KEYS = (
    "start_time",
    "route_name",
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "upstream_transport_failure_reason",
    "downstream_direct_remote_address",
    "downstream_peer_uri_san",
    "downstream_tls_version",
    "upstream_peer_uri_san",
    "upstream_request_attempt_count",
    "grpc_status",
    "traceparent",
)
_LINE = "{" + ",".join(f'"{key}":%s' for key in KEYS) + "}"

_AGENT_OF: Mapping[Runtime, str] = {
    "go": "Go-http-client/1.1",
    "java": "Apache-HttpClient/5.4 (Java/21.0.5)",
    "node": "node-fetch/3.3.2",
    "python": "python-httpx/0.28.1",
    "envoy": "envoy",
    "native": "",
}
_REFUSED = "delayed_connect_error:_Connection_refused"

# Per outcome: response flags and details, as the caller's sidecar and as the callee's logs them. The words
# and the order of flags are those that Envoy 1.40 printed.
_FLAGS = {
    Outcome.NO_HEALTHY: "UH",
    Outcome.UNREACHABLE: "URX,UF",
    Outcome.TIMED_OUT: "UT",
    Outcome.HUNG_UP: "DC",
}
_CONNECTION_FLAGS = {Outcome.UNREACHABLE: "UF,URX"}
_DETAILS = {
    Outcome.NO_HEALTHY: "no_healthy_upstream",
    Outcome.UNREACHABLE: f"upstream_reset_before_response_started{{remote_connection_failure|{_REFUSED}}}",
    Outcome.TIMED_OUT: "response_timeout",
    Outcome.HUNG_UP: "downstream_remote_disconnect",
}
_SERVER_FLAGS = {Outcome.RESET: "UC", Outcome.TIMED_OUT: "DC", Outcome.HUNG_UP: "DC"}
_SERVER_DETAILS = {
    Outcome.RESET: "upstream_reset_before_response_started{connection_termination}",
    Outcome.TIMED_OUT: "downstream_remote_disconnect",
    Outcome.HUNG_UP: "downstream_remote_disconnect",
}

Cells = Iterable[object]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one kind of call: which pod wrote each (index), when (us since 1970), and its text."""

    pod: Ints
    written_us: Ints
    text: list[str]


class AccessLog:
    """Prints what happened as access-log lines."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._address = [pod.address for pod in cluster.pods]

    def lines(self, happenings: Happenings) -> list[Lines]:
        """Every line that the proxies write about `happenings`, not yet in order of time."""
        out: list[Lines] = []
        for calls in happenings.calls:
            source, destination = calls.source, calls.destination
            if source.meshed and source.logs and not calls.failed_attempt:
                out.append(self._outbound(calls))
            if isinstance(destination, Service) and destination.meshed and destination.logs:
                rows = np.flatnonzero(calls.callee_pod >= 0)
                if len(rows):
                    out.append(self._inbound(calls, destination, rows))
        for connections in happenings.connections:
            if connections.source.meshed and connections.source.logs:
                out.append(self._outbound_connections(connections))
            if connections.destination.meshed and connections.destination.logs:
                rows = np.flatnonzero(connections.callee_pod >= 0)
                if len(rows):
                    out.append(self._inbound_connections(connections, rows))
        return out

    # The caller's side

    def _outbound(self, calls: Calls) -> Lines:
        source, destination = calls.source, calls.destination
        if isinstance(destination, External) and destination.way == "sealed":
            return self._sealed(calls, destination)
        callers = self._at(calls.caller_pod, calls.ports[:, 1])
        unsent = NOT_REACHED[calls.outcome]
        cells: dict[str, Cells] = self._request(calls, range(len(calls)))
        cells["start_time"] = _times(calls.start_us)
        cells["response_code"] = calls.status.tolist()
        cells["grpc_status"] = _numbers(calls.grpc)
        cells["response_flags"] = _words(_FLAGS, calls.outcome, "-")
        cells["response_code_details"] = _words(_DETAILS, calls.outcome, "via_upstream")
        cells["duration"] = (calls.duration_us // 1000).tolist()
        cells["upstream_service_time"] = _service_times(calls.duration_us, calls.outcome)
        cells["upstream_local_address"] = _unless(unsent, callers)
        cells["upstream_request_attempt_count"] = calls.attempts.tolist()
        failed = calls.outcome == Outcome.UNREACHABLE
        cells["upstream_transport_failure_reason"] = _unless(~failed, [f'"{_REFUSED}"'] * len(calls))
        if isinstance(destination, External):
            peer = f"{destination.address}:{destination.port}"
            cells["upstream_host"] = _unless(unsent & ~failed, [f'"{peer}"'] * len(calls))
            cells["upstream_cluster"] = repeat(_quoted(cluster_outside(destination)))
            cells["downstream_local_address"] = repeat(_quoted(peer))
            cells["route_name"] = repeat('"allow_any"' if destination.way == "passthrough" else '"default"')
        else:
            tried = self._tried(calls.callee_pod, failed, destination)
            cells["upstream_host"] = self._at(tried, repeat(destination.target_port))
            cells["upstream_cluster"] = repeat(_quoted(f"outbound|{destination.port}||{destination.host}"))
            cells["downstream_local_address"] = repeat(
                _quoted(f"{self._cluster.service_address[destination.id]}:{destination.port}")
            )
            if destination.meshed and not calls.plaintext:
                cells["upstream_peer_uri_san"] = _unless(
                    calls.callee_pod < 0, [_quoted(destination.principal)] * len(calls)
                )
        applications = self._at(calls.caller_pod, calls.ports[:, 0])
        cells["downstream_remote_address"] = cells["downstream_direct_remote_address"] = applications
        if calls.visitors is not None:
            self._visit(calls, source, cells)
        return Lines(calls.caller_pod, calls.start_us + calls.duration_us, _print(cells, len(calls)))

    def _visit(self, calls: Calls, gateway: Service, cells: dict[str, Cells]) -> None:
        """The gateway's downstream is the internet."""
        assert calls.visitors is not None
        visitors = [str(ipaddress.IPv4Address(address)) for address in calls.visitors.address.tolist()]
        clients = [f'"{ip}:{port}"' for ip, port in zip(visitors, calls.ports[:, 0].tolist(), strict=True)]
        cells["downstream_remote_address"] = cells["downstream_direct_remote_address"] = clients
        cells["downstream_local_address"] = self._at(calls.caller_pod, repeat(gateway.target_port))
        cells["x_forwarded_for"] = [f'"{ip}"' for ip in visitors]
        cells["requested_server_name"] = repeat(_quoted(SITE))
        cells["downstream_tls_version"] = repeat('"TLSv1.3"')
        cells["protocol"] = ['"HTTP/2"' if http2 else '"HTTP/1.1"' for http2 in calls.visitors.http2.tolist()]
        cells["route_name"] = repeat('"shop-web"')

    def _sealed(self, calls: Calls, destination: External) -> Lines:
        """The application speaks TLS itself: its sidecar sees one connection per request, and the SNI."""
        failed = calls.outcome == Outcome.UNREACHABLE
        peer = f"{destination.address}:{destination.port}"
        cells: dict[str, Cells] = {
            "start_time": _times(calls.start_us),
            "response_code": repeat(0),
            "response_flags": _words(_CONNECTION_FLAGS, calls.outcome, "-"),
            "bytes_received": calls.bytes_received.tolist(),
            "bytes_sent": calls.bytes_sent.tolist(),
            "duration": (calls.duration_us // 1000).tolist(),
            "upstream_host": repeat(_quoted(peer)),
            "upstream_cluster": repeat(_quoted(cluster_outside(destination))),
            "upstream_local_address": _unless(failed, self._at(calls.caller_pod, calls.ports[:, 1])),
            "downstream_local_address": repeat(_quoted(peer)),
            "requested_server_name": repeat(_quoted(destination.host)),
            "upstream_request_attempt_count": repeat(1),
            "upstream_transport_failure_reason": _unless(~failed, [f'"{_REFUSED}"'] * len(calls)),
        }
        applications = self._at(calls.caller_pod, calls.ports[:, 0])
        cells["downstream_remote_address"] = cells["downstream_direct_remote_address"] = applications
        return Lines(calls.caller_pod, calls.start_us + calls.duration_us, _print(cells, len(calls)))

    def _outbound_connections(self, connections: Connections) -> Lines:
        destination = connections.destination
        failed = connections.outcome == Outcome.UNREACHABLE
        cells = self._connection(connections, range(len(connections)))
        cells["response_flags"] = _words(_CONNECTION_FLAGS, connections.outcome, "-")
        tried = self._tried(connections.callee_pod, failed, destination)
        cells["upstream_host"] = self._at(tried, repeat(destination.target_port))
        cells["upstream_cluster"] = repeat(_quoted(f"outbound|{destination.port}||{destination.host}"))
        cells["upstream_local_address"] = _unless(failed, self._at(connections.caller_pod, connections.ports[:, 1]))
        cells["downstream_local_address"] = repeat(
            _quoted(f"{self._cluster.service_address[destination.id]}:{destination.port}")
        )
        applications = self._at(connections.caller_pod, connections.ports[:, 0])
        cells["downstream_remote_address"] = cells["downstream_direct_remote_address"] = applications
        cells["upstream_transport_failure_reason"] = _unless(~failed, [f'"{_REFUSED}"'] * len(connections))
        if destination.meshed:
            cells["upstream_peer_uri_san"] = _unless(failed, [_quoted(destination.principal)] * len(connections))
        return Lines(
            connections.caller_pod, connections.start_us + connections.duration_us, _print(cells, len(connections))
        )

    # The callee's side

    def _inbound(self, calls: Calls, destination: Service, rows: Ints) -> Lines:
        outcome, pods = calls.outcome[rows], calls.callee_pod[rows]
        unsent = outcome == Outcome.DENIED
        start_us, duration_us = calls.server_start_us[rows], calls.server_duration_us[rows]
        cells: dict[str, Cells] = self._request(calls, rows.tolist())
        cells["start_time"] = _times(start_us)
        cells["response_code"] = calls.server_status[rows].tolist()
        cells["grpc_status"] = _numbers(calls.server_grpc[rows])
        cells["response_flags"] = _words(_SERVER_FLAGS, outcome, "-")
        denial = {Outcome.DENIED: f"rbac_access_denied_matched_policy[{calls.policy}]"}
        cells["response_code_details"] = _words({**_SERVER_DETAILS, **denial}, outcome, "via_upstream")
        cells["duration"] = (duration_us // 1000).tolist()
        cells["upstream_service_time"] = _service_times(duration_us, outcome)
        cells["upstream_request_attempt_count"] = np.where(unsent, 0, 1).tolist()
        self._receive(cells, calls.source, destination, pods, calls.caller_pod[rows], calls.ports[rows], unsent,
                      secured=calls.secured)  # fmt: skip
        if calls.visitors is not None:
            # The sidecar takes the remote address from the gateway's X-Forwarded-For, without a port.
            visitors = [str(ipaddress.IPv4Address(address)) for address in calls.visitors.address[rows].tolist()]
            cells["x_forwarded_for"] = [f'"{ip}"' for ip in visitors]
            cells["downstream_remote_address"] = [f'"{ip}:0"' for ip in visitors]
        return Lines(pods, start_us + duration_us, _print(cells, len(rows)))

    def _inbound_connections(self, connections: Connections, rows: Ints) -> Lines:
        denied = connections.outcome[rows] == Outcome.DENIED
        cells = self._connection(connections, rows.tolist())
        if denied.any():
            refusal = _quoted(f"rbac_access_denied_matched_policy[{connections.pool.policy}]")
            cells["connection_termination_details"] = [refusal if row else "null" for row in denied.tolist()]
        pods = connections.callee_pod[rows]
        self._receive(
            cells,
            connections.source,
            connections.destination,
            pods,
            connections.caller_pod[rows],
            connections.ports[rows],
            denied,
            secured=connections.source.meshed,
        )
        return Lines(pods, (connections.start_us + connections.duration_us)[rows], _print(cells, len(rows)))

    def _receive(
        self,
        cells: dict[str, Cells],
        source: Service,
        destination: Service,
        pods: Ints,
        callers: Ints,
        ports: Ints,
        unsent: np.ndarray[tuple[int], np.dtype[np.bool_]],
        *,
        secured: bool,
    ) -> None:
        """Addresses and identities of an inbound listener."""
        local = self._at(pods, repeat(destination.target_port))
        cells["upstream_host"] = _unless(unsent, local)
        cells["upstream_cluster"] = repeat(_quoted(f"inbound|{destination.target_port}||"))
        cells["upstream_local_address"] = _unless(unsent, [f'"127.0.0.6:{port}"' for port in ports[:, 2].tolist()])
        cells["downstream_local_address"] = local
        peers = self._at(callers, ports[:, 1])
        cells["downstream_remote_address"] = cells["downstream_direct_remote_address"] = peers
        if secured:
            cells["downstream_peer_uri_san"] = repeat(_quoted(source.principal))
            cells["downstream_tls_version"] = repeat('"TLSv1.3"')
            cells["requested_server_name"] = repeat(_quoted(f"outbound_.{destination.port}_._.{destination.host}"))

    # Both sides

    def _request(self, calls: Calls, rows: Sequence[int]) -> dict[str, Cells]:
        """What both sidecars log of a request alike."""
        source, destination, operation = calls.source, calls.destination, calls.operation
        index = np.array(rows, np.int64)
        grpc = isinstance(destination, Service) and destination.protocol == "grpc"
        cells: dict[str, Cells] = {
            "route_name": repeat('"default"'),
            "method": repeat(_quoted(operation.method)),
            "path": [_quoted(calls.paths[row]) for row in rows],
            "protocol": repeat('"HTTP/2"' if grpc else '"HTTP/1.1"'),
            "bytes_received": calls.bytes_received[index].tolist(),
            "bytes_sent": calls.bytes_sent[index].tolist(),
            "request_id": [f'"{id}"' for id in uuids(calls.request[index])],
            "authority": repeat(_quoted(authority(source, destination))),
            "user_agent": repeat(_quoted("grpc-go/1.69.0" if grpc else _AGENT_OF[source.runtime])),
        }
        if calls.visitors is not None:
            agents = [_quoted(agent) for agent in AGENTS]
            cells["user_agent"] = [agents[i] for i in calls.visitors.agent[index].tolist()]
        if calls.client_spans is not None:
            cells["traceparent"] = _traceparents(calls.client_spans.trace[index], calls.client_spans.span[index])
        return cells

    def _connection(self, connections: Connections, rows: Sequence[int]) -> dict[str, Cells]:
        index = np.array(rows, np.int64)
        return {
            "start_time": _times(connections.start_us[index]),
            "response_code": repeat(0),
            "response_flags": repeat('"-"'),
            "bytes_received": connections.bytes_received[index].tolist(),
            "bytes_sent": connections.bytes_sent[index].tolist(),
            "duration": (connections.duration_us[index] // 1000).tolist(),
            "upstream_request_attempt_count": repeat(1),
        }

    def _tried(self, pods: Ints, failed: np.ndarray[tuple[int], np.dtype[np.bool_]], destination: Service) -> Ints:
        """Where the caller's sidecar sent each request; a failed connection names the endpoint that it tried."""
        return np.where(failed, self._cluster.members(destination.id)[0][0], pods)

    def _at(self, pods: Ints, ports: Ints | Iterable[int]) -> list[str]:
        """`"address:port"` of each pod; `null` for -1."""
        listed = ports.tolist() if isinstance(ports, np.ndarray) else ports
        address = self._address
        return [f'"{address[p]}:{port}"' if p >= 0 else "null" for p, port in zip(pods.tolist(), listed)]  # noqa: B905


def _print(cells: Mapping[str, Cells], n: int) -> list[str]:
    # A key that a line has no value for is logged all the same, as null.
    columns = [cells.get(key, repeat("null")) for key in KEYS]
    lines = [_LINE % row for row in zip(*columns, strict=False)]
    assert len(lines) == n
    return lines


def _quoted(text: str) -> str:
    return encode_basestring(text)


def _times(us: Ints) -> list[str]:
    return [f'"{time}Z"' for time in np.datetime_as_string((us // 1000).astype("M8[ms]")).tolist()]


def _numbers(values: Ints) -> Cells:
    if (values < 0).all():
        return repeat("null")
    return [value if value >= 0 else "null" for value in values.tolist()]


def _words(words: Mapping[Outcome, str], outcome: Ints, usual: str) -> Cells:
    if not outcome.any():
        return repeat(_quoted(usual))
    table = [_quoted(words.get(each, usual)) for each in Outcome]
    return [table[i] for i in outcome.tolist()]


def _service_times(duration_us: Ints, outcome: Ints) -> list[str]:
    """`x-envoy-upstream-service-time`: whole milliseconds as a string, only where the upstream answered."""
    answered = ANSWERED[outcome].tolist()
    whole_ms = (np.maximum(duration_us - 150, 0) // 1000).tolist()
    return [f'"{ms}"' if yes else "null" for ms, yes in zip(whole_ms, answered, strict=True)]


def _unless(absent: np.ndarray[tuple[int], np.dtype[np.bool_]], values: list[str]) -> Cells:
    if not absent.any():
        return values
    if absent.all():
        return repeat("null")
    return ["null" if no else value for value, no in zip(values, absent.tolist(), strict=True)]


def _traceparents(trace: Ids, span: Ids) -> list[str]:
    traces, spans = trace.astype(">u8").tobytes().hex(), span.astype(">u8").tobytes().hex()
    return [f'"00-{traces[32 * i : 32 * i + 32]}-{spans[16 * i : 16 * i + 16]}-01"' for i in range(len(span))]
