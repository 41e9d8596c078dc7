"""Lines in which proxies and networks tell of refused calls, as each of them writes, for tests of denials.

Names are `shop/NAME`; a caller's principal is its account's, in its mesh's spelling. Shapes are those of
tests/collector/decode/{samples,proxy_samples,flow_samples,test_ztunnel,test_linkerd_policy}.py and tests/meshes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

TRUST = "11111111-2222-3333-4444-555555555555.consul"
IPS = {name: f"10.7.0.{place}" for place, name in enumerate(("web", "api", "cron", "db", "scan", "orders"), 2)}


def spiffe(name: str) -> str:
    """Istio's identity of a node."""
    return f"spiffe://cluster.local/ns/shop/sa/{name}"


def linkerd_id(name: str) -> str:
    """Linkerd's."""
    return f"{name}.shop.serviceaccount.identity.linkerd.cluster.local"


def consul_id(name: str) -> str:
    """Consul's."""
    return f"spiffe://{TRUST}/ns/default/dc/dc1/svc/{name}"


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def istio_json(at: datetime, source: str, destination: str, details: str, **fields: Any) -> str:
    """A request at the callee's sidecar that also logs the peer."""
    record: dict[str, Any] = {
        "start_time": rfc3339(at),
        "route_name": "default",
        "method": "GET",
        "path": "/admin",
        "protocol": "HTTP/1.1",
        "response_code": 403,
        "response_flags": "-",
        "response_code_details": details,
        "connection_termination_details": None,
        "bytes_received": 0,
        "bytes_sent": 19,
        "duration": 0,
        "upstream_service_time": None,
        "x_forwarded_for": None,
        "user_agent": "curl/8.5.0",
        "request_id": "",
        "authority": f"{destination}.shop:8080",
        "upstream_host": None,
        "upstream_cluster": "inbound|8080||",
        "upstream_local_address": None,
        "downstream_local_address": f"{IPS[destination]}:8080",
        "downstream_remote_address": f"{IPS[source]}:40000",
        "requested_server_name": f"outbound_.8080_._.{destination}.shop.svc.cluster.local",
        "upstream_transport_failure_reason": None,
        "downstream_peer_uri_san": spiffe(source),
    }
    return json.dumps({**record, **fields})


def istio_source(at: datetime, source: str, destination: str, **fields: Any) -> str:
    """The same request at the caller's sidecar: a 403 that came from the upstream."""
    own = {
        "response_code_details": "via_upstream",
        "upstream_host": f"{IPS[destination]}:8080",
        "upstream_cluster": f"outbound|8080||{destination}.shop.svc.cluster.local",
        "upstream_local_address": f"{IPS[source]}:40000",
        "downstream_local_address": "10.96.0.1:8080",
        "downstream_remote_address": f"{IPS[source]}:50000",
        "requested_server_name": None,
        "upstream_local_uri_san": spiffe(source),
    }
    line = json.loads(istio_json(at, source, destination, "via_upstream", **{**own, **fields}))
    del line["downstream_peer_uri_san"]
    return json.dumps(line)


def istio_text(at: datetime, source: str, destination: str, details: str, request_id: str, path: str = "/admin") -> str:
    """The default text line: it knows its caller by address only."""
    return (
        f'[{rfc3339(at)}] "GET {path} HTTP/1.1" 403 - {details} - "-" 0 19 0 - "-" "curl/8.11.1" "{request_id}" '
        f'"{destination}.shop:8080" "-" inbound|8080|| - {IPS[destination]}:8080 {IPS[source]}:52784 '
        f"outbound_.8080_._.{destination}.shop.svc.cluster.local default"
    )


def istio_tcp(at: datetime, source: str, destination: str, termination: str) -> str:
    """A connection at the callee's sidecar."""
    return istio_json(
        at,
        source,
        destination,
        "",
        **dict.fromkeys(("method", "path", "protocol", "authority", "request_id", "response_code_details")),
        response_code=0,
        connection_termination_details=termination,
        upstream_host=f"{IPS[destination]}:3306",
    )


def ztunnel(at: datetime, source: str, destination: str, error: str, direction: str = "inbound", **fields: str) -> str:
    """One of the two lines of a connection in ambient mode."""
    line = {
        "level": "error",
        "time": rfc3339(at),
        "scope": "access",
        "message": "connection complete",
        "src.addr": f"{IPS[source]}:46992",
        "src.workload": f"{source}-7b5db664c-v7b6x",
        "src.namespace": "shop",
        "src.identity": spiffe(source),
        "dst.addr": f"{IPS[destination]}:15008",
        "dst.hbone_addr": f"{IPS[destination]}:9080",
        "dst.service": f"{destination}.shop.svc.cluster.local",
        "dst.workload": f"{destination}-7467bbc689-bj5jz",
        "dst.namespace": "shop",
        "dst.identity": spiffe(destination),
        "direction": direction,
        "bytes_sent": "0",
        "bytes_recv": "0",
        "duration": "0ms",
        "error": error,
    }
    return json.dumps({**line, **fields})


