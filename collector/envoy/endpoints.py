"""Who called whom, as one proxy line tells it.

`Facts` are the low-cardinality parts of a line that bear on identity; `resolve` turns them into both ends of the call.
A batch of 100 000 lines has a few thousand distinct `Facts`, and `resolve` runs once for each of them.

Which side the proxy was on decides everything else: on the destination's side the peer certificate is the caller's and
the pod is the callee; on the source's side the pod is the caller and the cluster names the callee; a gateway is its own
caller; a waypoint stands between and is neither. Names that only the caller chose (authority, SNI of a passthrough)
are `weak`: what is known of the address outranks them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from collector.decode.operators import CARRIED_BIT
from collector.envoy.peers import NO_PEER, Peer, parse_peer
from collector.identity.clusters import NO_HOST, Cluster, Host, is_mesh_sni, parse_cluster, parse_host
from collector.identity.kubernetes import NO_POD, Pod
from collector.identity.principals import NOBODY, Principal, parse_principal
from storage.tables import LOGGED_BIT

Reporter = Literal["source", "destination", "gateway", "waypoint", "unknown"]
Tls = Literal["mtls", "tls", "plaintext", "unknown"]
GATEWAYS = frozenset({"envoy_gateway", "emissary"})
"""Meshes that are a gateway and nothing else."""
Direction = Literal["east_west", "ingress", "egress"]


class Facts(NamedTuple):
    """One distinct combination. Text is `""` where absent; addresses only by what their comparison says."""

    cluster: str = ""
    sni: str = ""
    authority: str = ""
    downstream_peer: str = ""
    downstream_local: str = ""
    upstream_peer: str = ""
    upstream_local: str = ""
    downstream_tls: str = ""
    """Version or cipher."""
    upstream_tls: str = ""
    downstream_metadata: str = ""
    upstream_metadata: str = ""
    pod: Pod = NO_POD
    carried: int = 0
    """Bits of `operators.CARRIED_BIT`."""
    mesh: str = ""
    has_http: bool = False
    own_is_server: bool = False
    """The downstream connected to the pod's own address."""
    own_is_client: bool = False
    """The downstream connected from the pod's own address, or from loopback."""
    forwards: bool = False
    """The proxy was called on the address that it calls from, by another address, for a forwarded client."""
    to_self: bool = False
    """The upstream is in the proxy's own pod: 127.0.0.1, ::1, or the address that the downstream connected to."""
    sees_upstream: bool = False
    """The line has an upstream address."""
    tunnels: bool = False
    """The upstream is reached through a tunnel of the mesh (HBONE)."""
    refuses: bool = False
    """A policy of the mesh (RBAC, JWT) refused: only the called side and gateways have these."""

    def logs(self, operator: str) -> bool:
        """Whether the line had this operator, absent or not."""
        return bool(self.carried >> CARRIED_BIT[operator] & 1)


class End(NamedTuple):
    """One end of a call."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    service: str = ""
    version: str = ""
    pod: str = ""
    principal: str = ""


NO_END = End()


class Endpoints(NamedTuple):
    """Both ends and what follows from the side."""

    reporter: Reporter = "unknown"
    source: End = NO_END
    destination: End = NO_END
    direction: Direction = "east_west"
    port: int = 0
    """The port that the cluster names, for lines without an upstream address."""
    tls: Tls = "unknown"
    mesh: str = ""
    weak: bool = False
    """The destination's name was chosen by the caller."""
    by_address: bool = False
    """The proxy passed the call on to an address; where no service is known at it, it is outside."""
    logged: int = 0
    """Bits of `storage.tables.LOGGED_BIT` that hold for every address."""
    more_names: bool = False
    """The downstream's certificate bears other names than `source.principal`, or more."""


