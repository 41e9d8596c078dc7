"""Names, resolved when read: what a line said of a caller or callee becomes one node per service.

Rollups keep what each line knew (namespace, workload, service, account of the principal). Here the alias table and
the other lines turn it into node ids, as of the time the alias was valid, so that a source that knows less than another
joins its node instead of making a second one.

A node is `namespace/service`; the service is the first known of service, workload, service account. Without a namespace
it is the bare name, and a bare name joins its only namespaced match. A verified identity that names no account is a
node of its own. Hosts outside are `external:HOST`; a private address that nobody names is a node of that address.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from storage.gateways import gateway_of_account, is_gateway_name

ALWAYS = (0, 1 << 62)
"""Validity in microseconds since 1970 that never ends."""

UNKNOWN = "unknown"
EXTERNAL = "external:"
_MOST_LABELS = 32
"""Parts between dashes of an upstream's name that are tried."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a call, as its lines described it; empty text = not known.

    `account` is the service account (or Consul service) of the principal, or the principal itself where it names none.
    `host` is set instead of a service for a destination that is known only by the name or address it was called by;
    `hint` is then the caller's namespace, in which a one-label host name would be looked up.
    """

    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    service: str = ""
    account: str = ""
    host: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """A line of the alias table: `name` (of `kind`) is this namespace/service from `valid_from` to `valid_to` (us)."""

    kind: str
    cluster: str
    name_namespace: str
    name: str
    valid_from: int
    valid_to: int
    namespace: str
    workload: str
    service: str
    is_gateway: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """The node of an endpoint from `valid_from` until `valid_to` (us)."""

    valid_from: int
    valid_to: int
    node: str


def node_id(namespace: str, service: str) -> str:
    """`namespace/service`, or the bare service.

    Names come from telemetry and may hold anything, so what gives an id its form is escaped in them: `/` as `%2F`,
    `%` as `%25`, the colon of a leading `external:` as `%3A`. No name can take the form of another kind of node.
    """
    node = f"{_escaped(namespace)}/{_escaped(service)}" if namespace else _escaped(service)
    return node.replace(":", "%3A", 1) if node.startswith(EXTERNAL) else node


def split_node(node: str) -> tuple[str | None, str | None]:
    """(namespace, service) of a node id; (None, host) for an external one, (None, None) for the unknown caller."""
    if node == UNKNOWN:
        return None, None
    if node.startswith(EXTERNAL):
        return None, node.removeprefix(EXTERNAL)
    namespace, slash, service = node.partition("/")
    return (_unescaped(namespace), _unescaped(service)) if slash else (None, _unescaped(namespace))


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F") if "/" in name or "%" in name else name


def _unescaped(name: str) -> str:
    return name.replace("%2F", "/").replace("%3A", ":").replace("%25", "%") if "%" in name else name


class Names:
    """Turns endpoints into nodes.

    Args:
        aliases: the alias table.
        endpoints: every endpoint that any edge key names, whatever the window: what one line says of a workload's
            service holds for the lines that do not say it.
    """

    def __init__(self, aliases: Iterable[Alias], endpoints: Iterable[Endpoint]) -> None:
        self._aliases: dict[tuple[str, str, str], list[Alias]] = defaultdict(list)
        self.gateways: set[str] = set()
        known = list(endpoints)
        for alias in aliases:
            self._aliases[alias.kind, alias.name_namespace, alias.name].append(alias)
        self._services_of_workload = _unique(
            ((e.namespace, e.workload), e.service) for e in known if e.workload and e.service
        )
        self._services_of_account = _unique(
            ((e.namespace, e.account), e.service or self._service_of_workload(e.namespace, e.workload))
            for e in known
            if e.account and (e.service or e.workload)
        )
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._identities: dict[str, set[str]] = defaultdict(set)
        for endpoint in known:
            if "/" in endpoint.account:
                self._identities[endpoint.account.rstrip("/").rpartition("/")[2]].add(endpoint.account)
        self._learn_bare_names(known)

    def segments(self, endpoint: Endpoint) -> Sequence[Segment]:
        """The nodes of `endpoint` over all time, in order, without gaps or overlaps."""
        if endpoint.host:
            return self._host_segments(endpoint)
        if not endpoint.namespace and UNKNOWN in (endpoint.service, endpoint.workload):
            # The word of Istio, Zipkin and others for a name that they do not know.
            known = {part: "" for part in ("service", "workload") if getattr(endpoint, part) == UNKNOWN}
            return self.segments(replace(endpoint, **known))
        if endpoint.service:
            if workload := self._misnamed_workload(endpoint):
                return self._named_segments(workload, endpoint.service)
            if moved := self._elsewhere(endpoint):
                return self._named_segments(moved, endpoint.service)
            return [Segment(*ALWAYS, self._join(endpoint.namespace, endpoint.service))]
        for kind, name, learnt in (
            ("workload", endpoint.workload, self._services_of_workload),
            ("service_account", endpoint.account, self._services_of_account),
        ):
            if not name:
                continue
            intervals = self._intervals(kind, endpoint.cluster, endpoint.namespace, name)
            if intervals:
                return self._named_segments(intervals, name)
            service = learnt.get((endpoint.namespace, name))
            if not service and "/" in name:
                return [Segment(*ALWAYS, node_id(endpoint.namespace, self._identity_name(endpoint.namespace, name)))]
            if not service and kind == "service_account" and (gateway := gateway_of_account(name)):
                return self.segments(replace(endpoint, workload=gateway, account=""))
            return [Segment(*ALWAYS, self._join(endpoint.namespace, service or name))]
        return [Segment(*ALWAYS, UNKNOWN)]

    def _identity_name(self, namespace: str, identity: str) -> str:
        """What a verified identity that names no account is called: the last part of its path where that is nobody
        else's name, else the whole identity. It never joins a node of ours: who gave it out is another matter."""
        path = identity.removeprefix("spiffe://").partition("/")[2].strip("/")
        if path.startswith("gateway/"):  # Consul: gateway/mesh/dc/NAME
            return f"{path.split('/')[1]}-gateway"
        last = path.rpartition("/")[2]
        taken = bool(namespace) or last in self._by_name or len(self._identities[last]) > 1
        return identity if taken or not last or last == UNKNOWN else last

    def is_gateway(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint goes by the name of a gateway: its service or workload, else its account."""
        names = (endpoint.service, endpoint.workload) if endpoint.service or endpoint.workload else (endpoint.account,)
        if "/" in names[0] and not endpoint.service and not endpoint.workload:
            names = (self._identity_name(endpoint.namespace, endpoint.account),)
        return not endpoint.host and any(name and is_gateway_name(name) for name in names)

    def _misnamed_workload(self, endpoint: Endpoint) -> list[Alias]:
        """Aliases of a "service" that the platform knows as a workload only (a span's service.name often is one)."""
        if not endpoint.namespace or ("service", endpoint.namespace, endpoint.service) in self._aliases:
            return []
        found = self._intervals("workload", endpoint.cluster, endpoint.namespace, endpoint.service)
        return [alias for alias in found if alias.service]

    def _elsewhere(self, endpoint: Endpoint) -> list[Alias]:
        """Aliases of a service that the platform keeps in another namespace than the mesh (Consul's can differ)."""
        if not endpoint.namespace:
            return []
        found = self._intervals("service", endpoint.cluster, endpoint.namespace, endpoint.service)
        return [alias for alias in found if alias.namespace not in ("", endpoint.namespace)]

    def _service_of_workload(self, namespace: str, workload: str) -> str:
        return self._services_of_workload.get((namespace, workload)) or workload

    def _learn_bare_names(self, known: Sequence[Endpoint]) -> None:
        """Remember which namespaced nodes a bare name may mean: its services first, then workloads and accounts."""
        services: dict[str, set[str]] = defaultdict(set)
        others: dict[str, set[str]] = defaultdict(set)
        for (kind, namespace, name), aliases in self._aliases.items():
            for alias in aliases:
                target = alias.service or alias.workload or name
                where = alias.namespace or namespace
                if kind in ("pod_ip", "service_ip", "host"):
                    continue
                node = node_id(where, target)
                if alias.is_gateway:
                    self.gateways.add(node)
                if not where:
                    continue
                (services if kind == "service" else others)[name].add(node)
                if alias.service:
                    services[alias.service].add(node_id(where, alias.service))
        for endpoint in known:
            if not endpoint.namespace or endpoint.host:
                continue
            if endpoint.service:
                services[endpoint.service].add(node_id(endpoint.namespace, endpoint.service))
            elif endpoint.workload or endpoint.account:
                for segment in self.segments(endpoint):
                    others[endpoint.workload or endpoint.account].add(segment.node)
        for name, nodes in others.items():
            self._by_name[name] = nodes
        self._by_name.update(services)

    def _join(self, namespace: str, service: str) -> str:
        if namespace:
            return node_id(namespace, service)
        return self._only_match(service) or node_id("", service)

    def _only_match(self, name: str) -> str | None:
        """The only namespaced node a bare name can mean; `service.namespace`, as Istio names spans, is tried too, and
        `namespace-service-port`, as ingress-nginx names upstreams."""
        nodes = self._by_name.get(name, set())
        if len(nodes) == 1:
            return next(iter(nodes))
        service, dot, namespace = name.rpartition(".")
        if not nodes and dot and (node := node_id(namespace, service)) in self._by_name.get(service, set()):
            return node
        return None if nodes else self._upstream_match(name)

    def _upstream_match(self, name: str) -> str | None:
        """The only known node among the readings of `namespace-service-port`, each of which may hold dashes."""
        *labels, port = name.split("-")
        if not 2 <= len(labels) <= _MOST_LABELS or not (port.isascii() and port.isdigit()):
            return None
        found: set[str] = set()
        for cut in range(1, len(labels)):
            namespace, service = "-".join(labels[:cut]), "-".join(labels[cut:])
            node = node_id(namespace, service)
            if node in self._by_name.get(service, set()):
                found.add(node)
        return found.pop() if len(found) == 1 else None

    def _host_segments(self, endpoint: Endpoint) -> Sequence[Segment]:
        host = endpoint.host
        if _is_address(host):
            intervals = [
                interval
                for kind in ("pod_ip", "service_ip")
                for interval in self._intervals(kind, endpoint.cluster, "", host)
            ]
            return _with_gaps(
                [
                    Segment(i.valid_from, i.valid_to, self._join(i.namespace, i.service or i.workload or i.name))
                    for i in intervals
                ],
                host if _is_private(host) else EXTERNAL + host,
            )
        if hosts := self._intervals("host", endpoint.cluster, "", host):
            return self._named_segments(hosts, host)
        parts = host.split(".")
        if len(parts) == 1 and endpoint.hint:
            local = node_id(endpoint.hint, host)
            if local in self._by_name.get(host, set()):
                return [Segment(*ALWAYS, local)]
        in_cluster = len(parts) >= 3 and parts[2] == "svc"
        if len(parts) == 2 or in_cluster:
            node = node_id(parts[1], parts[0])
            if in_cluster or node in self._by_name.get(parts[0], set()):
                return [Segment(*ALWAYS, node)]
        if len(parts) == 1 and (match := self._only_match(host)):
            return [Segment(*ALWAYS, match)]
        return [Segment(*ALWAYS, EXTERNAL + host)]

    def _intervals(self, kind: str, cluster: str, namespace: str, name: str) -> list[Alias]:
        found = self._aliases.get((kind, namespace, name), [])
        own = [alias for alias in found if not cluster or alias.cluster in ("", cluster)]
        return sorted(own, key=lambda alias: (alias.valid_from, alias.valid_to))

    def _named_segments(self, intervals: Sequence[Alias], name: str) -> Sequence[Segment]:
        """Segments of a name: each alias holds until the next begins, the first also before, the last also after."""
        nodes: list[tuple[int, str]] = []
        for alias in intervals:
            node = self._join(alias.namespace or alias.name_namespace, alias.service or alias.workload or name)
            if nodes and nodes[-1][0] == alias.valid_from:
                nodes[-1] = (alias.valid_from, min(nodes[-1][1], node))
            elif not nodes or nodes[-1][1] != node:
                nodes.append((alias.valid_from, node))
        starts = [ALWAYS[0], *(start for start, _ in nodes[1:]), ALWAYS[1]]
        return [Segment(starts[i], starts[i + 1], node) for i, (_, node) in enumerate(nodes)]


def _unique(pairs: Iterable[tuple[tuple[str, str], str]]) -> Mapping[tuple[str, str], str]:
    """Keys with exactly one value; among several, the value equal to the name itself when it is one of them."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for key, value in pairs:
        values[key].add(value)
    unique = {key: next(iter(found)) for key, found in values.items() if len(found) == 1}
    same = {key: key[1] for key, found in values.items() if len(found) > 1 and key[1] in found}
    return {**unique, **same}


def _with_gaps(segments: Sequence[Segment], otherwise: str) -> Sequence[Segment]:
    """`segments` in order, cut where they overlap (the later start wins) and filled with `otherwise` between."""
    filled: list[Segment] = []
    at = ALWAYS[0]
    ordered = sorted(segments, key=lambda segment: segment.valid_from)
    for segment, following in zip_longest(ordered, ordered[1:]):
        end = segment.valid_to if following is None else min(segment.valid_to, following.valid_from)
        start = max(segment.valid_from, at)
        if end <= start:
            continue
        if start > at:
            filled.append(Segment(at, start, otherwise))
        filled.append(Segment(start, end, segment.node))
        at = end
    if at < ALWAYS[1]:
        filled.append(Segment(at, ALWAYS[1], otherwise))
    return filled


_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""RFC 1918, RFC 6598 and RFC 4193: addresses of pods, nodes and networks of one's own, never of the internet."""


def _is_private(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in _PRIVATE if network.version == parsed.version)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
