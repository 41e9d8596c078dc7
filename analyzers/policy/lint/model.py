"""What a check says of a document, and the documents as checks see them: with the line of each field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import yaml

from analyzers.policy.documents import Value, read_documents
from analyzers.policy.policy_set import Document

Severity = Literal["error", "warning", "note"]
"""`error`: it does not do what it says. `warning`: it does more, or less, than who writes so expects. `note`: what is
good to know."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The worst first."""
MAX_SHOWN = 80
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked for.

    Attributes:
        id: stable, for those who want to leave it out.
        severity: of its remarks, where they do not say another one.
        what: it finds, in a few words.
    """

    id: str
    severity: Severity
    what: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What one check found at one place.

    Attributes:
        check: its id.
        file, line: where; empty and 0 where it is about no document.
        kind, namespace, name: of the document, or of the workload or namespace that it is about.
        field: from the document's root, such as `spec.rules[0].to[0].operation.hosts[1]`; empty = all of it.
        message: what happens, and what to write instead.
    """

    check: str
    severity: Severity
    file: str
    line: int
    kind: str
    namespace: str
    name: str
    field: str
    message: str

    def to_document(self) -> dict[str, Any]:
        """The remark as JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Subject:
    """A document that is looked at."""

    document: Document
    root: Value | None = None
    """Its own values; None where not even its text is at hand."""
    in_file: bool = False
    """Whether `root` stands in the document's file; if not, all fields have the document's line."""

    @property
    def model(self) -> Any:
        """What the engine's reader made of it."""
        return self.document.model

    def remark(self, check: Check, field: str, message: str, severity: Severity | None = None) -> Remark:
        """What `check` found at `field`."""
        line = deepest(self.root, field).line if self.root is not None and self.in_file else self.document.line
        one = self.document
        return Remark(
            check.id, severity or check.severity, one.file, line, one.kind, one.namespace, one.name, field, message
        )


def found_at(value: Value | None, path: str) -> Value | None:
    """The value at a path of fields, such as `spec.rules[0]`; None where there is none."""
    for name, number in _STEP.findall(path):
        value = _below(value, name, number) if value is not None else None
    return value


def deepest(value: Value, path: str) -> Value:
    """The value at a path, or the last one on the way that is there."""
    for name, number in _STEP.findall(path):
        below = _below(value, name, number)
        if below is None:
            break
        value = below
    return value


def _below(value: Value, name: str, number: str) -> Value | None:
    if name:
        return _field(value, name) if value.is_map else None
    if not isinstance(value.node, yaml.SequenceNode) or int(number) >= len(value.node.value):
        return None
    # Not by way of all items: of a long list each remark would make them again.
    return Value(value.file, value.node.value[int(number)], f"{value.field}[{number}]")


def _field(value: Value, name: str) -> Value | None:
    """Consul's fields are the same in any case and with underscores."""
    fields = value.fields()
    same = (one for key, one in fields.items() if _bare(key) == _bare(name))
    return fields.get(name) or next(same, None)


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def subjects(documents: Sequence[Document], contents: Mapping[str, bytes]) -> Sequence[Subject]:
    """Documents with where they stand.

    Args:
        contents: of their files by name, as far as these are at hand; what cannot be read is not.

    Raises:
        analyzers.policy.errors.BadPolicy: a file that the documents cannot come from.
    """
    roots = {file: _Roots(file, content) for file, content in contents.items()}
    found: list[Subject] = []
    for one in documents:
        root = roots[one.file].of(one) if one.file in roots else None
        found.append(Subject(one, root, True) if root is not None else Subject(one, _of_text(one)))
    return found


def _of_text(document: Document) -> Value | None:
    if not document.text:
        return None
    return next(iter(read_documents(document.file, document.text.encode())), None)


@dataclass
class _Roots:
    """The documents of a file in their order; several may begin in one line."""

    file: str
    content: bytes
    _left: Iterator[Value] | None = field(default=None)

    def of(self, document: Document) -> Value | None:
        """The next value that begins where the document does and bears its kind and name."""
        self._left = self._left or iter(read_documents(self.file, self.content))
        return next((value for value in self._left if value.line == document.line and _is(value, document)), None)


def _is(value: Value, document: Document) -> bool:
    kind, metadata = _field(value, "kind"), value.get("metadata")
    name = _field(metadata, "name") if metadata is not None and metadata.is_map else _field(value, "name")
    return (
        kind is not None
        and kind.is_text
        and kind.text() == document.kind
        and (name is None or not name.is_text or name.text() in ("", document.name))
    )


def shown(text: str) -> str:
    """A text of a policy for a message."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..")
