"""What Linkerd decides about one call, slowly and plainly: the measure that the compiled expressions are held to.

Written from the description of the rules, without the compiler's formulas. A call is a mapping: a field that was not
logged is missing, one that was logged as absent is the empty text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from analyzers.policy.decision import Call, Decision
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.linkerd.model import (
    AuthorizationPolicy,
    Block,
    Clients,
    Document,
    GrpcMatch,
    HttpMatch,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Pair,
    Route,
    Server,
    ServerAuthorization,
    Settings,
)
from analyzers.policy.workloads import Cluster, Workload

_POLICIES = (
    *("all-unauthenticated", "all-authenticated", "cluster-unauthenticated", "cluster-authenticated"),
    *("deny", "audit"),
)


@dataclass(frozen=True)
class _Said:
    """One thing that is looked at, in its turn: where it holds, it decides."""

    holds: Truth
    allows: bool
    policy: str = ""
    rule: str = ""


def decide(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings, call: Call
) -> Decision:
    """Judge `call`, which arrived at `destination`."""
    judge = _Judge(documents, destination, settings, call)
    said: list[_Said] = []
    whichever: list[Truth] = []
    governed: list[Truth] = []
    for server in sorted(judge.servers(), key=lambda one: (*_age(one.created), one.name)):
        governs = judge.governs(server)
        found, lets_in = judge.server(server)
        said += [_Said(all_of([governs, one.holds]), one.allows, one.policy, one.rule) for one in found]
        whichever.append(any_of([opposite(governs), lets_in]))
        governed.append(governs)
    default = judge.default(cluster)
    said.append(_Said(default, True))
    # In their turn; what is let in whoever decides is let in all the same.
    verdict: Truth = False
    for one in reversed(said):
        verdict = any_of([one.holds, verdict]) if one.allows else all_of([opposite(one.holds), verdict])
    if verdict is None:
        surely = all_of([*whichever, any_of([*governed, default])]) if governed else False
        return Decision("allow" if surely is True else "unknown")
    for one in said:
        if one.holds is True:
            named = one.policy or None
            return Decision("allow" if one.allows else "deny", named, one.rule if named else None)
    return Decision("allow" if verdict else "deny")


class _Judge:
    def __init__(self, documents: Sequence[Document], destination: Workload, settings: Settings, call: Call) -> None:
        self._all = documents
        self._own = [one for one in documents if one.namespace == destination.namespace]
        self._destination = destination
        self._settings = settings
        self._call = call

    def servers(self) -> Iterator[Server]:
        return (one for one in self._own if isinstance(one, Server))

    def governs(self, server: Server) -> Truth:
        if server.selector is None:
            return False
        answers = {server.selector(labels) for labels in self._destination.labels}
        selected = answers.pop() if len(answers) == 1 else None
        return all_of([selected, self._is_port(server)])

    def _is_port(self, server: Server) -> Truth:
        port = self._call.get("destination_port")
        if isinstance(server.port, int):
            return None if port is None else port == server.port
        if not self._destination.ports:
            return None
        numbers = self._destination.ports.get(server.port)
        if not numbers:
            return False
        return None if port is None else port in numbers

    def server(self, server: Server) -> tuple[list[_Said], Truth]:
        """What it says in turn of a call that it governs, and whether it lets it in whichever route decides."""
        own = list(self._of_server(server))
        lets_in = any_of(truth for truth, _, _ in own)
        routes = [one for one in self._own if isinstance(one, Route) and self._is_attached(one, server)]
        if not routes:
            said = [_Said(truth, True, policy, rule) for truth, policy, rule in own]
            return [*said, _Said(True, False, server.id, "no authorization")], lets_in
        ways = self._ways(routes)
        some = any_of(truth for truth, _ in ways)
        said = [_Said(all_of([some, truth]), True, policy, rule) for truth, policy, rule in own]
        each: list[Truth] = []
        for matches, route in ways:
            by_route = list(self._of_route(route))
            said += [_Said(all_of([matches, truth]), True, policy, rule) for truth, policy, rule in by_route]
            said.append(_Said(matches, False, server.id, f"{route.kind} {route.name}"))
            each.append(any_of([opposite(matches), *(truth for truth, _, _ in by_route)]))
        said.append(_Said(True, False, server.id, "no route"))
        return said, all_of([some, any_of([lets_in, all_of(each)])])

    def _is_attached(self, route: Route, server: Server) -> bool:
        if self._call["transport"] == "tcp" or server.name not in route.servers:
            return False
        if server.protocol == "gRPC":
            return route.kind == "GRPCRoute"
        return route.kind == "HTTPRoute" and server.protocol not in ("opaque", "TLS")

    # Who is let in.

    def _of_server(self, server: Server) -> Iterator[tuple[Truth, str, str]]:
        at = f"at Server {server.name}"
        for one in sorted((one for one in self._own if isinstance(one, ServerAuthorization)), key=lambda one: one.name):
            chosen = one.server == server.name if isinstance(one.server, str) else one.server(dict(server.labels))
            if chosen:
                yield self._server_authorization(one), one.id, f"ServerAuthorization {at}"
        for one in self._policies():
            if one.target.kind == "Namespace" or (one.target.kind, one.target.name) == ("Server", server.name):
                yield self._policy(one), one.id, f"AuthorizationPolicy {at}"
        yield self._access(server.access), server.id, f"accessPolicy {server.access}"
        yield self._is_localhost(), "", ""

    def _of_route(self, route: Route) -> Iterator[tuple[Truth, str, str]]:
        for one in self._policies():
            target = one.target
            if (target.group, target.kind, target.name) == (route.group, route.kind, route.name):
                yield self._policy(one), one.id, f"AuthorizationPolicy at {route.kind} {route.name}"

    def _policies(self) -> list[AuthorizationPolicy]:
        return sorted((one for one in self._own if isinstance(one, AuthorizationPolicy)), key=lambda one: one.name)

    def _server_authorization(self, authorization: ServerAuthorization) -> Truth:
        blocks = authorization.networks or tuple(Block(one) for one in self._settings.cluster_networks)
        near = self._is_within(blocks)
        if authorization.clients == "nobody":
            return False
        if authorization.clients == "anybody":
            return near
        if authorization.clients == "tls":
            return all_of([self._over_tls(), near])
        return all_of([self._is_one_of(authorization.clients), near])

    def _policy(self, policy: AuthorizationPolicy) -> Truth:
        parts: list[Truth] = []
        for one in policy.required:
            if one.kind == "ServiceAccount":
                parts.append(self._is_one_of(Clients(accounts=((one.namespace, one.name),))))
                continue
            found = [
                other
                for other in self._all
                if isinstance(other, MeshTLSAuthentication | NetworkAuthentication)
                and (type(other).__name__, other.namespace, other.name) == (one.kind, one.namespace, one.name)
            ]
            if not found:
                return False
            target = found[0]
            if isinstance(target, MeshTLSAuthentication):
                parts.append(self._is_one_of(target.clients))
            else:
                parts.append(self._is_within(target.networks))
        return all_of(parts)

    def _access(self, policy: str) -> Truth:
        if policy == "deny":
            return False
        parts: list[Truth] = []
        if policy.endswith("-authenticated"):
            parts.append(self._has_identity("*"))
        if policy.startswith("cluster-"):
            parts.append(self._is_within([Block(one) for one in self._settings.cluster_networks]))
        return all_of(parts)

    def default(self, cluster: Cluster) -> Truth:
        """Whether the default policy lets the call in."""
        if not self._destination.labels and not self._destination.annotations:
            return any_of([self._is_localhost(), None])
        of_namespace = cluster.namespace_annotations.get(self._destination.namespace, {})
        policies: set[tuple[str, str]] = set()
        for of_pod in self._destination.annotations or ({},):
            said = {**of_namespace, **of_pod}
            policy = said.get("config.linkerd.io/default-inbound-policy", "")
            ports = said.get("config.linkerd.io/proxy-require-identity-inbound-ports", "")
            policies.add((policy if policy in _POLICIES else self._settings.default_policy, ports))
        answers = {self._by_default(*one) for one in policies}
        truth = answers.pop() if len(answers) == 1 else None
        return any_of([self._is_localhost(), truth])

    def _by_default(self, policy: str, ports: str) -> Truth:
        """Ports that ask for an identity do so whatever the policy, where it lets in anybody at all."""
        kinds = {"all-unauthenticated": "all-authenticated", "cluster-unauthenticated": "cluster-authenticated"}
        if policy not in kinds:
            return self._access(policy)
        strict = self._access(kinds[policy])
        asks = self._asks(ports)
        return any_of([strict, all_of([opposite(asks), self._access(policy)])])

    def _asks(self, ports: str) -> Truth:
        parts = [[end.strip() for end in part.split("-")] for part in ports.split(",") if part.strip()]
        if not parts or not all(len(part) <= 2 and re.fullmatch("[0-9]{1,5}", end) for part in parts for end in part):
            return False
        ranges = [(int(part[0]), int(part[-1])) for part in parts]
        if not all(0 < low <= high < 65536 for low, high in ranges):
            return False
        port = self._call.get("destination_port")
        return None if port is None else any(low <= port <= high for low, high in ranges)

    def _is_localhost(self) -> Truth:
        address = self._call.get("source_ip")
        return None if address is None else address in ("127.0.0.1", "::1")

    def _is_within(self, blocks: Sequence[Block]) -> Truth:
        address = self._call.get("source_ip")
        if address is None:
            return None
        ip = ipaddress.ip_address(address)
        return any(
            ip.version == one.network.version and ip in one.network and not any(ip in out for out in one.excepted)
            for one in blocks
        )

    def _over_tls(self) -> Truth:
        tls = self._call.get("tls") or "unknown"
        if tls != "plaintext" and self._call.get("source_principal"):
            return True
        return {"mtls": True, "plaintext": False}.get(tls)  # that of a pod that ends it itself does not count

    def _is_one_of(self, clients: Clients) -> Truth:
        domain = f"serviceaccount.identity.{self._settings.control_plane_namespace}.{self._settings.trust_domain}"
        return any_of(
            [
                *(self._has_identity(one) for one in clients.identities),
                *(self._has_identity(f"{name}.{namespace}.{domain}") for namespace, name in clients.accounts),
                *(self._has_identity(f"*.{one}.{domain}") for one in clients.namespaces),
            ]
        )

    def _has_identity(self, wanted: str) -> Truth:
        tls, found = self._call.get("tls"), self._call.get("source_principal")
        if tls == "plaintext" or not wanted:
            return False
        if found is None or (found == "" and tls == "mtls"):
            return None
        if found == "":
            return False
        if wanted == "*":
            return not found.startswith("spiffe://")
        if wanted.startswith("*."):
            return found.endswith(wanted[1:]) and not found.startswith("spiffe://")
        return found == wanted

    # Which route.

    def _ways(self, routes: Sequence[Route]) -> list[tuple[Truth, Route]]:
        """The ways in which the routes may match, the preferred one first."""
        inexact = [one for route in routes for rule in route.rules for one in rule if isinstance(one, HttpMatch)]
        found: list[tuple[Any, Truth, Route]] = []
        for route in routes:
            by_age = (*_age(route.created), route.group, route.kind, route.name)
            for number, rule in enumerate(route.rules):
                for wins, truth in self._of_rule(rule, inexact):
                    for host, is_host in self._hosts(route):
                        worst = [-one for one in (*host, *wins)]
                        found.append(((worst, by_age, number), all_of([is_host, truth]), route))
        found.sort(key=lambda one: one[0])
        return [(truth, route) for _, truth, route in found]

    def _of_rule(
        self, rule: Sequence[HttpMatch | GrpcMatch], others: Sequence[HttpMatch]
    ) -> Iterator[tuple[tuple[int, ...], Truth]]:
        """Each match: by how much it is preferred, and whether it holds."""
        if not rule:
            yield (0, 0, 0, 0, 0), True
        for match in rule:
            headers = [self._header(one) for one in match.headers]
            if isinstance(match, GrpcMatch):
                wins = (len(match.service), len(match.method), len(headers), 0, 0)
                yield wins, all_of([self._is_method("POST"), self._is_rpc(match), *headers])
                continue
            parameters = [self._parameter(one) for one in match.parameters]
            method = [self._is_method(match.method)] if match.method else []
            for covers, truth in self._paths(match, others):
                wins = (*covers, len(method), len(headers), len(parameters))
                yield wins, all_of([truth, *method, *headers, *parameters])

    def _paths(self, match: HttpMatch, others: Sequence[HttpMatch]) -> Iterator[tuple[tuple[int, int], Truth]]:
        """All of the path is more than any part of it; a prefix may be either where others ask for all of it."""
        path = self._path()
        if match.path_type == "Exact":
            yield (1, 0), None if path is None else path == match.path
        elif match.path_type == "RegularExpression":
            yield (1, 0), None if path is None else re.fullmatch(match.path, path) is not None
        else:
            prefix = match.path if match.path == "/" else match.path.rstrip("/")
            whole = None if path is None else path == prefix
            if any(
                one.path_type == "RegularExpression" or (one.path_type == "Exact" and one.path == prefix)
                for one in others
            ):
                yield (1, 0), whole
                below = True if prefix == "/" else None if path is None else path.startswith(prefix + "/")
                yield (0, len(prefix)), below
            elif prefix == "/":
                yield (0, 1), True
            else:
                yield (0, len(prefix)), None if path is None else self._segments_begin(path, prefix)

    @staticmethod
    def _segments_begin(path: str, prefix: str) -> bool:
        wanted = prefix.split("/")
        return path.split("/")[: len(wanted)] == wanted

    def _path(self) -> str | None:
        path = self._call.get("path")
        return None if path is None else re.split("[?#]", path, maxsplit=1)[0]

    def _is_rpc(self, match: GrpcMatch) -> Truth:
        path = self._path()
        if path is None:
            return None
        parts = path.split("/")
        if len(parts) < 3 or parts[0]:
            return False
        return match.service in ("", parts[1]) and match.method in ("", parts[2])

    def _is_method(self, wanted: str) -> Truth:
        method = self._call.get("method")
        return None if method is None else method == wanted

    def _hosts(self, route: Route) -> list[tuple[tuple[int, int], Truth]]:
        authority = self._call.get("authority")
        host = None if authority is None else re.sub(r":[0-9]*\Z", "", authority).removesuffix(".").lower()
        found: list[tuple[tuple[int, int], Truth]] = []
        for one in route.hostnames:
            if one.startswith("*."):
                found.append(((1, len(one) - 1), None if host is None else host.endswith(one[1:])))
            else:
                found.append(((2, len(one)), None if host is None else host == one))
        return found or [((0, 0), True)]

    def _header(self, pair: Pair) -> Truth:
        value = self._call["attributes"].get(f"request.headers.{pair.name}")
        if value is None:
            return None
        return re.fullmatch(pair.value, value) is not None if pair.is_regex else value == pair.value

    def _parameter(self, pair: Pair) -> Truth:
        path = self._call.get("path")
        if path is None or "%" in pair.name:
            return None
        _, _, query = path.partition("#")[0].partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        values = [unquote_plus(value) for name, _, value in pairs if unquote_plus(name) == pair.name]
        if pair.is_regex or "%" in pair.value:
            return None if values else False
        return pair.value in values


def _age(created: Any) -> tuple[bool, float]:
    """The oldest first, those whose age is not known last."""
    return created is None, created.timestamp() if created else 0.0