def reporter_of(facts: Facts, cluster: Cluster) -> Reporter:
    """Which side of the call wrote the line, by the strongest evidence there is."""
    side = cluster.side
    if side == "waypoint" or facts.pod.is_waypoint:
        return "waypoint"
    if cluster.dialect == "envoy_gateway" or ((facts.pod.is_gateway or facts.mesh in GATEWAYS) and side != "inbound"):
        return "gateway"
    if side == "unknown":
        side = _side_without_cluster(facts)
    if side == "inbound":
        return "destination"
    if side == "outbound":
        return "gateway" if facts.forwards or facts.refuses else "source"
    return "gateway" if facts.forwards else "unknown"


def _side_without_cluster(facts: Facts) -> Literal["inbound", "outbound", "unknown"]:
    if is_mesh_sni(facts.sni) or facts.downstream_peer or facts.own_is_server or facts.to_self:
        return "inbound"
    if facts.upstream_peer or facts.upstream_local or facts.own_is_client:
        return "outbound"
    if facts.pod.name and facts.sees_upstream:
        return "outbound"
    return "unknown"


_TLS_OPERATORS = ("downstream_tls_version", "downstream_tls_cipher")
"""What every connection over TLS has."""


def _logs_any(facts: Facts, operators: Iterable[str]) -> bool:
    return any(facts.logs(operator) for operator in operators)


def downstream_tls_of(facts: Facts) -> Tls:
    """How the proxy's downstream connection was secured (design section 3, `mtls_share`).

    A line with no more than an absent SNI is read as plaintext, which most such connections are, but does not say so
    (`_tells_downstream_tls`): clients that know an address only send none over TLS either.
    """
    if facts.downstream_peer or is_mesh_sni(facts.sni):
        return "mtls"
    san_known, sni_known = facts.logs("downstream_peer_uri_san"), facts.logs("requested_server_name")
    if facts.downstream_tls:
        return "tls" if san_known else "unknown"
    if _logs_any(facts, _TLS_OPERATORS):
        return "plaintext"
    if not facts.sni:
        return "plaintext" if sni_known else "unknown"
    return "tls" if san_known else "unknown"


def _tells_downstream_tls(facts: Facts) -> bool:
    """Whether `downstream_tls_of` is what the line says, and no guess from an absent SNI."""
    certain = (*_TLS_OPERATORS, "downstream_peer_uri_san")
    return _logs_any(facts, certain) or bool(facts.sni and facts.logs("requested_server_name"))


def upstream_tls_of(facts: Facts) -> Tls:
    """How the proxy's upstream connection was secured."""
    peer = parse_principal(facts.upstream_peer)
    if facts.upstream_local or peer.namespace or peer.service:
        return "mtls"
    if facts.upstream_peer or facts.upstream_tls:
        return "tls" if facts.logs("upstream_local_uri_san") else "unknown"
    if facts.sees_upstream and facts.logs("upstream_tls_version"):
        return "plaintext"
    return "unknown"


def _own(facts: Facts, identity: Principal) -> End:
    pod = facts.pod
    return End(
        cluster=pod.cluster or identity.datacenter,
        namespace=pod.namespace or identity.namespace,
        workload=pod.workload,
        service=pod.service or identity.service,
        version=pod.version,
        pod=pod.name,
        principal=identity.id,
    )


def _peer(identity: Principal) -> End:
    return End(
        cluster=identity.datacenter,
        namespace=identity.namespace,
        service=identity.service,
        principal=identity.id,
    )


def _told(end: End, peer: Peer, identity: str = "") -> End:
    """An end with what its own proxy tells of it; names that contradict the line's are not believed."""
    if peer == NO_PEER or (end.namespace and peer.namespace and end.namespace != peer.namespace):
        return end
    return End(
        cluster=end.cluster or peer.cluster,
        namespace=end.namespace or peer.namespace,
        workload=end.workload or peer.workload,
        service=end.service or peer.service,
        version=end.version or peer.version,
        pod=end.pod or peer.pod,
        principal=end.principal or parse_principal(identity).id,
    )


def _caller(facts: Facts, peer: Principal, tls: Tls) -> End:
    """The downstream's end, for the callee's side and waypoints. Without mutual TLS its own word counts for nothing."""
    told = parse_peer(facts.downstream_metadata) if tls == "mtls" else NO_PEER
    return _told(_peer(peer), told, "" if facts.logs("downstream_peer_uri_san") else told.identity)


