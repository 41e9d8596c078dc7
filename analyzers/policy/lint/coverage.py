"""What policies leave out: workloads that none governs, and namespaces without mutual TLS.

Workloads are those of the inventory and those at which calls arrived. A namespace's mode is what PeerAuthentications
require of it; how its calls really came is counted from the lines of the callee's proxy, of the caller's where nobody
else speaks for the callee.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.policy.consul.model import ServiceIntentions
from analyzers.policy.inventory import Inventory, read_inventory
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.peer_authentication import PeerAuthentication
from analyzers.policy.judging import bounds
from analyzers.policy.kleene import Truth
from analyzers.policy.lint.governing import governs
from analyzers.policy.lint.istio_peers import Modes
from analyzers.policy.lint.model import Check, Remark, Subject
from analyzers.policy.places import found_places
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from storage.sql import load
from storage.tables import COUNTED_LOG_TYPES, LOGGED_BIT

NO_POLICY = Check("no-policy", "warning", "a workload that no policy governs")
PLAINTEXT_CALLS = Check(
    "plaintext-calls", "warning", "a namespace that does not require mTLS and was called without it"
)
NO_MTLS = Check("mtls-not-required", "note", "a namespace that does not require mTLS, all of whose calls had it")
SELECTS_NOBODY = Check("selects-nobody", "warning", "a selector that selects no pod of the inventory")
CHECKS = (NO_POLICY, PLAINTEXT_CALLS, NO_MTLS, SELECTS_NOBODY)
TLS = ("mtls", "tls", "plaintext", "unknown")
"""How a call came: with certificates of both ends, of the callee alone, without any, or the line does not say."""
ROW_LIMIT = 1_000_000
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Ungoverned:
    """A workload that no policy governs, or of which that is not known.

    Attributes:
        workload: its name, or that of the service where calls name nothing else.
        governed: False = by none; None = its labels or accounts are not known well enough.
        calls: that arrived in the window.
    """

    namespace: str
    workload: str
    governed: Truth
    calls: int

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        known = "no" if self.governed is False else "unknown"
        return {"namespace": self.namespace, "workload": self.workload, "governed": known, "calls": self.calls}


@dataclass(frozen=True, slots=True)
class NamespaceTls:
    """Mutual TLS in one namespace.

    Attributes:
        mode: what PeerAuthentications say of its workloads; None where there is no such document at all.
        by: the document that says so; None = Istio's own default.
        exceptions: documents that say something else of some of them.
        calls: that arrived in the window, by how they came (see `TLS`).
    """

    namespace: str
    mode: str | None
    by: str | None
    exceptions: Sequence[str]
    calls: Mapping[str, int]

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "namespace": self.namespace,
            "mode": self.mode,
            "by": self.by,
            "exceptions": list(self.exceptions),
            "calls": {tls: self.calls.get(tls, 0) for tls in TLS},
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """What policies cover of what runs, and of what was recorded in [since, until)."""

    since: datetime
    until: datetime
    workloads: int
    ungoverned: Sequence[Ungoverned]
    namespaces: Sequence[NamespaceTls]
    remarks: Sequence[Remark]
    """Of the above, beside those on the documents; not in the document below."""

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "window": {"since": rfc3339(self.since), "until": rfc3339(self.until)},
            "workloads": self.workloads,
            "ungoverned": [one.to_document() for one in self.ungoverned],
            "namespaces": [one.to_document() for one in self.namespaces],
        }


def coverage(
    subjects: Sequence[Subject], engine: Engine, since: datetime | None = None, until: datetime | None = None
) -> Coverage:
    """Hold documents against the inventory and the calls of a store.

    Args:
        since, until: None = all calls.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    start, end = bounds(engine, since, until)
    inventory = read_inventory(engine, start, end)
    mesh = next((one.model for one in subjects if isinstance(one.model, Mesh)), Mesh())
    workloads, calls = _workloads(engine, start, end, inventory)
    ungoverned: list[Ungoverned] = []
    near = _by_namespace(subjects, mesh)
    for key, workload in sorted(workloads.items()):
        governed = _governed(workload, [*near[""], *near.get(workload.namespace, ())], mesh)
        if governed is not True:
            ungoverned.append(Ungoverned(*key, governed, calls[key]))
    ungoverned.sort(key=lambda one: (one.governed is None, -one.calls, one.namespace, one.workload))
    namespaces = _namespaces(subjects, mesh, {key[0] for key in workloads}, _tls(engine, start, end))
    remarks = [*_remarks(ungoverned, namespaces), *_selects_nobody(subjects, inventory, mesh)]
    return Coverage(start, end, len(workloads), ungoverned, namespaces, remarks)


def _by_namespace(subjects: Sequence[Subject], mesh: Mesh) -> Mapping[str, Sequence[Subject]]:
    """Documents by the namespace of the workloads that they can be about; under the empty one, of all."""
    found: dict[str, list[Subject]] = {"": []}
    for one in subjects:
        anywhere = one.document.namespace == mesh.root_namespace or isinstance(one.model, ServiceIntentions)
        found.setdefault("" if anywhere else one.document.namespace, []).append(one)
    return found


