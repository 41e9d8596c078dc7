"""Documents for the checks: what triggers each, and what comes close and does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from analyzers.policy import settings_document
from analyzers.policy.consul import read as consul
from analyzers.policy.documents import read_documents
from analyzers.policy.istio import engine as istio
from analyzers.policy.kubernetes import read as kubernetes
from analyzers.policy.linkerd import engine as linkerd
from analyzers.policy.lint.model import Check, Remark
from analyzers.policy.lint.run import lint
from analyzers.policy.policy_set import Document, PolicySet
from analyzers.policy.smi import read as smi

FILE = "given.yaml"
KINDS: Mapping[str, Mapping[tuple[str, str], Any]] = {
    "istio": istio.KINDS,
    "linkerd": linkerd.KINDS,
    "consul": consul.KINDS,
    "smi": smi.KINDS,
    "kubernetes": kubernetes.KINDS,
    "settings": settings_document.KINDS,
}
Object = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What a check finds, at `field`, and what it leaves alone.

    Attributes:
        finds: documents with one remark of the check, at least.
        leaves: documents that come close, with none.
    """

    check: Check
    field: str
    finds: Sequence[Object]
    leaves: Sequence[Object]

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.check.id}-{self.field}"


class _Plain(yaml.SafeDumper):
    """Objects that stand twice are written twice, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        del data
        return True


def read(*objects: Object) -> tuple[PolicySet, Mapping[str, bytes]]:
    """The set of objects as their engines read them, and the file in which they stand."""
    content = yaml.dump_all(objects, Dumper=_Plain, sort_keys=False).encode()
    documents: list[Document] = []
    for value in read_documents(FILE, content) if objects else ():
        fields = value.fields()
        kind = (fields.get("kind") or fields["Kind"]).text()
        version = fields.get("apiVersion")
        group = version.text().rpartition("/")[0] if version else ""
        readers = [(name, kinds[group, kind]) for name, kinds in KINDS.items() if (group, kind) in kinds]
        read_by = ((name, reader(value, "default")) for name, reader in readers)
        engine, model = next((name, model) for name, model in read_by if model is not None)
        text = yaml.serialize(value.node)
        documents.append(
            Document(
                engine,
                kind,
                getattr(model, "namespace", ""),
                getattr(model, "name", ""),
                FILE,
                value.line,
                model,
                text,
            )
        )
    return PolicySet(tuple(documents)), {FILE: content} if objects else {}


def remarks(*objects: Object, ambient: bool | None = None) -> Sequence[Remark]:
    """What is said of them."""
    policies, contents = read(*objects)
    return lint(policies, contents=contents, ambient=ambient).remarks


def of(check: Check, objects: Sequence[Object]) -> Sequence[Remark]:
    """What a check says of them."""
    return [one for one in remarks(*objects) if one.check == check.id]


def holds(case: Case) -> None:
    """The case's remarks are those that it expects, in plain sentences."""
    found = of(case.check, case.finds)
    assert case.field in {one.field for one in found}, [one.field for one in remarks(*case.finds)]
    assert of(case.check, case.leaves) == []
    for one in found:
        assert one.file == FILE
        assert one.line >= 1
        assert ": " in one.message, "it says what to write instead"
        assert "\n" not in one.message
        assert len(one.message) < 500
