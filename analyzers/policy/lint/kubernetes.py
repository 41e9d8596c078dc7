"""NetworkPolicies that let in more, or select less, than they look like."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from analyzers.policy.documents import Value
from analyzers.policy.kubernetes.model import Block, NetworkPolicy, Peer, Port, Rule
from analyzers.policy.lint.addresses import HOST_BITS, every_address, network_remarks, no_address
from analyzers.policy.lint.model import Check, Remark, Severity, Subject, found_at
from analyzers.policy.lint.selecting import SELECTS_NOTHING, impossible
from analyzers.policy.selectors import Selector

EVERYBODY = Check("everybody", "warning", "a rule for every peer and every port")
ANY_PEER = Check("any-peer-of-ports", "note", "a rule of ports for every peer")
EMPTY_LIST = Check("empty-list", "warning", "an empty list of peers or ports")
SPLIT_PEER = Check("split-peer", "warning", "a namespace and its pods as two peers")
EVERY_NAMESPACE = Check("every-namespace", "warning", "a peer of all namespaces")
ANY_BLOCK = Check("any-block", "warning", "a block of all addresses")
EMPTY_BLOCK = Check("empty-block", "error", "a block of which its exceptions leave nothing")
POD_BLOCK = Check("pod-block", "note", "a block of private addresses")
SECTION_IGNORED = Check("section-ignored", "error", "rules of a direction that policyTypes leaves out")
NO_DNS = Check("no-dns", "note", "egress by ports, without that of DNS")
COVERED_RULE = Check("covered-rule", "note", "a rule beside one of every peer and port")
CHECKS = (
    *(EVERYBODY, ANY_PEER, EMPTY_LIST, SPLIT_PEER, EVERY_NAMESPACE, ANY_BLOCK, EMPTY_BLOCK, POD_BLOCK),
    *(SECTION_IGNORED, NO_DNS, COVERED_RULE, HOST_BITS, SELECTS_NOTHING),
)
_DNS = 53
_PRIVATE = tuple(
    ipaddress.ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8")
)
_PEERS: Mapping[str, str] = {"ingress": "from", "egress": "to"}


def remarks(subjects: Sequence[Subject]) -> Iterator[Remark]:
    """What is to be said of NetworkPolicies, of which others may be among `subjects`."""
    for subject in subjects:
        policy = subject.model
        if not isinstance(policy, NetworkPolicy):
            continue
        if impossible(policy.pods):
            yield subject.remark(
                SELECTS_NOTHING, "spec.podSelector", "no pod can bear such labels: take out one of the requirements"
            )
        for section, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
            yield from _direction(subject, section, rules)
        yield from _as_written(subject)


def _direction(subject: Subject, section: str, rules: tuple[Rule, ...] | None) -> Iterator[Remark]:
    who = "in" if section == "ingress" else "out"
    written = _rules(subject, section)
    whole = next((at for at, rule in enumerate(rules or ()) if rule == Rule()), None)
    for number, rule in enumerate(rules or ()):
        at = f"spec.{section}[{number}]"
        if rule == Rule():
            if not _has_empty_list(written, number, section):
                yield subject.remark(
                    EVERYBODY,
                    at,
                    f"everything is let {who}, as if there were no policy: write {_PEERS[section]} and ports",
                )
        elif whole is not None and whole != number:
            yield subject.remark(
                COVERED_RULE, at, f"rule {whole} already lets everything {who}: remove that one, or this one"
            )
        elif not rule.peers and not _has_empty_list(written, number, section):
            yield subject.remark(
                ANY_PEER, at, f"every peer is let {who} at these ports: write {_PEERS[section]} if some are meant"
            )
        yield from _peers(subject, f"{at}.{_PEERS[section]}", rule.peers, section)
    if section == "egress" and rules and not any(_reaches_dns(rule) for rule in rules):
        yield subject.remark(
            NO_DNS, "spec.egress", "no rule lets names be looked up: add a rule for UDP and TCP port 53 of the DNS pods"
        )


def _peers(subject: Subject, at: str, peers: Sequence[Peer], section: str) -> Iterator[Remark]:
    whole = [peer.block.network for peer in peers if peer.block and not peer.block.exceptions]
    if every_address(whole) and all(network.prefixlen for network in whole):
        yield subject.remark(
            ANY_BLOCK,
            at,
            "together these blocks are every address: write the networks that are meant",
            _severity(section),
        )
    for number, peer in enumerate(peers):
        place = f"{at}[{number}]"
        for selector, field in ((peer.pods, "podSelector"), (peer.namespaces, "namespaceSelector")):
            if selector is not None and impossible(selector):
                yield subject.remark(
                    SELECTS_NOTHING,
                    f"{place}.{field}",
                    "nothing can bear such labels: take out one of the requirements",
                )
        if peer.block:
            yield from _block(subject, place, peer.block, section)
        elif peer.namespaces == Selector() and peer.pods in (None, Selector()):
            yield subject.remark(
                EVERY_NAMESPACE, place, "pods of all namespaces are meant: write the labels of those that are"
            )
        following = peers[number + 1] if number + 1 < len(peers) else None
        if (
            following is not None
            and peer.namespaces is not None
            and peer.pods is None
            and following.pods is not None
            and following.namespaces is None
            and not following.block
        ):
            yield subject.remark(
                SPLIT_PEER,
                f"{at}[{number + 1}]",
                "this is a peer of its own, pods of the policy's namespace, beside all pods of the one before: "
                "write podSelector without a dash to mean pods of that namespace",
            )


def _block(subject: Subject, place: str, block: Block, section: str) -> Iterator[Remark]:
    written = found_at(subject.root, f"{place}.ipBlock.cidr")
    if written is not None and written.is_text:
        for check, message in network_remarks(written.text()):
            yield subject.remark(check, f"{place}.ipBlock.cidr", message)
    if no_address(block.network, block.exceptions):
        yield subject.remark(
            EMPTY_BLOCK, f"{place}.ipBlock.except", f"nothing of {block.network} is left: take out what is meant"
        )
    elif block.network.prefixlen == 0 and not block.exceptions:
        yield subject.remark(
            ANY_BLOCK,
            f"{place}.ipBlock.cidr",
            "every address is meant: write the networks that are",
            _severity(section),
        )
    elif any(
        block.network.version == private.version and private.supernet_of(block.network)  # pyright: ignore[reportArgumentType]
        for private in _PRIVATE
    ):
        yield subject.remark(
            POD_BLOCK,
            f"{place}.ipBlock.cidr",
            f"whether the addresses of pods in {block.network} are compared is up to the network's plugin: "
            "write podSelector or namespaceSelector for pods",
        )


def _severity(section: str) -> Severity:
    return "warning" if section == "ingress" else "note"


def _reaches_dns(rule: Rule) -> bool:
    return not rule.ports or any(_is_dns(port) for port in rule.ports)


def _is_dns(port: Port) -> bool:
    return bool(port.name) or (port.protocol != "SCTP" and port.low <= _DNS <= port.high)


def _rules(subject: Subject, section: str) -> Sequence[Value]:
    found = found_at(subject.root, f"spec.{section}")
    return found.items() if found is not None and not found.is_map and not found.is_text else ()


def _empty(rule: Value, name: str) -> bool:
    found = rule.get(name) if rule.is_map else None
    return found is not None and found.plain() == []


def _has_empty_list(written: Sequence[Value], number: int, section: str) -> bool:
    return number < len(written) and any(_empty(written[number], name) for name in (_PEERS[section], "ports"))


def _as_written(subject: Subject) -> Iterator[Remark]:
    """What the API server lets pass, and reads otherwise than people do."""
    policy: NetworkPolicy = subject.model
    for section, rules in (("ingress", policy.ingress), ("egress", policy.egress)):
        written = _rules(subject, section)
        if written and rules is None:
            name = section.title()
            yield subject.remark(
                SECTION_IGNORED,
                f"spec.{section}",
                f"policyTypes leaves out {name}, so these rules count for nothing: add {name} to it",
            )
        for number, rule in enumerate(written):
            for field in (_PEERS[section], "ports"):
                if _empty(rule, field):
                    what = "every port" if field == "ports" else "every peer"
                    yield subject.remark(
                        EMPTY_LIST,
                        f"spec.{section}[{number}].{field}",
                        f"an empty list means {what}, not none: remove the rule to let nobody through, or list them",
                    )
