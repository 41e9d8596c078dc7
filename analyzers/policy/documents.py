"""Policy files → documents that know the line of each of their values.

`kubectl get ... -o yaml|json` and `consul config read` print YAML or JSON; people concatenate documents and lists. JSON
is read as what it nearly always is, YAML (`storage/yaml_nodes.py` says what of YAML is refused); several documents
of it may follow each other without a separator, each from a new line on.

Whatever is wrong is told with file, line and field, and with what is allowed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from analyzers.policy.errors import BadPolicy
from storage.yaml_nodes import BOOL, FLOAT, INTEGER, NULL, TEXT, BadYaml, compose

MAX_BYTES = 64 << 20
MAX_VALUES = 2_000_000
"""Of one file; each takes some 15 µs and half a kilobyte."""
MAX_SHOWN = 60
"""Characters of a value that a message repeats."""
MANY = 12
"""Names that a message lists."""

_TRUE, _FALSE = frozenset({"true", "yes", "on"}), frozenset({"false", "no", "off"})
_DIGITS = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
"""Whole numbers that every reader takes for the same one: to Kubernetes' 010 is eight, to others ten."""
_NEXT_JSON = re.compile(r"(?<=[}\]])\s*\n(?=[{\[])")
"""Between two documents of JSON; within one there is a comma."""
_OTHERS_READ = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
"""What without quotes is text to PyYAML, and a number to Kubernetes' reader, which lets `_` go before."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a document: where it stands, and typed views of it that refuse what is of another type."""

    file: str
    node: Any
    """As composed by PyYAML."""
    field: str = ""
    """From the document's root, such as `spec.rules[0].from`."""

    @property
    def line(self) -> int:
        """The first one is 1."""
        return self.node.start_mark.line + 1

    @property
    def place(self) -> str:
        """File, line and field."""
        return f"{self.file}: line {self.line}: {self.field}" if self.field else f"{self.file}: line {self.line}"

    def refuse(self, why: str) -> NoReturn:
        """Say what is wrong with this value, and what is expected.

        Raises:
            BadPolicy: always.
        """
        raise BadPolicy(f"{self.place}: {why}")

    @property
    def is_null(self) -> bool:
        """`null`, `~` or nothing at all."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == NULL

    @property
    def is_text(self) -> bool:
        """A text to Kubernetes' reader, with quotes or without."""
        return isinstance(self.node, yaml.ScalarNode) and _is_text(self.node)

    @property
    def is_map(self) -> bool:
        """An object, empty or not."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def shown(self) -> str:
        """What stands here, for a message."""
        if isinstance(self.node, yaml.MappingNode):
            return "an object"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        if _is_text(self.node):
            return repr(self.node.value[:MAX_SHOWN])
        return "null" if self.is_null else str(self.node.value)[:MAX_SHOWN]

    # Views. A null is what a missing key is, as for the API server.

    def fields(self, *allowed: str) -> Mapping[str, Value]:
        """The fields of an object by name, without those that are null; with `allowed`, any other is refused."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"{self.shown}, expected an object")
        found: dict[str, Value] = {}
        for key, node in self.node.value:
            value = Value(self.file, node, f"{self.field}.{key.value}" if self.field else key.value)
            if allowed and key.value not in allowed:
                value.refuse(f"unknown field, expected {listed(allowed)}")
            if not value.is_null:
                found[key.value] = value
        return found

    def get(self, name: str) -> Value | None:
        """One field of an object; None where it is missing or null."""
        return self.fields().get(name)

    def items(self) -> Sequence[Value]:
        """The items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse(f"{self.shown}, expected a list")
        return [Value(self.file, node, f"{self.field}[{at}]") for at, node in enumerate(self.node.value)]

    def text(self) -> str:
        """A text; a number or `true` that stands without quotes is none, as for the API server."""
        if not self.is_text:
            quotes = isinstance(self.node, yaml.ScalarNode) and self.node.tag == TEXT
            self.refuse(f"{self.shown}, expected text{' in quotes' if quotes else ''}")
        return self.node.value

    def one_of(self, *allowed: str) -> str:
        """A text that is one of these."""
        text = self.text()
        if text not in allowed:
            self.refuse(f"{self.shown}, expected {listed(allowed)}")
        return text

    def texts(self) -> Sequence[str]:
        """A list of texts."""
        return [item.text() for item in self.items()]

    def boolean(self) -> bool:
        """True or false."""
        said = self.node.value.lower() if isinstance(self.node, yaml.ScalarNode) and self.node.tag == BOOL else ""
        if said not in _TRUE | _FALSE:
            self.refuse(f"{self.shown}, expected true or false")
        return said in _TRUE

    def integer(self, low: int, high: int) -> int:
        """A whole number within bounds, in the form that every reader takes for the same one."""
        expected = f"expected a whole number of {low} to {high}"
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag == INTEGER:
            if not _DIGITS.fullmatch(self.node.value):
                self.refuse(f"{self.shown}, {expected}, in plain digits without a 0 before them")
            if low <= int(self.node.value) <= high:
                return int(self.node.value)
        return self.refuse(f"{self.shown}, {expected}")

    def entries(self) -> Mapping[str, Value]:
        """What an object holds by names that people choose, such as labels; with those that are null."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"{self.shown}, expected an object")
        found: dict[str, Value] = {}
        for key, node in self.node.value:
            value = Value(self.file, node, f"{self.field}.{key.value}" if self.field else key.value)
            # Kubernetes' reader makes `true` of `on` and `y`, 1.1 of 1.10, 8 of 010.
            same = _is_text(key) and (key.style or key.value not in ("y", "Y", "n", "N"))
            if not same and not _DIGITS.fullmatch(key.value):
                value.refuse(f"name {key.value[:MAX_SHOWN]} without quotes, expected it in quotes")
            found[key.value] = value
        return found

    def text_map(self, null: str | None = None) -> Mapping[str, str]:
        """An object whose values are texts, such as labels.

        Args:
            null: what is read where one is null: the empty text in Kubernetes' own kinds. None refuses it, as the
                API server does in all others.
        """
        entries = self.entries().items()
        return {name: null if value.is_null and null is not None else value.text() for name, value in entries}

    def plain(self) -> Any:
        """Everything below as Python's own values: what the text says, whatever the type that is meant."""
        if isinstance(self.node, yaml.MappingNode):
            return {name: value.plain() for name, value in self.fields().items()}
        if isinstance(self.node, yaml.SequenceNode):
            return [value.plain() for value in self.items()]
        if self.node.tag == BOOL:
            return self.node.value.lower() in _TRUE
        return None if self.is_null else self.node.value