def _pod(name: str) -> dict[str, Any]:
    labels = {"app": name, "linkerd.io/proxy-deployment": name}
    return {"namespace_name": "shop", "pod_name": f"{name}-7c9f8d7b6d-x2x4z", "pod_ip": IPS[name], "labels": labels}


def linkerd_access(at: datetime, source: str, destination: str, **fields: Any) -> str:
    """Linkerd's access log of a request that the proxy refused."""
    record = {
        "client.addr": f"{IPS[source]}:32996",
        "client.id": linkerd_id(source),
        "host": f"{destination}:7000",
        "method": "GET",
        "processing_ns": "39826",
        "request_bytes": "",
        "response_bytes": "0",
        "status": 403,
        "timestamp": rfc3339(at),
        "total_ns": "44112",
        "trace_id": "",
        "uri": f"http://{destination}:7000/admin",
        "user_agent": "Go-http-client/1.1",
        "version": "HTTP/2.0",
    }
    return json.dumps({"log": json.dumps({**record, **fields}), "kubernetes": _pod(destination)})


def linkerd_policy(
    at: datetime, source: str, destination: str, *, route: str = "", message: str = "Request denied", behind: str = ""
) -> str:
    """The line of the proxy's own log."""
    tls = f'Some(Established {{ client_id: Some(ClientId(Name("{linkerd_id(source)}"))), negotiated_protocol: None }})'
    kind = "http" if message.startswith("Request") else "tcp"
    routed = (
        f"route.group=x route.kind=httproute route.name={route} "
        if route
        else ("route.group= route.kind=default route.name=default " if kind == "http" else "")
    )
    client = f"client.ip={IPS[source]}" if kind == "http" else f"client={IPS[source]}:52118"
    line = (
        f"[  3002.281434s]  INFO ThreadId(01) inbound:server{{port=7000}}: linkerd_app_inbound::policy::{kind}: "
        f"{message} server.group=policy.linkerd.io server.kind=server server.name={destination}-http {routed}"
        f"{'client.' if kind == 'http' else ''}tls={tls} {client}{behind}"
    )
    return json.dumps({"log": line + "\n", "time": rfc3339(at), "kubernetes": _pod(destination)})


def consul(at: datetime, source: str, destination: str, policy: str, request_id: str, **fields: Any) -> str:
    """A request at the callee's proxy of Consul, which logs the peer too."""
    sni = f"{destination}.default.dc1.internal.{TRUST}"
    own = {
        "upstream_cluster": "local_app",
        "requested_server_name": sni,
        "route_name": "-",
        "downstream_peer_uri_san": consul_id(source),
        "kubernetes": _pod(destination),
        "request_id": request_id,
    }
    return istio_json(at, source, destination, f"rbac_access_denied_matched_policy[{policy}]", **{**own, **fields})


def hubble(at: datetime, source: str, destination: str, reason: str = "POLICY_DENIED", **flow: Any) -> str:
    """A connection that Cilium dropped."""
    ends = {
        side: {
            "namespace": "shop",
            "pod_name": f"{name}-7848d6c4d5-th9v2",
            "labels": [f"k8s:app={name}"],
            "workloads": [{"name": name, "kind": "Deployment"}],
        }
        for side, name in (("source", source), ("destination", destination))
    }
    packet = {"source_port": 44916, "destination_port": 80, "flags": {"SYN": True}}
    whole = {
        "time": rfc3339(at),
        "verdict": "DROPPED",
        "IP": {"source": IPS[source], "destination": IPS[destination], "ipVersion": "IPv4"},
        "l4": {"TCP": packet},
        **ends,
        "drop_reason_desc": reason,
        "traffic_direction": "INGRESS",
        "node_name": "worker",
        "destination_service": {"name": destination, "namespace": "shop"},
        "source_service": {"name": source, "namespace": "shop"},
    }
    return json.dumps({"flow": {**whole, **flow}, "node_name": "worker", "time": rfc3339(at)})


def calico(at: datetime, source: str, destination: str, flows: int, policy: str) -> str:
    """A summary of connections that Calico denied."""
    seconds = int(at.timestamp())
    line: dict[str, Any] = {"start_time": seconds, "end_time": seconds + 300, "proto": "tcp", "action": "deny"}
    for side, name in (("source", source), ("dest", destination)):
        line |= {
            f"{side}_ip": IPS[name],
            f"{side}_name": "-",
            f"{side}_name_aggr": f"{name}-86c57db685-*",
            f"{side}_namespace": "shop",
            f"{side}_type": "wep",
            f"{side}_port": None if side == "source" else 80,
            f"{side}_labels": {"labels": [f"app={name}"]},
        }
    line |= {"reporter": "dst", "policies": {"all_policies": [f"0|default|{policy}|deny|1"]}}
    line |= {"num_flows": flows, "num_flows_started": flows, "num_flows_completed": 0, "bytes_in": 0, "bytes_out": 0}
    line |= {"packets_in": flows, "packets_out": 0, "dest_service_name": destination, "dest_service_namespace": "shop"}
    return json.dumps(line)
