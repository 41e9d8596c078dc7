"""What was seen → the policies of one engine, as objects and as YAML that is read back.

Observed ──► targets ──► an engine's documents ──► YAML ──► read_set
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from analyzers.policy.engines import ENGINES, Place
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.suggest import istio, kubernetes
from analyzers.policy.suggest.observed import Observed, Seen
from analyzers.policy.suggest.targets import LeftOut, Reason, Target, targets
from analyzers.policy.workloads import Cluster


@dataclass(frozen=True, slots=True)
class Maker:
    """How one engine's policies are made.

    Attributes:
        title: the engine's name for people.
        by_identity: callers are told apart by their principals, else by their workloads.
        usable: why nothing can be made of a call; None = something can.
        documents: of one destination.
    """

    title: str
    by_identity: bool
    usable: Callable[[Seen, Cluster], Reason | None]
    documents: Callable[[Target, Cluster], Sequence[dict[str, Any]]]


MAKERS: Mapping[str, Maker] = {
    "istio": Maker("Istio", True, lambda seen, _: istio.usable(seen), lambda target, _: istio.documents(target)),
    "kubernetes": Maker("NetworkPolicy", False, kubernetes.usable, kubernetes.documents),
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
        found = read_set({"suggested.yaml": as_yaml(self.documents).encode()})
        if found.skipped or len(found.documents) != len(self.documents):
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
    made, left = targets(
        observed, lambda seen: maker.usable(seen, cluster), lambda place: governs(engine, place), namespaces
    )
    documents = [document for target in made for document in maker.documents(target, cluster)]
    closed = [f"{target.namespace}/{target.name}" for target in made if not target.learnt]
    return Learnt(engine, documents, len(made), closed, left)


def governs(engine: str, place: Place) -> bool:
    """Whether an engine decides about calls that arrive there."""
    return any(one.governs(place) for one in ENGINES if one.name == engine)


class _Plain(yaml.SafeDumper):
    """Every object written out: a reader need not follow references."""

    def ignore_aliases(self, data: Any) -> bool:
        """All of them."""
        del data
        return True


def as_yaml(documents: Sequence[dict[str, Any]]) -> str:
    """Documents as YAML; texts from telemetry come out quoted and escaped where they need it."""
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, explicit_start=True, width=100)
