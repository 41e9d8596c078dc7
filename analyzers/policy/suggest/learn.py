"""What was seen → the policies of one engine, as objects and as YAML that is read back.

Observed ──► targets ──► an engine's documents ──► YAML ──► read_set
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from analyzers.policy.engines import ENGINES, Place
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.suggest import consul, istio, kubernetes, linkerd, smi
from analyzers.policy.suggest.observed import Observed, Seen
from analyzers.policy.suggest.targets import (
    Finds,
    LeftOut,
    Reason,
    Target,
    by_account,
    by_labels,
    by_service,
    for_istio,
    targets,
)
from analyzers.policy.workloads import Cluster

Callers = Literal["principal", "workload", "either"]


@dataclass(frozen=True, slots=True)
class Maker:
    """How one engine's policies are made.

    Attributes:
        title: the engine's name for people.
        callers: what tells callers apart: their principals, their workloads, or the one that is known first.
        finds: how its policies find a destination.
        usable: why nothing can be made of a call; None = something can.
        documents: of one destination.
        assumed: what is taken to be set where the policies are tried; it is not suggested.
    """

    title: str
    callers: Callers
    finds: Finds
    usable: Callable[[Seen, Cluster], Reason | None]
    documents: Callable[[Target, Cluster], Sequence[dict[str, Any]]]
    assumed: Sequence[dict[str, Any]] = ()


MAKERS: Mapping[str, Maker] = {
    "istio": Maker(
        "Istio",
        "principal",
        for_istio,
        lambda seen, _: istio.usable(seen),
        lambda target, _: istio.documents(target),
    ),
    "kubernetes": Maker("NetworkPolicy", "workload", by_labels, kubernetes.usable, kubernetes.documents),
    "linkerd": Maker(
        "Linkerd",
        "principal",
        by_labels,
        lambda seen, _: linkerd.usable(seen),
        lambda target, _: linkerd.documents(target),
    ),
    "consul": Maker(
        "Consul",
        "principal",
        by_service,
        lambda seen, _: consul.usable(seen),
        lambda target, _: consul.documents(target),
    ),
    "smi": Maker("SMI", "either", by_account, smi.usable, smi.documents, (smi.NOT_PERMISSIVE,)),
}


@dataclass(frozen=True, slots=True)
class Learnt:
    """Policies that let pass what was in order, and nothing else as far as they can say it.

    Attributes:
        documents: by namespace and name.
        closed: destinations where nothing was in order: their policies let nobody in.
        left_out: calls of which nothing was learnt, most first.
    """

    engine: str
    documents: Sequence[dict[str, Any]]
    targets: int
    closed: Sequence[str]
    left_out: Sequence[LeftOut]

    def policies(self) -> PolicySet:
        """The documents as the engine's own reader takes them.

        Raises:
            BadPolicy: it does not; then they are not to be handed out.
        """
        if not self.documents:
            return PolicySet()
        files = {"suggested.yaml": self.documents, "assumed.yaml": MAKERS[self.engine].assumed}
        found = read_set({name: as_yaml(content).encode() for name, content in files.items() if content})
        if found.skipped or len(found.documents) != sum(map(len, files.values())):
            raise BadPolicy(f"{self.engine}: {len(self.documents)} documents made, {len(found.documents)} of them read")
        return found


def learn(engine: str, observed: Observed, namespaces: Collection[str] = ()) -> Learnt:
    """The policies of one engine.

    Args:
        engine: one of `MAKERS`.
        namespaces: of destinations; none = all.
    """
    maker = MAKERS[engine]
    cluster = observed.inventory.cluster
    made, left = targets(observed, maker.finds, lambda seen: maker.usable(seen, cluster), meant(engine, namespaces))
    documents = [document for target in made for document in maker.documents(target, cluster)]
    closed = [f"{target.namespace}/{target.name}" for target in made if not target.learnt]
    return Learnt(engine, documents, len(made), closed, left)


def meant(engine: str, namespaces: Collection[str] = ()) -> Callable[[Place], bool]:
    """Whether an engine decides about calls that arrive at a place of these namespaces; none = all."""
    (governing,) = (one for one in ENGINES if one.name == engine)
    return lambda place: governing.governs(place) and (not namespaces or place.workload.namespace in namespaces)


class _Plain(yaml.SafeDumper):
    """Every object written out: a reader need not follow references."""

    def ignore_aliases(self, data: Any) -> bool:
        """All of them."""
        del data
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text that other readers of YAML may take for a number or a word of theirs stands in quotes."""
    plain = (text[:1].isalpha() and text.lower() not in _WORDS) or text.startswith("/")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_Plain.add_representer(str, _quoted)


def as_yaml(documents: Sequence[dict[str, Any]]) -> str:
    """Documents as YAML; texts from telemetry come out quoted and escaped where they need it."""
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, explicit_start=True, width=100)