def _callee(facts: Facts, cluster: Cluster, peer: Principal) -> tuple[End, bool]:
    """The destination on its own side, and whether only the caller named it."""
    end = _own(facts, parse_principal(facts.downstream_local))
    sni = parse_cluster(facts.sni)
    hosts = [cluster.host, sni.host if sni.side == "outbound" else parse_host(facts.sni)]
    for host in hosts:
        end = _fill(end, host)
    if end.service or end.workload:
        return end, False
    host = parse_host(facts.authority, end.namespace or peer.namespace)
    labels = host.external.split(".")
    if len(labels) == 2 and labels[1] == end.namespace:
        host = Host(service=labels[0], namespace=labels[1])
    filled = _fill(end, host)
    return filled, filled != end


def _fill(end: End, host: Host) -> End:
    if not host.service or (end.namespace and host.namespace and host.namespace != end.namespace):
        return end
    return end._replace(namespace=end.namespace or host.namespace, service=end.service or host.service)


def _named_host(facts: Facts, cluster: Cluster, reporter: Reporter, namespace: str) -> Host:
    """The callee of an outbound line whose cluster names no service: what its caller asked for."""
    names = [facts.authority, facts.sni] if facts.has_http else [facts.sni]
    sni = parse_cluster(facts.sni)
    if sni.host != NO_HOST:
        return sni.host
    if reporter == "gateway" or not any(names):
        # A gateway's authority is the public name that it serves, not where the call goes.
        return NO_HOST if cluster.side != "unknown" else parse_host(facts.cluster)
    for name in names:
        host = parse_host(name, namespace)
        if host.service or host.external:
            return host
    return NO_HOST


def _target(facts: Facts, cluster: Cluster, reporter: Reporter, namespace: str) -> tuple[End, bool, bool]:
    """The destination on the caller's side; whether it is outside; whether only the caller named it."""
    peer = parse_principal(facts.upstream_peer)
    host, weak = cluster.host, cluster.is_route
    if not host.service and not host.external:
        host, weak = _named_host(facts, cluster, reporter, namespace), True
    if host.external.startswith("*.") and facts.logs("requested_server_name"):
        asked = parse_host(facts.authority if facts.has_http else facts.sni).external
        host = Host(external=asked) if asked.endswith(host.external[1:]) else host
    if weak and (peer.service or (peer.namespace and host.namespace != peer.namespace)):
        host = NO_HOST  # the certificate outranks the name
    if host.external:
        return End(service=host.external, principal=peer.id), True, weak
    namespace = host.namespace or peer.namespace
    service = host.service or peer.service
    end = End(cluster=peer.datacenter, namespace=namespace, service=service, principal=peer.id)
    return end, cluster.passthrough and not service and not namespace, weak


_PEER_BITS = ("principal", "namespace")
_BASE_BITS = {
    "ts": "start_time",
    "log_type": "access_log_type",
    "protocol": "protocol",
    "method": "method",
    "authority": "authority",
    "path": "path",
    "operation": "path",
    "status": "response_code",
    "grpc_status": "grpc_status",
    "response_flags": "response_flags",
    "response_details": "response_code_details",
    "termination_details": "connection_termination_details",
    "duration_us": "duration_ms",
    "upstream_duration_us": "upstream_service_time_ms",
    "attempt": "attempt_count",
    "bytes_sent": "bytes_sent",
    "bytes_received": "bytes_received",
    "sni": "requested_server_name",
    "upstream_cluster": "upstream_cluster",
    "request_id": "request_id",
    "trace_id": "trace_id",
    "span_id": "span_id",
    "user_agent": "user_agent",
    "source_remote_ip": "downstream_remote_address",
}