def _is_text(node: Any) -> bool:
    """Whether a scalar is text to Kubernetes' reader (sigs.k8s.io/yaml), whose rules differ from PyYAML's."""
    if node.tag in (INTEGER, FLOAT):
        # To that reader 1:30 is no number of base sixty.
        return ":" in node.value and not node.style
    if node.tag != TEXT or node.style or not node.value or node.value[0] not in "+-.0123456789":
        return bool(node.tag == TEXT)
    return not _OTHERS_READ.fullmatch(node.value.replace("_", ""))


def listed(names: Iterable[str]) -> str:
    """Names for a message: `a, b or c`."""
    shown = list(names)
    if len(shown) > MANY:
        shown = [*shown[:MANY], f"{len(shown) - MANY} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def read_documents(file: str, content: bytes) -> Iterator[Value]:
    """The objects of a file in their order, lists (`kind: List`, JSON arrays) flattened, empty documents left out.

    Args:
        file: its name, for messages.
        content: YAML or JSON, UTF-8 (a byte order mark is skipped).

    Raises:
        BadPolicy: not readable as such, or nothing in it; says where.
    """
    if len(content) > MAX_BYTES:
        raise BadPolicy(f"{file}: {len(content) >> 20} MiB, expected at most {MAX_BYTES >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{file}: byte {error.start} is not UTF-8, expected YAML or JSON") from None
    found = 0
    try:
        for root in compose(_parted(text), "YAML or JSON", MAX_VALUES):
            for document in _flat(Value(file, root), 0):
                found += 1
                yield document
    except BadYaml as error:
        raise BadPolicy(f"{file}: {error}") from None
    if not found:
        raise BadPolicy(f"{file}: nothing in it, expected policies as YAML or JSON")


def _parted(text: str) -> str:
    """JSON documents that stand one after the other, as several `consul config read` print them, told apart for YAML.

    No line gets another number.
    """
    return _NEXT_JSON.sub(r"\g<0>--- ", text) if text.lstrip()[:1] in ("{", "[") else text


def _flat(value: Value, depth: int) -> Iterator[Value]:
    if value.is_null:
        return
    if depth > 4:
        value.refuse("lists of lists, expected an object")
    if isinstance(value.node, yaml.SequenceNode):
        for item in value.items():
            yield from _flat(item, depth + 1)
        return
    fields = value.fields()
    kind = fields.get("kind") or fields.get("Kind")
    items = fields.get("items")
    if kind is not None and items is not None and kind.text().endswith("List"):
        for item in items.items():
            yield from _flat(item, depth + 1)
        return
    yield Value(value.file, value.node)
