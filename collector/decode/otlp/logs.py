"""Log records of OTLP to the access-log lines they carry, with what the resource says of the pod.

Four forms are lines: a text body (the filelog receiver's, or Istio's OTLP provider), a structured body, attributes
alone (Envoy's own OTLP access logger), and the text of a protobuf entry (the receiver `envoyals`). The latter three are
written as one JSON object and read like any JSON line. A record's own time and trace stand in for what a line lacks; so
do its attributes beside a text body (`record_labels`). Where nobody adds the pod to the resource, the name of the Envoy
node tells it: `sidecar~IP~POD.NAMESPACE~DOMAIN`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.contract import MESSAGE
from collector.decode.envelope import WRITTEN, Lines, split_lines, without_time
from collector.decode.limits import Limits
from collector.decode.operators import TEXT_MAP
from collector.decode.otlp.attributes import Attributes, children, nest
from collector.decode.otlp.envoyals import entry
from collector.decode.otlp.records import Records, in_range, microseconds, places, too_many
from collector.decode.otlp.text import any_value_text, compact_json, hex_ids, map_of, offsets_of, utf8
from collector.decode.record_labels import LABELS
from storage.tables import LOGGED_BIT

_NO_TEXT = "a log record without a line: expected a text body, or an access log's keys in its body or attributes"

# Metadata column -> keys of the resource, best first.
_POD_KEYS = {
    "pod_namespace": ("k8s.namespace.name",),
    "pod_name": ("k8s.pod.name",),
    "pod_ip": ("k8s.pod.ip",),
    "node": ("k8s.node.name", "host.name"),
    "container": ("k8s.container.name",),
    "cluster": ("k8s.cluster.name",),
}
_LABEL_PREFIXES = (b"k8s.pod.labels.", b"k8s.pod.label.")
_FILE = "log.file.path"
_POD_FILE = re.compile(r"/pods/([^/_]+)_([^/_]+)_[^/_]+/([^/]+)/[^/]+$")
# What the receivers filelog and envoyals, the kubelet and Docker say of the record, not of the call.
_NO_LABEL = re.compile(
    r"(?:log|k8s|container|host|service)\..*|host|log|logtag|stream|time|api_version|log_type", re.DOTALL
)
# Istio's id of a node, as Envoy's resource has it, or within the printed node of the receiver envoyals.
_NODE_KEYS = ("node_name", "node")
_NODE = re.compile(r"(?:^|\")(?:sidecar|router|waypoint)~([0-9a-fA-F:.]{2,45})~([a-z0-9.-]{1,253})\.([a-z0-9-]{1,63})~")
_NODE_COLUMNS = ("pod_ip", "pod_name", "pod_namespace")
_FILE_COLUMNS = ("pod_namespace", "pod_name", "container")


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines of log records, and the records without one.

    `records` has columns `trace_id` and `span_id` (hex, '' = none), one row for each record.
    """

    lines: Lines
    records: Records


