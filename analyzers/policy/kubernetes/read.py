"""A NetworkPolicy's document → model, refused where the API server would refuse it.

Source: Kubernetes, pkg/apis/networking/{validation,v1/defaults.go}; core validation of names, ports and CIDRs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence

from analyzers.policy.documents import Value
from analyzers.policy.formula import Network
from analyzers.policy.kubernetes.model import Block, Document, NetworkPolicy, Peer, Port, Protocol, Rule
from analyzers.policy.networks import read_network
from analyzers.policy.selectors import Selector, read_selector

PROTOCOLS: Mapping[str, Protocol] = {"TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}
POLICY_TYPES = ("Ingress", "Egress")
MAX_NAME, MAX_PORT = 253, 65535
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def read_network_policy(document: Value, namespace: str) -> NetworkPolicy:
    """The policy of one document.

    Args:
        document: an object of kind NetworkPolicy.
        namespace: of those that name none.

    Raises:
        BadPolicy: the API server would refuse it; says line, field and what is allowed there.
    """
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    named = metadata.get("name") or metadata.refuse("no name, expected one")
    own, spec = metadata.get("namespace"), document.get("spec")
    fields = spec.fields("podSelector", "policyTypes", "ingress", "egress") if spec else {}
    # What a list holds is checked whether its direction is on or not.
    ingress, egress = _rules(fields.get("ingress"), "from"), _rules(fields.get("egress"), "to")
    types = _types(fields.get("policyTypes")) or ("Ingress", *(["Egress"] if egress else []))
    return NetworkPolicy(
        namespace=_namespace(own) if own else namespace,
        name=_name(named),
        pods=_selector(fields, "podSelector") or Selector(),
        ingress=ingress if "Ingress" in types else None,
        egress=egress if "Egress" in types else None,
    )


KINDS: Mapping[tuple[str, str], Callable[[Value, str], Document]] = {
    ("networking.k8s.io", "NetworkPolicy"): read_network_policy,
}
"""API group and kind → reader(document, namespace of those that name none)."""


def _name(value: Value) -> str:
    text = value.text()
    if len(text) > MAX_NAME or not _SUBDOMAIN.fullmatch(text):
        value.refuse(f"{value.shown}, expected at most {MAX_NAME} lower-case letters, digits, '-' and '.'")
    return text


def _namespace(value: Value) -> str:
    text = value.text()
    if not _NAMESPACE.fullmatch(text):
        value.refuse(f"{value.shown}, expected at most 63 lower-case letters, digits and '-'")
    return text


def _types(value: Value | None) -> tuple[str, ...]:
    items = value.items() if value else []
    if value and len(items) > len(POLICY_TYPES):
        value.refuse(f"{len(items)} types, expected at most {len(POLICY_TYPES)}")
    return tuple(item.one_of(*POLICY_TYPES) for item in items)


def _rules(value: Value | None, peers: str) -> tuple[Rule, ...]:
    return tuple(_rule(item, peers) for item in value.items()) if value else ()


def _rule(value: Value, peers: str) -> Rule:
    # An item that is null is an empty object for the API server: it allows everything.
    fields = {} if value.is_null else value.fields(peers, "ports")
    return Rule(
        peers=tuple(_peer(item) for item in _items(fields, peers)),
        ports=tuple(_port(item) for item in _items(fields, "ports")),
    )


def _items(fields: Mapping[str, Value], name: str) -> Sequence[Value]:
    return fields[name].items() if name in fields else []


def _selector(fields: Mapping[str, Value], name: str) -> Selector | None:
    # To Go's decoder a label that is null is one with an empty value.
    return read_selector(fields[name], null="") if name in fields else None


def _peer(value: Value) -> Peer:
    fields = {} if value.is_null else value.fields("podSelector", "namespaceSelector", "ipBlock")
    if not fields:
        value.refuse("an empty item, expected podSelector, namespaceSelector or ipBlock")
    if "ipBlock" not in fields:
        return Peer(
            pods=_selector(fields, "podSelector"),
            namespaces=_selector(fields, "namespaceSelector"),
        )
    if len(fields) > 1:
        value.refuse("ipBlock beside a selector, expected either")
    return Peer(block=_block(fields["ipBlock"]))


def _block(value: Value) -> Block:
    fields = value.fields("cidr", "except")
    whole = _network(fields.get("cidr") or value.refuse("no cidr, expected one such as 10.0.0.0/8"))
    exceptions: list[Network] = []
    for item in _items(fields, "except"):
        found = _network(item)
        if not _strictly_within(found, whole):
            item.refuse(f"{item.shown}, expected a part of {whole}, smaller than it")
        exceptions.append(found)
    return Block(whole, tuple(exceptions))


def _network(value: Value) -> Network:
    """A network in CIDR form; bits beyond its length are let go."""
    text = value.text()
    # Older API servers let leading zeros pass; they are refused here.
    found = read_network(text) if "/" in text else None
    if found is None:
        value.refuse(f"{value.shown}, expected a network such as 10.0.0.0/8 or 2001:db8::/32")
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        value.refuse(f"{value.shown}: IPv4 in the form of IPv6, expected a network such as 10.0.0.0/8")
    return found


def _strictly_within(part: Network, whole: Network) -> bool:
    if part.version != whole.version or part.prefixlen <= whole.prefixlen:
        return False
    return part.network_address in whole


def _port(value: Value) -> Port:
    fields = {} if value.is_null else value.fields("protocol", "port", "endPort")
    protocol = PROTOCOLS[fields["protocol"].one_of(*PROTOCOLS) if "protocol" in fields else "TCP"]
    port, end = fields.get("port"), fields.get("endPort")
    if port is None:
        if end:
            end.refuse("endPort without port, expected the range's first port beside it")
        return Port(protocol)
    if port.is_text:
        if not _PORT_NAME.fullmatch(port.text()):
            port.refuse(
                f"{port.shown}, expected a number of 1 to {MAX_PORT} without quotes, or a port's name: at most 15"
                " lower-case letters, digits and single '-', one of them a letter"
            )
        if end:
            end.refuse("endPort beside a port's name, expected a number there")
        return Port(protocol, name=port.text())
    low = port.integer(1, MAX_PORT)
    high = end.integer(1, MAX_PORT) if end else low
    if end and high < low:
        end.refuse(f"{high}, expected {low} or more")
    return Port(protocol, low, high)
