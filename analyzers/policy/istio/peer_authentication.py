"""PeerAuthentication: which ports of a workload take callers that do not show a certificate.

Precedence is workload, namespace, mesh; within one level the oldest document counts. What a document leaves UNSET it
takes from the level above; at the top that is PERMISSIVE.

Source: istio.io/api security/v1/peer_authentication.proto, pilot/pkg/security/authn/policy_applier.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from analyzers.policy.documents import Value
from analyzers.policy.formula import (
    FALSE,
    Constant,
    Equals,
    Field,
    Formula,
    Ports,
    Step,
    Unknown,
    both,
    either,
    no,
)
from analyzers.policy.istio.model import Mesh
from analyzers.policy.workloads import Workload

MODES = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]
_MAX_PORT = 65535
_PORT = re.compile(r"[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """One document. No selector: of its namespace, or of the mesh where that is the root namespace."""

    namespace: str
    name: str
    mode: Mode = "UNSET"
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: Mapping[int, Mode] = field(default_factory=dict[int, Mode])
    created: str = ""
    """RFC 3339; empty where the document does not say."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


def read_peer_authentication(document: Value, namespace: str) -> PeerAuthentication:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Istio would refuse it; says line, field and what is allowed there.
    """
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name = (metadata.get("name") or metadata.refuse("no name, expected one")).text()
    own, created = metadata.get("namespace"), metadata.get("creationTimestamp")
    spec = document.get("spec")
    fields = spec.fields("selector", "mtls", "portLevelMtls") if spec else {}
    labels = fields["selector"].fields("matchLabels").get("matchLabels") if "selector" in fields else None
    selector = labels.text_map() if labels else {}
    ports: dict[int, Mode] = {}
    if "portLevelMtls" in fields:
        if not selector:
            fields["portLevelMtls"].refuse("modes of ports without a selector, expected a selector beside them")
        for text, value in fields["portLevelMtls"].entries().items():
            if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
                value.refuse(f"port {text[:20]!r}, expected a number of 1 to {_MAX_PORT}")
            ports[int(text)] = _mode(value)
    return PeerAuthentication(
        namespace=own.text() if own else namespace,
        name=name,
        mode=_mode(fields["mtls"]) if "mtls" in fields else "UNSET",
        selector=selector,
        ports=ports,
        created=created.text() if created else "",
    )


def _mode(value: Value) -> Mode:
    mode = value.fields("mode").get("mode")
    return mode.one_of(*MODES) if mode else "UNSET"  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class Requirement:
    """Callers of some ports must show a certificate, if `when` holds."""

    when: Formula
    by: str
    """`namespace/name` of the document that says so."""


def strict(documents: Sequence[PeerAuthentication], workload: Workload, mesh: Mesh) -> Sequence[Requirement]:
    """Where mTLS is required of callers, most special document first; nothing where it nowhere is."""
    ordered = sorted(documents, key=lambda one: (one.created or "9", one.namespace, one.name))
    above: list[tuple[Mode, str]] = []
    for namespace in dict.fromkeys((mesh.root_namespace, workload.namespace)):
        level = [one for one in ordered if one.namespace == namespace and not one.selector]
        if level and level[0].mode != "UNSET":
            above.append((level[0].mode, level[0].id))
    inherited, by = above[-1] if above else ("PERMISSIVE", "")
    found: list[Requirement] = []
    spared: list[Formula] = []
    for one in ordered:
        # A selector in the root namespace is not looked at.
        if not one.selector or one.namespace != workload.namespace or one.namespace == mesh.root_namespace:
            continue
        selected = workload.selected(lambda labels, one=one: one.selector.items() <= labels.items())
        applies = Unknown(Field.LABELS) if selected is None else Constant(selected)
        own, others = _of_ports(one, inherited, by)
        found.extend(Requirement(both([*spared, applies, ports]), said) for ports, said in own)
        spared.append(no(both([applies, others])))
        if selected:
            break
    else:
        if inherited == "STRICT":
            found.append(Requirement(both(spared), by))
    return [one for one in found if one.when != FALSE]


def _of_ports(one: PeerAuthentication, inherited: Mode, by: str) -> tuple[Sequence[tuple[Formula, str]], Formula]:
    """Ports that take certificates only, each with the document that says so; and all others."""
    mode, said = (inherited, by) if one.mode == "UNSET" else (one.mode, one.id)
    listed = {port: own for port, own in one.ports.items() if own != "UNSET"}
    closed = _ports([port for port, own in listed.items() if own == "STRICT"])
    if mode != "STRICT":
        return [(closed, one.id)], no(closed)
    opened = _ports([port for port, own in listed.items() if own != "STRICT"])
    return [(closed, one.id), (no(opened), said)], opened


def _ports(numbers: Sequence[int]) -> Formula:
    return Ports(Field.DESTINATION_PORT, tuple((port, port) for port in sorted(numbers))) if numbers else FALSE


WITHOUT_CERTIFICATE = Equals(Field.TLS, ("plaintext", "tls"))
"""A call over no TLS, or over TLS of which the caller shows no certificate."""


def steps(documents: Sequence[PeerAuthentication], workload: Workload, mesh: Mesh) -> Sequence[Step]:
    """Steps that deny whoever does not show a certificate where one is required."""
    return [
        Step(False, both([one.when, WITHOUT_CERTIFICATE]), one.by, "mtls") for one in strict(documents, workload, mesh)
    ]


def required(documents: Sequence[PeerAuthentication], workload: Workload, mesh: Mesh) -> Formula:
    """Whether the port that a call arrives at takes certificates only."""
    return either([one.when for one in strict(documents, workload, mesh)])
