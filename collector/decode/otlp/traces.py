"""Spans of OTLP to columns of `spans`.

What the columns take from attributes follows OpenTelemetry's semantic conventions (current, then older names) and the
tags of Envoy's tracers. A client's or producer's peer is the side it calls; a server's or consumer's is its caller.

Treatment of odd spans: an id that is all zero or has another length than 16 and 8 bytes, a start outside 1971..2100 and
an end beyond 2100 make a dead letter; a missing end, or one before the start, gives duration 0; a parent id that is no
id makes a root.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import Limits
from collector.decode.otlp import peers, requests
from collector.decode.otlp.attributes import Attributes, children, first_text, nest
from collector.decode.otlp.records import Records, in_range, microseconds, places, too_many
from collector.decode.otlp.resources import identity_columns
from collector.decode.otlp.text import EMPTY, Indices, hex_ids, joined, json_string, map_distinct, names, utf8

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
_ERROR = 2

ERROR_TAG = ("error",)
ISTIO_NAMESPACE = ("istio.namespace",)
WANTED = frozenset(
    key.encode() for keys in (*requests.WANTED, *peers.WANTED, ERROR_TAG, ISTIO_NAMESPACE) for key in keys
)
"""Keys that must be indexed before `told_by_attributes`."""


def spans(messages: pa.ListArray, limits: Limits) -> Records:
    """Rows of `spans` from messages that `schema.to_arrow("traces", ...)` read."""
    resources, per_message = children(messages)
    scopes, per_resource = children(resources.field("scopes"))
    rows, per_scope = children(scopes.field("records"))
    message, resource, scope = nest((per_message, per_resource, per_scope))

    trace_id, has_trace = hex_ids(rows.field("trace_id"), 16)
    span_id, has_span = hex_ids(rows.field("span_id"), 8)
    start = rows.field("start_time_unix_nano").to_numpy()
    end = rows.field("end_time_unix_nano").to_numpy()
    attributes = Attributes(rows.field("attributes"))
    wrong = {
        "trace_id is not 16 bytes, or all zero": ~has_trace,
        "span_id is not 8 bytes, or all zero": ~has_span,
        "start_time_unix_nano is outside 1971..2100": ~in_range(start),
        "end_time_unix_nano is beyond 2100": (end != 0) & (end > start) & ~in_range(end),
        **too_many(attributes, limits),
    }
    kind = rows.field("kind").to_numpy()
    kind = np.where((kind >= 0) & (kind < len(KINDS)), kind, 0).astype(np.int32)
    code = rows.field("status").field("code").to_numpy(zero_copy_only=False)
    code = np.where((code > 0) & (code < len(STATUSES)), code, 0).astype(np.int32)
    columns: dict[str, pa.Array] = {
        "ts": microseconds(start),
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_span_id": hex_ids(rows.field("parent_span_id"), 8)[0],
        "name": utf8(rows.field("name")),
        "kind": pa.DictionaryArray.from_arrays(kind, list(KINDS)),
        "status": pa.DictionaryArray.from_arrays(code, list(STATUSES)),
        "status_message": pc.coalesce(utf8(rows.field("status").field("message")), EMPTY),
        "duration_us": pa.array(np.where(end > start, end - start, 0) // 1000, pa.uint64()),
        "scope": names(scopes.field("scope").field("name")).take(pa.array(scope)),
        **identity_columns(resources.field("resource"), resource),
        "attributes": attributes.maps(),
        **_events(rows.field("events")),
        **_links(rows.field("links")),
    }
    attributes.index(WANTED)
    columns |= told_by_attributes(attributes, kind, columns)
    columns["error"] = pa.array(((code == _ERROR) | _has_error_tag(attributes)).astype(np.uint8))
    return Records("traces", message, columns, wrong, places(message))


def told_by_attributes(
    attributes: Attributes, kind: npt.NDArray[np.int32], columns: Mapping[str, pa.Array]
) -> dict[str, pa.Array]:
    """Columns that a span's attributes tell, whatever its format: the request, the peer, names that Istio gives.

    Args:
        attributes: of each span, `WANTED` indexed.
        kind: index into `KINDS` of each span.
        columns: the identity columns as far as they are known.
    """
    found = requests.request_columns(attributes)
    found |= peers.peer_columns(attributes, kind)
    return found | _istio_identity(attributes, columns)


def _has_error_tag(attributes: Attributes) -> npt.NDArray[np.bool_]:
    picked = attributes.pick(*ERROR_TAG)
    if not picked.any:
        return np.zeros(attributes.records, bool)
    true = map_distinct(picked.text(), lambda text: text.lower() == "true", pa.bool_())
    return true.fill_null(False).to_numpy(zero_copy_only=False)


def _events(lists: pa.ListArray) -> dict[str, pa.Array]:
    """`events`: [{"ts": ..., "name": ..., "attributes": {...}}]."""
    events, counts = children(lists)
    if not len(events):
        return {}
    ts = microseconds(np.minimum(events.field("time_unix_nano").to_numpy(), np.uint64(2**63 - 1)))
    text = pc.replace_substring(ts.cast(pa.string()), " ", "T")
    items = pc.binary_join_element_wise(
        *('{"ts":"', text, '","name":', json_string(utf8(events.field("name")))),
        *(',"attributes":', Attributes(events.field("attributes")).json_objects(), "}", ""),
    )
    return {"events": _or_empty(joined(items, counts, "[", "]"), counts)}


def _links(lists: pa.ListArray) -> dict[str, pa.Array]:
    """`links`: [{"trace_id": ..., "span_id": ..., "attributes": {...}}]."""
    links, counts = children(lists)
    if not len(links):
        return {}
    items = pc.binary_join_element_wise(
        *('{"trace_id":"', hex_ids(links.field("trace_id"), 16)[0]),
        *('","span_id":"', hex_ids(links.field("span_id"), 8)[0]),
        *('","attributes":', Attributes(links.field("attributes")).json_objects(), "}", ""),
    )
    return {"links": _or_empty(joined(items, counts, "[", "]"), counts)}


def _or_empty(texts: pa.StringArray, counts: Indices) -> pa.StringArray:
    return pc.if_else(pa.array(counts > 0), texts, EMPTY)


def _istio_identity(attributes: Attributes, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Istio names its proxies' service `SERVICE.NAMESPACE` and gives the namespace as a tag of the span."""
    picked = attributes.pick(*ISTIO_NAMESPACE)
    if not picked.any:
        return {}
    tagged = picked.text()
    none = pa.array(np.zeros(attributes.records, np.int32))
    empty = pa.DictionaryArray.from_arrays(none, [""])
    service = columns.get("service", empty).cast(pa.string())
    namespace = first_text(columns.get("namespace", empty).cast(pa.string()), tagged)
    named = pc.binary_join_element_wise(service, tagged, "\n").dictionary_encode()

    def strip(text: str) -> str:
        name, _, of = text.partition("\n")
        return name.removesuffix(f".{of}")

    return {
        "namespace": namespace,
        "service": pc.coalesce(map_distinct(named, strip, pa.string()), service),
    }