def _governed(workload: Workload, subjects: Sequence[Subject], mesh: Mesh) -> Truth:
    known: Truth = False
    for one in subjects:
        truth = governs(one.model, workload, mesh)
        if truth:
            return True
        known = None if truth is None else known
    return known


def _workloads(
    engine: Engine, since: datetime, until: datetime, inventory: Inventory
) -> tuple[Mapping[tuple[str, str], Workload], Counter[tuple[str, str]]]:
    """By namespace and name, and the calls that arrived at each. What has no name is nobody's to govern."""
    found = dict(inventory.cluster.workloads)
    calls: Counter[tuple[str, str]] = Counter()
    for one in found_places(engine, since, until, inventory):
        workload = one.place.workload
        for key in _known(workload, inventory) or [(workload.namespace, workload.name or workload.service)]:
            if all(key):
                found.setdefault(key, workload)
                calls[key] += one.calls
    return found, calls


def _known(workload: Workload, inventory: Inventory) -> Sequence[tuple[str, str]]:
    """The workloads behind one that calls only name as a service."""
    if workload.name or not workload.service:
        return []
    return [
        key
        for key, one in inventory.cluster.workloads.items()
        if one.namespace == workload.namespace and one.service == workload.service
    ]


def _tls(engine: Engine, since: datetime, until: datetime) -> Mapping[str, Counter[str]]:
    """How the calls of each namespace came."""
    rows = engine.query(
        load("policy/mtls_calls").text,
        {
            "since": since,
            "until": until,
            "counted": list(COUNTED_LOG_TYPES),
            "tls_bit": LOGGED_BIT["tls"],
            "row_limit": ROW_LIMIT,
        },
    ).to_pylist()
    heard = {(row["namespace"], row["callee"]) for row in rows if not row["by_caller"]}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["namespace"] and not (row["by_caller"] and (row["namespace"], row["callee"]) in heard):
            found[row["namespace"]][row["tls"]] += row["calls"]
    return found


def _namespaces(
    subjects: Sequence[Subject], mesh: Mesh, namespaces: set[str], calls: Mapping[str, Counter[str]]
) -> Sequence[NamespaceTls]:
    documents = [one.model for one in subjects if isinstance(one.model, PeerAuthentication)]
    # Without any of Istio's documents nothing says that this mesh is one of Istio's.
    is_istio = bool(documents) or any(isinstance(one.model, AuthorizationPolicy | Mesh) for one in subjects)
    modes = Modes(documents, mesh)
    found: list[NamespaceTls] = []
    for namespace in sorted(namespaces | calls.keys()):
        mode, by = modes.of(namespace)
        exceptions = [one.id for one in modes.exceptions(namespace)]
        told = (mode, by or None) if is_istio else (None, None)
        found.append(NamespaceTls(namespace, *told, exceptions, calls.get(namespace, Counter())))
    return found


def _remarks(ungoverned: Sequence[Ungoverned], namespaces: Sequence[NamespaceTls]) -> Iterator[Remark]:
    for one in ungoverned[:_MOST]:
        if one.governed is False:
            yield _remark(
                NO_POLICY,
                ("Workload", one.namespace, one.workload),
                f"no policy says who may call it ({one.calls:,} calls recorded): write one that selects it",
            )
    for one in namespaces:
        if one.mode in (None, "STRICT"):
            continue
        plain = one.calls.get("plaintext", 0) + one.calls.get("tls", 0)
        place = ("Namespace", "", one.namespace)
        if plain:
            yield _remark(
                PLAINTEXT_CALLS,
                place,
                f"mTLS is {one.mode} and {plain:,} calls came without a caller's certificate: "
                "move those callers into the mesh, then write STRICT",
            )
        elif one.calls.get("mtls", 0):
            yield _remark(
                NO_MTLS,
                place,
                f"mTLS is {one.mode} though none of the calls recorded came without it: write STRICT",
            )


def _remark(check: Check, place: tuple[str, str, str], message: str) -> Remark:
    return Remark(check.id, check.severity, "", 0, *place, "", message)


def _selects_nobody(subjects: Sequence[Subject], inventory: Inventory, mesh: Mesh) -> Iterator[Remark]:
    """Documents that select by label in a namespace that the inventory knows, and no pod of it."""
    by_namespace: dict[str, list[Workload]] = defaultdict(list)
    for workload in inventory.cluster.workloads.values():
        by_namespace[workload.namespace].append(workload)
    everywhere = [*inventory.cluster.workloads.values()]
    for subject in subjects:
        labels = getattr(subject.model, "selector", None)
        if not labels or not isinstance(labels, Mapping):
            continue
        wanted: Mapping[str, str] = labels
        root = isinstance(subject.model, AuthorizationPolicy) and subject.model.namespace == mesh.root_namespace
        asked = everywhere if root else by_namespace.get(subject.document.namespace, [])
        if asked and not any(wanted.items() <= one.items() for each in asked for one in each.labels):
            yield subject.remark(
                SELECTS_NOBODY,
                "spec.selector",
                "no pod of the inventory bears these labels, so it applies to nobody: write labels that pods bear",
            )