def log_lines(messages: pa.ListArray, index: Sequence[int], limits: Limits) -> LogLines:
    """The lines in messages that `schema.to_arrow("logs", ...)` read; `index` is each message's index in the batch."""
    resources, per_message = children(messages)
    scopes, per_resource = children(resources.field("scopes"))
    rows, per_scope = children(scopes.field("records"))
    message, resource, _ = nest((per_message, per_resource, per_scope))
    count = len(rows)
    number = places(message)

    attributes = Attributes(rows.field("attributes"))
    attributes.index(frozenset({_FILE.encode(), b"api_version", b"log_type"}))
    bodies = rows.field("body")
    text = bodies.field("string").cast(pa.large_binary())
    needs_object = pc.equal(pc.binary_length(text), 0).fill_null(True).to_numpy(zero_copy_only=False)
    als = attributes.pick("api_version").present & attributes.pick("log_type").present & ~needs_object
    if als.any():
        where = np.flatnonzero(als)
        printed = utf8(bodies.field("string").take(pa.array(where))).to_pylist()
        objects = [body.encode() if (log := entry(body)) is None else compact_json(log).encode() for body in printed]
        text = pc.replace_with_mask(text, pa.array(als), pa.array(objects, pa.large_binary()))
    if needs_object.any():
        where = np.flatnonzero(needs_object)
        objects = _objects(rows, attributes, where)
        text = pc.replace_with_mask(text, pa.array(needs_object), pa.array(objects, pa.large_binary()))

    uptimes = without_time(text)
    found = split_lines(text)
    owner = found.message.to_numpy()
    without = np.ones(count, bool)
    without[owner] = False
    metadata = _pod_of_resources(resources.field("resource"), resource)
    picked = attributes.pick(_FILE)
    if picked.any:
        metadata = _pod_of_files(picked.text(), metadata)
    labels = _labels(attributes, ~(needs_object | als))
    if labels is not None:
        metadata[LABELS] = labels
    if len(uptimes):
        metadata[WRITTEN] = _times(rows, uptimes, count)
    rows_of = pa.array(owner)
    lines = Lines(
        found.spans,
        pa.array(np.array(index, np.int32)[message[owner]], pa.int32()),
        pa.array(number[owner], pa.int32()),
        {name: column.take(rows_of) for name, column in metadata.items()},
    )
    columns = {
        "trace_id": hex_ids(rows.field("trace_id"), 16)[0],
        "span_id": hex_ids(rows.field("span_id"), 8)[0],
    }
    wrong = {_NO_TEXT: without, **too_many(attributes, limits)}
    return LogLines(lines, Records("logs", message, columns, wrong, number))


def _times(rows: Any, where: npt.NDArray[np.int64], count: int) -> pa.StringArray:
    """The time of the records `where` as text, null for all others and for those without one."""
    nanoseconds = rows.field("time_unix_nano").to_numpy()[where]
    text = pc.replace_substring(microseconds(nanoseconds).cast(pa.string()), " ", "T")
    told = np.full(count, -1, np.int64)
    told[where] = np.where(in_range(nanoseconds), np.arange(len(where)), -1)
    return text.take(pa.array(told, mask=told < 0))


def _labels(attributes: Attributes, where: npt.NDArray[np.bool_]) -> pa.MapArray | None:
    """What the attributes of the records `where` say of their lines; None where there is nothing."""
    if not len(attributes.key) or not where.any():
        return None
    keys = utf8(attributes.key).dictionary_encode()
    is_label = np.array([_NO_LABEL.fullmatch(key) is None for key in keys.dictionary.to_pylist()], np.bool_)
    chosen = is_label[keys.indices.to_numpy()] & where[attributes.owner]
    if not chosen.any():
        return None
    at = pa.array(np.flatnonzero(chosen))
    counts = np.bincount(attributes.owner[chosen], minlength=attributes.records)
    offsets = pa.array(offsets_of(counts), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys.take(at).cast(pa.string()), attributes.text.take(at))


def _objects(rows: Any, attributes: Attributes, where: npt.NDArray[np.int64]) -> list[bytes]:
    """A JSON object for each of the records `where`, from its structured body and attributes; b'' where both lack."""
    chosen = pa.array(where)
    bodies = rows.field("body").field("kvlist").take(chosen).to_pylist()
    scalars = any_value_text(rows.field("body").take(chosen)).to_pylist()
    maps = attributes.maps().take(chosen).to_pylist()
    nanoseconds = rows.field("time_unix_nano").to_numpy()[where]
    times = pc.replace_substring(microseconds(nanoseconds).cast(pa.string()), " ", "T").to_pylist()
    objects: list[bytes] = []
    for body, scalar, pairs, time, sound in zip(
        bodies, scalars, maps, times, in_range(nanoseconds).tolist(), strict=True
    ):
        inner = map_of(body) if body is not None else None
        if isinstance(inner, dict) and isinstance(inner.get("log"), str) and inner["log"].strip():
            objects.append(compact_json({**inner}).encode())
            continue
        merged: dict[str, Any] = {**dict(pairs), **(inner or {})}
        if not merged:
            objects.append(scalar.encode() if body is None else b"")
            continue
        if sound and not {"start_time", "timestamp", "@timestamp", "time", "ts"} & merged.keys():
            merged["start_time"] = time
        if sound and str(merged.get("timestamp", "")).startswith("["):
            merged.setdefault("time", time)  # Linkerd's own log tells how long its proxy has been running
        objects.append(compact_json(merged).encode())
    return objects


