"""Policy files → one set of documents, sorted by the engine that reads them; what no engine reads is counted.

files ──► documents.py ──► an engine's reader ──► PolicySet ──► programs of a place
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from analyzers.policy.documents import Value, listed, read_documents
from analyzers.policy.engines import ENGINES, Place, PolicyEngine
from analyzers.policy.formula import Field, Program, Step, Unknown
from analyzers.policy.settings_document import KINDS as SETTINGS_KINDS
from analyzers.policy.settings_document import MeshSettings
from analyzers.policy.versions import VERSIONS
from analyzers.policy.workloads import Cluster

MAX_DOCUMENTS = 100_000
DEFAULT_NAMESPACE = "default"
SETTINGS = "settings"
"""In place of an engine's name, of MeshSettings."""
UNPLACED = Program((Step(True, Unknown(Field.NAMESPACE), "", ""),), False)
"""Of calls whose callee is in no known namespace."""


@dataclass(frozen=True, slots=True)
class Document:
    """One policy as it was read."""

    engine: str
    kind: str
    namespace: str
    name: str
    file: str
    line: int
    model: Any
    text: str
    """Of this document alone, as YAML."""
    group: str = ""
    """API group, without the version; empty for Consul's own entries."""

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What a later version of the same document shares; `v1` and `v1beta1` are one document."""
        return self.engine, self.group, self.kind, self.namespace, self.name

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}" if self.namespace or self.name else ""

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.file}: line {self.line}"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All documents that hold together.

    Attributes:
        documents: in the order of the files.
        skipped: documents that no engine reads, by kind.
    """

    documents: tuple[Document, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])

    def programs(self, place: Place, cluster: Cluster) -> Sequence[Program]:
        """What decides about calls that arrive at a place: a call must pass all of them."""
        settings = self.settings
        found = (_program(engine, models, place, cluster, settings) for engine, models in self._by_engine())
        return [program for program in found if program is not None]

    @property
    def settings(self) -> MeshSettings:
        """What the meshes are set to, as far as the set's MeshSettings says."""
        return next((one.model for one in self.documents if one.engine == SETTINGS), MeshSettings())

    def with_settings(self, others: PolicySet) -> PolicySet:
        """This set, and where it has no MeshSettings, that of another one."""
        if any(one.engine == SETTINGS for one in self.documents):
            return self
        return replace(self, documents=(*self.documents, *(one for one in others.documents if one.engine == SETTINGS)))

    def _by_engine(self) -> Iterable[tuple[PolicyEngine, Sequence[Any]]]:
        for engine in ENGINES:
            models = [document.model for document in self.documents if document.engine == engine.name]
            if models:
                yield engine, models

    def with_documents(self, others: PolicySet) -> PolicySet:
        """This set and another one, whose documents replace those of the same group, kind, namespace and name."""
        replaced = {document.key for document in others.documents}
        kept = [document for document in self.documents if document.key not in replaced]
        return PolicySet((*kept, *others.documents), dict(Counter(self.skipped) + Counter(others.skipped)))


def _program(
    engine: PolicyEngine, models: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings
) -> Program | None:
    if not engine.governs(place):
        return None
    # Nobody knows whose policies count. Consul's own are not of namespaces.
    lost = not place.workload.namespace and engine.name != "consul"
    return UNPLACED if lost else engine.program(models, place, cluster, settings)


def read_set(files: Mapping[str, bytes], namespace: str = DEFAULT_NAMESPACE) -> PolicySet:
    """The documents of files.

    Args:
        files: content by name.
        namespace: of documents that name none.

    Raises:
        BadPolicy: a file that is none, a document that its own controller would refuse, or one that stands twice.
    """
    documents: list[Document] = []
    skipped: Counter[str] = Counter()
    seen: dict[tuple[str, str, str, str, str], Document] = {}
    for file, content in files.items():
        for value in read_documents(file, content):
            found = _document(value, namespace)
            if found is None:
                skipped[_kind(value)[1] or "no kind"] += 1
                continue
            if found.key in seen:
                what = f"{found.kind} {found.id}".rstrip()
                value.refuse(f"{what} again, first in {seen[found.key].place}")
            seen[found.key] = found
            documents.append(found)
            if len(documents) > MAX_DOCUMENTS:
                value.refuse(f"more than {MAX_DOCUMENTS:,} documents, expected fewer")
    return PolicySet(tuple(documents), dict(skipped))


def _document(value: Value, namespace: str) -> Document | None:
    group, kind = _kind(value)
    if read_settings := SETTINGS_KINDS.get((group, kind)):
        _check_version(value, group, kind)
        # One for all: it has no namespace, and its name does not tell it from another one.
        model = read_settings(value, namespace)
        return Document(SETTINGS, kind, "", "", value.file, value.line, model, _text(value), group)
    for engine in ENGINES:
        reader = engine.kinds.get((group, kind))
        if reader is None:
            continue
        _check_version(value, group, kind)
        model = reader(value, namespace)
        if model is not None:
            named = _named(value)
            return Document(
                engine.name,
                kind,
                getattr(model, "namespace", "") or named[0] or namespace,
                getattr(model, "name", "") or named[1],
                value.file,
                value.line,
                model,
                _text(value),
                group,
            )
    return None


def _kind(value: Value) -> tuple[str, str]:
    """API group and kind, as Kubernetes or as Consul writes it."""
    fields = value.fields()
    kind = fields.get("kind") or fields.get("Kind")
    version = fields.get("apiVersion")
    group = version.text().rpartition("/")[0] if version else ""
    return group, kind.text() if kind else ""


def _check_version(value: Value, group: str, kind: str) -> None:
    """The API server knows no other versions; Consul's own entries have none."""
    said, versions = value.get("apiVersion"), VERSIONS.get((group, kind), ())
    if said is None:
        return
    if not versions:
        said.refuse(f"{said.shown}, expected none: {kind} is no resource of Kubernetes")
    if said.text().rpartition("/")[2] not in versions:
        said.refuse(f"{said.shown}, expected {listed([f'{group}/{one}' if group else one for one in versions])}")


def _named(value: Value) -> tuple[str, str]:
    metadata = value.get("metadata")
    found = metadata.fields() if metadata and metadata.is_map else value.fields()
    texts = [found.get(name) or found.get(name.title()) for name in ("namespace", "name")]
    return tuple(text.text() if text else "" for text in texts)  # pyright: ignore[reportReturnType]


def _text(value: Value) -> str:
    return yaml.serialize(value.node, Dumper=yaml.CSafeDumper)