def _logged(facts: Facts, reporter: Reporter) -> int:
    """The `logged` bits that a line's keys give (see docs of `storage.tables.LOGGED_BIT`)."""
    fields = {column for column, operator in _BASE_BITS.items() if facts.logs(operator)}
    if facts.logs("traceparent"):
        fields |= {"trace_id", "span_id"}
    outbound = reporter in ("source", "gateway")
    own = "source" if outbound else "destination"
    sans = {
        "source": "upstream_local_uri_san" if outbound else "downstream_peer_uri_san",
        "destination": "upstream_peer_uri_san" if outbound else "downstream_local_uri_san",
    }
    for side, operator in sans.items():
        if facts.logs(operator):
            fields |= {f"{side}_{part}" for part in _PEER_BITS}
    if reporter not in ("waypoint", "unknown"):
        told = _own(facts, NOBODY)
        fields |= {f"{own}_{part}" for part in End._fields if getattr(told, part)}
    peer = parse_peer(facts.upstream_metadata if outbound else facts.downstream_metadata)
    if outbound or downstream_tls_of(facts) == "mtls":
        other = "destination" if outbound else "source"
        fields |= {f"{other}_{part}" for part in Peer._fields if part != "identity" and getattr(peer, part)}
    if outbound and facts.logs("upstream_cluster") and not parse_cluster(facts.cluster).is_route:
        fields |= {"destination_service", "destination_namespace"}
    if facts.logs("upstream_host" if outbound else "downstream_local_address"):
        fields |= {"destination_ip", "destination_port"}
    upstream = ("upstream_tls_version", "upstream_peer_uri_san", "upstream_local_uri_san")
    if _logs_any(facts, upstream) if outbound else _tells_downstream_tls(facts):
        fields.add("tls")
    if facts.logs("response_code_details"):
        fields.add("verdict")
    bits = 0
    for field in fields:
        bits |= 1 << LOGGED_BIT[field]
    return bits


def _mesh(facts: Facts, cluster: Cluster) -> str:
    """Names of clusters tell it best, then the line's keys or layout; an SNI is the caller's word."""
    if cluster.dialect or facts.mesh != "envoy":
        return cluster.dialect or facts.mesh
    return parse_cluster(facts.sni).dialect or facts.mesh


@lru_cache(maxsize=16384)
def resolve(facts: Facts) -> Endpoints:
    """Both ends of the call. Pure; never raises, whatever the text is."""
    cluster = parse_cluster(facts.cluster)
    reporter = reporter_of(facts, cluster)
    peer = parse_principal(facts.downstream_peer)
    tls = downstream_tls_of(facts)
    by_address = False
    direction: Direction = "east_west"
    if reporter in ("source", "gateway"):
        source = _own(facts, parse_principal(facts.upstream_local))
        destination, outside, weak = _target(facts, cluster, reporter, source.namespace)
        destination = destination if outside else _told(destination, parse_peer(facts.upstream_metadata))
        direction = "egress" if outside else "ingress" if reporter == "gateway" else "east_west"
        by_address = cluster.passthrough
        # Of the edge, also at a gateway: how its clients outside came in says nothing of the call that it makes.
        tls = upstream_tls_of(facts)
    elif reporter == "waypoint":
        source = _caller(facts, peer, tls)
        destination, outside, weak = _target(facts, cluster, reporter, peer.namespace)
        direction = "egress" if outside else "east_west"
        # It is reached through a tunnel (HBONE, by mutual TLS only), whose inner connection always looks plain.
        tunnelled = cluster.side == "waypoint" and facts.tunnels
        tls = "mtls" if tls == "mtls" or tunnelled else "unknown"
    elif reporter == "destination":
        source = _caller(facts, peer, tls)
        destination, weak = _callee(facts, cluster, peer)
    else:
        source = _peer(NOBODY)
        destination, outside, weak = _target(facts, cluster, reporter, "")
        direction = "egress" if outside else "east_west"
        tls = "unknown"
    return Endpoints(
        reporter=reporter,
        source=source,
        destination=destination,
        direction=direction,
        port=cluster.port,
        tls=tls,
        mesh=_mesh(facts, cluster),
        weak=weak,
        by_address=by_address,
        logged=_logged(facts, reporter),
        more_names=facts.downstream_peer not in ("", source.principal),
    )