def _pod_of_resources(resources: pa.StructArray, of_row: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    attributes = Attributes(resources.field("attributes"))
    attributes.index(frozenset(key.encode() for keys in (*_POD_KEYS.values(), _NODE_KEYS) for key in keys))
    rows = pa.array(of_row)
    found = {name: attributes.pick(*keys) for name, keys in _POD_KEYS.items()}
    columns = {name: picked.text() for name, picked in found.items() if picked.any}
    node = attributes.pick(*_NODE_KEYS)
    if node.any:
        _add_node(columns, node.text())
    columns = {name: column.take(rows) for name, column in columns.items()}
    for prefix in _LABEL_PREFIXES:
        if pc.any(pc.starts_with(attributes.key, prefix)).as_py():
            is_label = pc.starts_with(attributes.key, prefix)
            owner = attributes.owner[is_label.to_numpy(zero_copy_only=False)]
            offsets = offsets_of(np.bincount(owner, minlength=attributes.records))
            labels = pa.MapArray.from_arrays(
                pa.array(offsets, pa.int32()),
                pc.utf8_slice_codeunits(utf8(attributes.key.filter(is_label)), len(prefix)),
                attributes.text.filter(is_label),
            )
            columns["pod_labels"] = labels.cast(TEXT_MAP).take(rows)
            break
    return columns


def _add_node(columns: dict[str, pa.Array], nodes: pa.StringArray) -> None:
    """The pod of Istio's nodes, for resources that do not name theirs."""
    matches = [None if node is None else _NODE.search(node) for node in nodes.to_pylist()]
    named = columns["pod_name"].is_valid() if "pod_name" in columns else pa.array(np.zeros(len(nodes), np.bool_))
    for place, name in enumerate(_NODE_COLUMNS, 1):
        told = pa.array([None if m is None else m[place] for m in matches], pa.string())
        told = pc.if_else(named, pa.scalar(None, pa.string()), told)
        columns[name] = pc.coalesce(columns[name], told) if name in columns else told


def _pod_of_files(paths: pa.StringArray, metadata: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """What the kubelet's file names (/var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log) say and the resource does not."""
    encoded = paths.dictionary_encode()
    matches = [_POD_FILE.search(path) for path in encoded.dictionary.to_pylist()]
    for place, name in enumerate(_FILE_COLUMNS, 1):
        texts = pa.array([None if m is None else m[place] for m in matches], pa.string()).take(encoded.indices)
        if texts.null_count < len(texts):
            metadata[name] = pc.coalesce(metadata[name], texts) if name in metadata else texts
    return metadata


def with_trace(calls: pa.RecordBatch, records: Records, index: Sequence[int]) -> pa.RecordBatch:
    """`calls` with the trace and span of their log records where the lines name none.

    A record's own trace context was carried with the line, so it counts as logged.
    """
    known = pc.not_equal(records.columns["trace_id"], "")
    if not pc.any(known).as_py() or "_record" not in calls.schema.names:
        return calls
    # A row of `calls` belongs to the record with the same message and number; both ascend together.
    places = np.array(index, np.int64)[records.message] << 32 | records.record
    wanted = calls.column(MESSAGE).to_numpy().astype(np.int64) << 32 | calls.column("_record").to_numpy()
    rows = pa.array(np.searchsorted(places, wanted))
    logged = calls.column("logged").to_numpy()
    for name in ("trace_id", "span_id"):
        given = records.columns[name].take(rows)
        at = calls.schema.get_field_index(name)
        own = calls.column(at) if at >= 0 else pa.nulls(len(rows), pa.string())
        filled = pc.and_(pc.equal(pc.coalesce(own, ""), ""), pc.not_equal(given, ""))
        column = pc.if_else(filled, given, own)
        calls = calls.set_column(at, name, column) if at >= 0 else calls.append_column(name, column)
        bit = np.uint64(1 << LOGGED_BIT[name])
        logged = np.where(filled.to_numpy(zero_copy_only=False), logged | bit, logged)
    return calls.set_column(calls.schema.get_field_index("logged"), "logged", pa.array(logged, pa.uint64()))
