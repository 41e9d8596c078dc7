"""Google Cloud Logging's entries of containers as envelopes: a proxy's line is their `jsonPayload` or `textPayload`.

    {"jsonPayload": {...}, "resource": {"labels": {...}}, "labels": {"k8s-pod/app": ...}} ──► the line, and its pod

The traffic logs of Cloud Service Mesh have a `textPayload` too, for connections; their name tells them apart.

Source: Cloud Logging, "LogEntry", and the monitored resource `k8s_container`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.operators import METADATA
from collector.decode.spans import Mask
from collector.decode.values import present

KEYS: Set[str] = frozenset({"jsonPayload", "textPayload", "resource", "labels"})
"""Keys of an entry that are read."""
_CONTAINER_LOG = r"/logs/(?:stdout|stderr)$"

_NAMES: Mapping[str, str] = {
    "pod_namespace": "namespace_name",
    "pod_name": "pod_name",
    "container": "container_name",
    "cluster": "cluster_name",
}
_POD_LABEL = "k8s-pod/"
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def is_container_log(keys: Set[str]) -> bool:
    """Whether an object with these keys is an entry that holds a line, whatever its log."""
    return "resource" in keys and ("jsonPayload" in keys or ("textPayload" in keys and "logName" not in keys))


def holds_text(shape: Shape) -> Mask | None:
    """Which entries hold a line of a container as text; None = none of them."""
    columns = shape.columns
    if not {"textPayload", "logName", "resource"} <= columns.keys():
        return None
    name = columns["logName"].text
    held = pc.match_substring_regex(name, _CONTAINER_LOG).fill_null(False).to_numpy(zero_copy_only=False)
    held &= present(columns["textPayload"].text)
    return held if held.any() else None


def metadata_of(columns: Mapping[str, JsonColumn]) -> dict[str, pa.Array]:
    """The metadata columns of entries; none for anything that has no payload."""
    if "resource" not in columns or columns.keys().isdisjoint(("jsonPayload", "textPayload")):
        return {}
    found = {name: _mapped(columns["resource"], name, _named(key)) for name, key in _NAMES.items()}
    if "labels" in columns:
        found["pod_labels"] = _mapped(columns["labels"], "pod_labels", _pod_labels)
    return found


def _mapped(column: JsonColumn, name: str, value: Callable[[dict[str, Any]], Any]) -> pa.Array:
    """`value` of every row's object, worked out once per distinct one: few pods write many entries."""
    distinct = column.text.dictionary_encode()
    values = [value(_object(text)) for text in distinct.dictionary.to_pylist()]
    return pa.array(values, METADATA.field(name).type).take(distinct.indices)


def _object(text: str) -> dict[str, Any]:
    try:
        return _OBJECT.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {}


def _named(key: str) -> Callable[[dict[str, Any]], str | None]:
    def value(resource: dict[str, Any]) -> str | None:
        labels = resource.get("labels")
        name = labels.get(key) if isinstance(labels, dict) else None
        return name if isinstance(name, str) and name else None

    return value


def _pod_labels(labels: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name.removeprefix(_POD_LABEL), value)
        for name, value in labels.items()
        if name.startswith(_POD_LABEL) and isinstance(value, str)
    ]
