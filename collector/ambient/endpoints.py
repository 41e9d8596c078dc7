"""Who called whom, as one ztunnel line tells it.

`Facts` are the low-cardinality parts of a line; `resolve` runs once for each distinct combination. The `direction` says
whose side the ztunnel was on, so an outbound line reports as the source and an inbound one as the destination. Two
things stand between callers and callees and are neither:

- A tunnel of an outbound line may end at a waypoint or another network's gateway: then what the caller asked for
  (`dst.hbone_addr`) is not where the tunnel went (`dst.addr`), and `dst.workload` names the wrong one.
- An inbound connection may come from a waypoint: it is the second leg of a call that the caller's ztunnel and the
  waypoint log, and not one to count.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from collector.envoy.endpoints import Direction, End, Reporter, Tls
from collector.identity.clusters import parse_host
from collector.identity.kubernetes import workload_of
from collector.identity.principals import parse_principal

_LONGEST = 2048
# Envoy Gateway puts a hash behind the name of its Gateway.
_WAYPOINT = re.compile(r"(?:.*-)?waypoint(?:-[0-9a-f]{8})?")


class Facts(NamedTuple):
    """One distinct combination. Text is `""` where absent."""

    src_workload: str = ""
    src_namespace: str = ""
    src_identity: str = ""
    src_cluster: str = ""
    dst_service: str = ""
    dst_workload: str = ""
    dst_namespace: str = ""
    dst_identity: str = ""
    dst_cluster: str = ""
    direction: str = ""
    message: str = ""
    cluster: str = ""
    """Of the ztunnel itself."""
    tunnelled: bool = False
    """The line tells of a tunnel: it names what was asked for through one, or its port."""
    relayed: bool = False
    """The tunnel went to another address than the one asked for."""
    asked: str = ""
    """The host name asked for through the tunnel, where it is none of an address."""


class Endpoints(NamedTuple):
    """Both ends and what follows from the side."""

    reporter: Reporter
    source: End
    destination: End
    direction: Direction
    tls: Tls
    log_type: str
    by_address: bool
    """Nothing but an address names the destination."""


def is_waypoint(workload: str, account: str) -> bool:
    """Whether these are a waypoint's names, as `istioctl waypoint` and the controllers of Gateways give them."""
    return any(_WAYPOINT.fullmatch(name) for name in (workload, account))


def _end(pod: str, namespace: str, identity: str, cluster: str) -> End:
    principal = parse_principal(identity)
    workload = workload_of(pod)
    return End(
        cluster=cluster,
        namespace=namespace or principal.namespace,
        workload=workload,
        pod=pod if pod != workload else "",
        principal=principal.id,
    )


def _tls(facts: Facts) -> Tls:
    """ztunnel logs identities exactly where the connection has mutual TLS; early refusals have neither."""
    if facts.src_identity or facts.dst_identity or facts.tunnelled:
        return "mtls"
    return "unknown" if "failed" in facts.message else "plaintext"


def _log_type(facts: Facts, relayed_in: bool) -> str:
    if "opened" in facts.message:
        return "connection_start"
    return "upstream_end" if relayed_in else "connection_end"


@lru_cache(maxsize=16384)
def resolve(facts: Facts) -> Endpoints:
    """Both ends of the connection. Pure; never raises, whatever the text is."""
    facts = Facts._make(part if not isinstance(part, str) or len(part) <= _LONGEST else "" for part in facts)
    inbound = facts.direction == "inbound"
    source = _end(
        facts.src_workload,
        facts.src_namespace,
        facts.src_identity,
        facts.src_cluster or ("" if inbound else facts.cluster),
    )
    host = parse_host(facts.dst_service or facts.asked)
    cluster = facts.dst_cluster or (facts.cluster if inbound else "")
    if facts.relayed and not inbound:
        destination = End(cluster=cluster)
    else:
        # In some releases dst.namespace holds the service's name: the certificate and the service know better.
        known = parse_principal(facts.dst_identity).namespace or ("" if host.namespace else facts.dst_namespace)
        destination = _end(facts.dst_workload, known, facts.dst_identity, cluster)
    namespace = host.namespace or destination.namespace
    outside = bool(host.external) and not destination.workload
    if outside:
        destination = End(service=host.external)
    else:
        destination = destination._replace(namespace=namespace, service=host.service or host.external)
    by_address = not inbound and not any((destination.service, destination.workload, destination.principal))
    account = parse_principal(facts.src_identity).service_account
    return Endpoints(
        reporter="destination" if inbound else "source",
        source=source,
        destination=destination,
        direction="egress" if outside or by_address else "east_west",
        tls=_tls(facts),
        log_type=_log_type(facts, inbound and is_waypoint(source.workload, account)),
        by_address=by_address,
    )
