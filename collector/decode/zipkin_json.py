"""`zipkin_json`: Zipkin's v2 spans → `spans`. One span a line, or lists of them (`json_lists`).

Rules that Zipkin's API description (zipkin2-api.yaml) leaves open: a span without `timestamp` begins with its first
annotation, and is a dead letter without any; the name in `remoteEndpoint` outranks what tags say of the peer, its
address does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.contract import MESSAGE
from collector.decode.envelope import Lines
from collector.decode.json_shapes import Shape
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.nested import opened_object
from collector.decode.operators import empty_maps
from collector.decode.otlp.attributes import Attributes, first_text, key_values
from collector.decode.otlp.text import compact_json, map_distinct, names, offsets_of
from collector.decode.otlp.urls import host_of
from collector.decode.span_json import (
    Refusals,
    event_time,
    id_column,
    json_value,
    number_column,
    required,
    start_column,
    text_map,
)
from collector.decode.tagged_spans import NO_NAME, kind_codes, tagged_columns
from collector.decode.values import unsigned

KNOWN: Set[str] = frozenset(
    {
        *("traceId", "id", "parentId", "name", "kind", "timestamp", "duration", "shared", "debug"),
        *("localEndpoint", "remoteEndpoint", "tags", "annotations"),
    }
)
_OTHERS = KNOWN - {"traceId", "id", "name", "debug"}
_ENDPOINT: Set[str] = frozenset({"serviceName", "ipv4", "ipv6", "port"})
_TAGS = msgspec.json.Decoder(dict[str, str])


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a Zipkin span: it has both ids and anything else of a span."""
    return "traceId" in keys and "id" in keys and not keys.isdisjoint(_OTHERS)


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """The spans of one shape as their ids, times and texts; `finish` makes rows of them."""
    refusals = Refusals(len(shape.rows))
    texts = {name: column.text for name, column in shape.columns.items()}
    none = pa.nulls(len(shape.rows), pa.string())
    own = lines.take(shape.rows)
    counts, keys, values = _flat(texts.get("tags", none))
    refusals.add(counts > limits.keys, "tags", texts.get("tags", none), f"at most {limits.keys} of them")
    given = start_column(texts.get("timestamp", none))
    annotations = texts.get("annotations", none)
    columns: dict[str, pa.Array] = {
        "trace_id": required(refusals, "traceId", texts.get("traceId", none), 32),
        "span_id": required(refusals, "id", texts.get("id", none), 16),
        "parent_span_id": id_column(texts.get("parentId", none), 16),
        "start": _starts(refusals, texts.get("timestamp", none), given, annotations),
        "duration_us": number_column(texts.get("duration", none)),
        "name": texts.get("name", none).fill_null(""),
        "_kind": texts.get("kind", none),
        "shared": pc.equal(texts.get("shared", none), "true").fill_null(False).cast(pa.uint8()),
        "_local": texts.get("localEndpoint", none),
        "_remote": texts.get("remoteEndpoint", none),
        "_annotations": annotations,
        "attributes": text_map(counts, keys, values),
        MESSAGE: own.message,
        "_record": own.record,
    }
    return refusals.sound(columns, shape.rows)


def _starts(refusals: Refusals, text: pa.StringArray, given: pa.Array, annotations: pa.StringArray) -> pa.Array:
    """Start times in µs; of a span that has none, that of its first annotation."""
    silent = text.is_null().to_numpy(zero_copy_only=False)
    if silent.any():
        first = [
            min((at for at, _ in _read_annotations(found)), default=None) if silent[row] and found else None
            for row, found in enumerate(annotations.to_pylist())
        ]
        given = pc.coalesce(given, start_column(pa.array(first, pa.int64()).cast(pa.string())))
    refusals.add(
        ~given.is_valid().to_numpy(zero_copy_only=False), "timestamp", text, "µs since 1970, within 1971..2099"
    )
    return given


def _flat(texts: pa.StringArray) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str], list[str]]:
    """The tags of all rows end to end: how many each row has, their keys and texts."""
    filled = texts.fill_null("{}").to_pylist()
    try:
        maps = list(map(_TAGS.decode, filled))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        maps = list(map(_any_tags, filled))
    counts = np.fromiter(map(len, maps), np.int64, len(maps))
    return counts, list(chain.from_iterable(maps)), list(chain.from_iterable(map(dict.values, maps)))


def _any_tags(text: str) -> dict[str, str]:
    """Tags of which some are no text."""
    found = json_value(text)
    if not isinstance(found, dict):
        return {}
    return {key: value if isinstance(value, str) else compact_json(value) for key, value in found.items()}


