"""Envoy configurations for the test mesh, shaped as Istio makes them: cluster names, SNI, listeners, tracing tags.

What Istio does with iptables is done here with addresses: a program reaches its sidecar at OUTBOUND on its own address
(each TCP service at a port of its own), callers reach a sidecar at INBOUND, and every connection a sidecar opens to
another starts from its service's address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.envoy_pki import KeyPair
from tests.support.envoy_topology import Call, Service, Topology

ADMIN, OUTBOUND, INBOUND, TCP_OUTBOUND = 15000, 15001, 15006, 15100
INBOUND_SOURCE = "127.0.0.6"
"""Where Istio's inbound clusters connect from."""
PROGRAM_PORT_OUTSIDE = 18080
"""Port of the programs that stand for hosts outside: their real ports (443, 80) need rights to bind."""

ISTIO_JSON: Mapping[str, str] = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
IDENTITY_JSON: Mapping[str, str] = {
    "downstream_peer_uri_san": "%DOWNSTREAM_PEER_URI_SAN%",
    "downstream_tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "downstream_direct_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "upstream_peer_uri_san": "%UPSTREAM_PEER_URI_SAN%",
    "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "grpc_status": "%GRPC_STATUS%",
    "traceparent": "%REQ(TRACEPARENT)%",
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything a configuration needs beside the topology: addresses, certificates, where logs and spans go."""

    topology: Topology
    addresses: Mapping[str, str]
    root: Path
    certificates: Mapping[str, KeyPair]
    log_format: Mapping[str, str]
    log_directory: Path
    otlp_port: int
    trace_service_name: str
    """Service name in spans, with `{name}` and `{namespace}`."""

    def log_path(self, service: Service) -> Path:
        """File that the proxy of `service` logs to."""
        return self.log_directory / f"{service.name}.log"


def tcp_outbound_port(topology: Topology, call: Call) -> int:
    """Port on its own address at which the caller of a TCP service finds its sidecar."""
    return TCP_OUTBOUND + list(topology.services).index(call.destination)


def bootstrap(wiring: Wiring, service: Service) -> Json:
    """The whole configuration of the proxy of `service`."""
    address = wiring.addresses[service.id]
    calls = wiring.topology.calls_from(service.id)
    unique = list({call.destination: call for call in calls}.values())
    http = [call for call in unique if not _tcp(wiring, call)]
    listeners = [
        _listener(f"tcp_{call.destination}", "OUTBOUND", address, tcp_outbound_port(wiring.topology, call), [chain])
        for call in unique
        if _tcp(wiring, call)
        for chain in [{"filters": [_tcp_proxy(wiring, service, _outbound_name(wiring, call))]}]
    ]
    if service.gateway:
        listeners.append(
            _listener("gateway", "OUTBOUND", address, service.port, [_outbound_chain(wiring, service, http)])
        )
    else:
        listeners.append(_inbound(wiring, service))
        if http:
            chain = _outbound_chain(wiring, service, http)
            listeners.append(_listener("virtualOutbound", "OUTBOUND", address, OUTBOUND, [chain]))
    clusters = [_outbound_cluster(wiring, service, call) for call in unique]
    if not service.gateway:
        clusters.append(_cluster(f"inbound|{service.port}||", address, service.port, INBOUND_SOURCE))
    clusters.append(_cluster("opentelemetry", "127.0.0.1", wiring.otlp_port, ""))
    return {
        "node": {"id": f"sidecar~{address}~{service.name}.{service.namespace}~cluster.local", "cluster": service.name},
        "admin": {"address": _socket(address, ADMIN)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"tracing.opentelemetry.flush_interval_ms": 300}}]
        },
    }


def _typed(name: str, kind: str, **fields: Any) -> Json:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.{kind}", **fields}}


def _socket(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _tcp(wiring: Wiring, call: Call) -> bool:
    return wiring.topology.services[call.destination].protocol == "tcp"


def _listener(name: str, direction: str, address: str, port: int, chains: list[Json]) -> Json:
    return {
        "name": name,
        "traffic_direction": direction,
        "address": _socket(address, port),
        "listener_filters": [
            _typed(
                "envoy.filters.listener.tls_inspector",
                "extensions.filters.listener.tls_inspector.v3.TlsInspector",
            )
        ],
        "filter_chains": chains,
    }


def _access_log(wiring: Wiring, service: Service) -> list[Json]:
    if not service.logs:
        return []
    return [
        _typed(
            "envoy.access_loggers.file",
            "extensions.access_loggers.file.v3.FileAccessLog",
            path=str(wiring.log_path(service)),
            log_format={"json_format": dict(wiring.log_format)},
        )
    ]


def _tracing(wiring: Wiring, service: Service) -> Json:
    tags = {
        "istio.mesh_id": "cluster.local",
        "istio.canonical_service": service.name,
        "istio.canonical_revision": service.version,
        "istio.namespace": service.namespace,
    }
    return {
        "random_sampling": {"value": 100},
        "custom_tags": [{"tag": tag, "literal": {"value": value}} for tag, value in tags.items()],
        "provider": _typed(
            "envoy.tracers.opentelemetry",
            "config.trace.v3.OpenTelemetryConfig",
            service_name=wiring.trace_service_name.format(name=service.name, namespace=service.namespace),
            http_service={
                "http_uri": {
                    "uri": f"http://127.0.0.1:{wiring.otlp_port}/v1/traces",
                    "cluster": "opentelemetry",
                    "timeout": "30s",
                }
            },
        ),
    }


def _connection_manager(wiring: Wiring, service: Service, name: str, routes: Json, filters: list[Json]) -> Json:
    router = _typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")
    return _typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        use_remote_address=service.gateway,
        generate_request_id=True,
        access_log=_access_log(wiring, service),
        tracing=_tracing(wiring, service),
        route_config=routes,
        http_filters=[*filters, router],
    )


def _tcp_proxy(wiring: Wiring, service: Service, cluster: str) -> Json:
    return _typed(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=cluster,
        cluster=cluster,
        access_log=_access_log(wiring, service),
    )


def _outbound_name(wiring: Wiring, call: Call) -> str:
    destination = wiring.topology.services[call.destination]
    if call.transport == "passthrough":
        return "PassthroughCluster"
    return f"outbound|{destination.port}||{destination.host}"


def _outbound_chain(wiring: Wiring, service: Service, calls: list[Call]) -> Json:
    hosts: list[Json] = []
    for call in calls:
        destination = wiring.topology.services[call.destination]
        names = [destination.host]
        if not destination.outside:
            names += [f"{destination.name}.{destination.namespace}", f"{destination.name}.{destination.namespace}.svc"]
            if destination.namespace == service.namespace:
                names.append(destination.name)
        route = {
            "match": {"prefix": "/"},
            "name": "default",
            "route": {
                "cluster": _outbound_name(wiring, call),
                "timeout": "0s",
                # Istio's default policy.
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                    "retriable_status_codes": [503],
                    "num_retries": 2,
                },
            },
        }
        domains = ["*"] if service.gateway else [form for n in names for form in (n, f"{n}:{destination.port}")]
        hosts.append({"name": f"{destination.host}:{destination.port}", "domains": domains, "routes": [route]})
    routes = {"name": "outbound", "virtual_hosts": hosts}
    return {"filters": [_connection_manager(wiring, service, "outbound", routes, [])]}


def _inbound(wiring: Wiring, service: Service) -> Json:
    cluster = f"inbound|{service.port}||"
    if service.protocol == "tcp":
        network = _tcp_proxy(wiring, service, cluster)
    else:
        route = {"match": {"prefix": "/"}, "name": "default", "route": {"cluster": cluster, "timeout": "0s"}}
        routes = {
            "name": cluster,
            "virtual_hosts": [{"name": f"inbound|http|{service.port}", "domains": ["*"], "routes": [route]}],
        }
        network = _connection_manager(wiring, service, "inbound", routes, _authorization(wiring, service))
    pair = wiring.certificates[service.id]
    tls = _typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_tls(wiring, pair),
    )
    chains = [
        {"filter_chain_match": {"transport_protocol": "tls"}, "transport_socket": tls, "filters": [network]},
        {"filter_chain_match": {"transport_protocol": "raw_buffer"}, "filters": [network]},
    ]
    return _listener("virtualInbound", "INBOUND", wiring.addresses[service.id], INBOUND, chains)


def _authorization(wiring: Wiring, service: Service) -> list[Json]:
    if not service.allowed_callers:
        return []
    principals = [wiring.topology.services[caller].principal for caller in service.allowed_callers]
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"authenticated": {"principal_name": {"exact": principal}}} for principal in principals],
    }
    name = f"ns[{service.namespace}]-policy[{service.name}-callers]-rule[0]"
    return [
        _typed(
            "envoy.filters.http.rbac",
            "extensions.filters.http.rbac.v3.RBAC",
            rules={"action": "ALLOW", "policies": {name: policy}},
        )
    ]


def _tls(wiring: Wiring, pair: KeyPair | None, san: Json | None = None) -> Json:
    validation: Json = {"trusted_ca": {"filename": str(wiring.root)}}
    if san is not None:
        validation["match_typed_subject_alt_names"] = [san]
    context: Json = {"validation_context": validation}
    if pair is not None:
        context["tls_certificates"] = [
            {"certificate_chain": {"filename": str(pair.certificate)}, "private_key": {"filename": str(pair.key)}}
        ]
    return context


def _outbound_cluster(wiring: Wiring, service: Service, call: Call) -> Json:
    destination = wiring.topology.services[call.destination]
    port = INBOUND if destination.sidecar else PROGRAM_PORT_OUTSIDE if destination.outside else destination.port
    name, source = _outbound_name(wiring, call), wiring.addresses[service.id]
    cluster = _cluster(name, wiring.addresses[destination.id], port, source)
    if destination.protocol == "grpc":
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    if call.transport == "mtls":
        sni = f"outbound_.{destination.port}_._.{destination.host}"
        san = {"san_type": "URI", "matcher": {"exact": destination.principal}}
        context = _tls(wiring, wiring.certificates[service.id], san)
        cluster["transport_socket"] = _upstream_tls(sni, context)
    elif call.transport == "tls_origination":
        san = {"san_type": "DNS", "matcher": {"exact": destination.host}}
        cluster["transport_socket"] = _upstream_tls(destination.host, _tls(wiring, None, san))
    return cluster


def _upstream_tls(sni: str, context: Json) -> Json:
    return _typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=sni,
        common_tls_context=context,
    )


def _cluster(name: str, address: str, port: int, source: str) -> Json:
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(address, port)}}]}],
        },
    }
    if source:
        cluster["upstream_bind_config"] = {"source_address": {"address": source, "port_value": 0}}
    return cluster