def _read_annotations(text: str) -> list[tuple[int, str]]:
    """(time in µs, text) of each annotation that has a time."""
    found = json_value(text)
    return [
        (item["timestamp"], value if isinstance(value := item.get("value", ""), str) else compact_json(value))
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, dict) and type(item.get("timestamp")) is int and 0 <= item["timestamp"] < 1 << 62
    ]


def finish(rows: pa.RecordBatch) -> pa.RecordBatch:
    """`spans` rows of everything that was read in one batch."""
    count = rows.num_rows
    maps: pa.MapArray = rows.column("attributes")
    counts = np.diff(maps.offsets.to_numpy())
    attributes = Attributes(key_values(counts, maps.keys, string=maps.items))
    local, remote = _Endpoints(rows.column("_local")), _Endpoints(rows.column("_remote"))
    columns: dict[str, pa.Array] = {
        "ts": rows.column("start").cast(pa.timestamp("us", "UTC")),
        **{name: rows.column(name) for name in ("trace_id", "span_id", "parent_span_id", "duration_us", "shared")},
        "name": rows.column("name"),
        "service": names(local.service),
        "attributes": maps,
        "resource": _resource(local, count),
        "events": map_distinct(rows.column("_annotations"), _events, pa.string()).fill_null(""),
        MESSAGE: rows.column(MESSAGE),
        "_record": rows.column("_record"),
    }
    columns |= tagged_columns(attributes, columns, kind_codes(rows.column("_kind")))
    columns |= _peers(columns, remote)
    return pa.RecordBatch.from_pydict(columns)


class _Endpoints:
    """Columns of endpoints: `service`, `address` (lower case), both `""` where unknown, and `port`, 0 = none."""

    def __init__(self, text: pa.StringArray) -> None:
        found = opened_object(text, _ENDPOINT, DEFAULT_LIMITS)
        none = pa.nulls(len(text), pa.string())
        part = {key: found[key].text if key in found else none for key in _ENDPOINT}
        service = part["serviceName"]
        self.service = pc.if_else(pc.equal(service, NO_NAME), "", service).fill_null("")
        self.address = map_distinct(first_text(part["ipv4"], part["ipv6"]), host_of, pa.string())
        self.port = unsigned(part["port"], pa.uint16(), 65535)[0].fill_null(0)


def _resource(local: _Endpoints, count: int) -> pa.MapArray:
    """The sender's own address, in the words of OpenTelemetry."""
    has_address = pc.not_equal(local.address, "").to_numpy(zero_copy_only=False)
    has_port = pc.greater(local.port, 0).to_numpy(zero_copy_only=False)
    if not has_address.any() and not has_port.any():
        return empty_maps(count)
    said = np.column_stack((has_address, has_port))
    both = pa.concat_arrays([local.address, local.port.cast(pa.string())])
    place = np.arange(count)[:, None] + np.array([0, count])
    keys = pa.array(["host.ip", "host.port"]).take(pa.array(np.tile([0, 1], count)[said.ravel()]))
    offsets = pa.array(offsets_of(said.sum(axis=1)), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, both.take(pa.array(place[said])))


def _events(text: str) -> str:
    """Annotations as `events`. The Collector writes an event with attributes as `NAME|{...}|DROPPED`."""
    found = _read_annotations(text)
    if not found:
        return ""
    events: list[Mapping[str, Any]] = []
    for at, value in found:
        name, _, rest = value.partition("|")
        inner = json_value(rest.rpartition("|")[0]) if rest.startswith("{") else None
        if isinstance(inner, dict):
            attributes = {key: item if isinstance(item, str) else compact_json(item) for key, item in inner.items()}
            events.append({"ts": event_time(at), "name": name, "attributes": attributes})
        else:
            events.append({"ts": event_time(at), "name": value, "attributes": {}})
    return compact_json(events)


def _peers(columns: Mapping[str, pa.Array], remote: _Endpoints) -> dict[str, pa.Array]:
    """The peer: named by the endpoint before the tags, its address by the tags before the endpoint."""

    def tagged(name: str, kind: pa.DataType, empty: Sequence[Any]) -> pa.Array:
        return columns[name].cast(kind) if name in columns else pa.array(empty, kind)

    count = len(remote.service)
    host = tagged("peer_host", pa.string(), [""] * count)
    port = tagged("peer_port", pa.uint16(), [0] * count)
    own_port = pc.and_(pc.greater(remote.port, 0), pc.or_(pc.equal(host, ""), pc.equal(port, 0)))
    return {
        "peer_service": names(first_text(remote.service, tagged("peer_service", pa.string(), [""] * count))),
        "peer_host": first_text(host, remote.address),
        "peer_port": pc.if_else(own_port, remote.port, port),
    }


FORMAT = JsonFormat("zipkin_json", known=KNOWN, recognises=recognises, read=read, finish=finish, table="spans")
