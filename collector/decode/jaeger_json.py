"""`jaeger_json`: Jaeger's spans in JSON → `spans`, in the three ways in which they are written.

- by the Collector's Kafka exporter, one span a message: protobuf's JSON mapping of `jaeger.api_v2.Span` with ids in
  base64, times in RFC 3339 and tags as `{"key", "vType", "vStr" | "vBool" | "vInt64" | "vFloat64" | "vBinary"}`;
- by Jaeger's UI and query API: `{"data": [{"traceID", "spans", "processes"}]}`, which `json_lists` opens into spans
  with their process, ids in hex, times in µs and tags as `{"key", "type", "value"}`;
- by Jaeger's Elasticsearch storage, one span a line with its process, otherwise as the UI has it.

The parent is the first reference of the same trace that is a `CHILD_OF`, else the first that is a `FOLLOWS_FROM`; the
other references become `links`. The process is the resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.contract import MESSAGE
from collector.decode.envelope import Lines
from collector.decode.jaeger_spans import named, parents_and_links, process_columns
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.otlp.attributes import Attributes, key_values
from collector.decode.otlp.text import compact_json, map_distinct
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
from collector.decode.tagged_spans import tagged_columns
from collector.decode.values import numbers, times
from collector.trace_ids import SPAN_WIDTH, TRACE_WIDTH

_EITHER: Mapping[str, tuple[str, ...]] = {
    "trace_id": ("traceID", "traceId"),
    "span_id": ("spanID", "spanId"),
    "parent_span_id": ("parentSpanID", "parentSpanId"),
}
KNOWN: Set[str] = frozenset(
    {
        *(key for keys in _EITHER.values() for key in keys),
        *("operationName", "references", "startTime", "duration", "tags", "logs", "process"),
        *("flags", "processID", "processId", "warnings", "startTimeMillis"),
    }
)


class _Tag(msgspec.Struct, rename="camel", gc=False):
    """A tag in either form; of the values at most one is there."""

    key: str = ""
    value: Any = None
    v_type: Any = None
    v_str: Any = None
    v_bool: Any = None
    v_int64: Any = None
    v_float64: Any = None
    v_binary: Any = None


_TAGS = msgspec.json.Decoder(list[_Tag])

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO_OF: Mapping[str, str] = {"BOOL": "false", "INT64": "0", "FLOAT64": "0"}


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a Jaeger span."""
    return "operationName" in keys and not keys.isdisjoint(_EITHER["span_id"])


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """The spans of one shape as their ids, times and texts; `finish` makes rows of them."""
    rows = len(shape.rows)
    refusals = Refusals(rows)
    none = pa.nulls(rows, pa.string())

    def text(*keys: str) -> pa.StringArray:
        return next((shape.columns[key].text for key in keys if key in shape.columns), none)

    own = lines.take(shape.rows)
    counts, keys, values = _flat(text("tags"))
    refusals.add(counts > limits.keys, "tags", text("tags"), f"at most {limits.keys} of them")
    columns: dict[str, pa.Array] = {
        "trace_id": required(refusals, "traceID", text(*_EITHER["trace_id"]), TRACE_WIDTH),
        "span_id": required(refusals, "spanID", text(*_EITHER["span_id"]), SPAN_WIDTH),
        "_parent": id_column(text(*_EITHER["parent_span_id"]), SPAN_WIDTH),
        "_references": text("references"),
        "start": _starts(refusals, shape.columns.get("startTime"), rows),
        "duration_us": _durations(shape.columns.get("duration"), rows),
        "name": text("operationName").fill_null(""),
        "_process": text("process"),
        "_logs": text("logs"),
        "attributes": text_map(counts, keys, values),
        MESSAGE: own.message,
        "_record": own.record,
    }
    return refusals.sound(columns, shape.rows)


def _starts(refusals: Refusals, given: JsonColumn | None, rows: int) -> pa.Array:
    """Start times in µs, from a number of µs or RFC 3339."""
    text = pa.nulls(rows, pa.string()) if given is None else given.text
    found = start_column(_only(given, quoted=False, rows=rows))
    moments, _ = times(_only(given, quoted=True, rows=rows))
    found = pc.coalesce(found, moments.cast(pa.int64()))
    wrong = ~found.is_valid().to_numpy(zero_copy_only=False)
    refusals.add(wrong, "startTime", text, "µs since 1970, or RFC 3339, within 1971..2099")
    return found


def _durations(given: JsonColumn | None, rows: int) -> pa.Array:
    """Durations in µs, from a number of µs or a text of seconds such as `0.050s`; 0 for what is neither."""
    found = number_column(_only(given, quoted=False, rows=rows))
    seconds, _ = numbers(pc.utf8_rtrim(_only(given, quoted=True, rows=rows), "s"))
    # Rounded down, as in protobuf; what is added is half a nanosecond, against 4.1 ms becoming 4099.999... µs.
    micros = pc.floor(pc.add(pc.multiply(seconds, 1e6), 5e-4))
    sound = pc.and_(pc.greater_equal(micros, 0), pc.less(micros, 2.0**63)).fill_null(False)
    return pc.coalesce(pc.if_else(sound, micros, None).cast(pa.uint64()), found)


def _only(given: JsonColumn | None, *, quoted: bool, rows: int) -> pa.StringArray:
    """The values that were strings, or those that were not."""
    if given is None:
        return pa.nulls(rows, pa.string())
    if given.quoted is None:
        return given.text if quoted else pa.nulls(rows, pa.string())
    return pc.if_else(pa.array(given.quoted == quoted), given.text, pa.scalar(None, pa.string()))


def _flat(texts: pa.StringArray) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str], list[str]]:
    """The tags of all rows end to end: how many each row has, their keys and texts."""
    lists = [_tags(text) if text else [] for text in texts.to_pylist()]
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    return counts, [tag.key for tags in lists for tag in tags], [_tag_text(tag) for tags in lists for tag in tags]


def _tags(text: str) -> list[_Tag]:
    try:
        return _TAGS.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = json_value(text)
    if not isinstance(found, list):
        return []
    return [
        _Tag(key, *(item.get(name) for name in ("value", "vType", "vStr", "vBool", "vInt64", "vFloat64", "vBinary")))
        for item in found
        if isinstance(item, dict) and isinstance(key := item.get("key"), str)
    ]


def _tag_text(tag: _Tag) -> str:
    """A tag's value as text. Protobuf's JSON leaves a value out that is its type's zero."""
    given = tag.value if tag.value is not None else tag.v_str
    if isinstance(given, str):
        return given
    for value in (given, tag.v_bool, tag.v_int64, tag.v_float64, tag.v_binary):
        if value is not None:
            return value if isinstance(value, str) else compact_json(value)
    return _ZERO_OF.get(tag.v_type, "") if isinstance(tag.v_type, str) else ""


def finish(rows: pa.RecordBatch) -> pa.RecordBatch:
    """`spans` rows of everything that was read in one batch."""
    maps: pa.MapArray = rows.column("attributes")
    ancestry = _ancestry(rows.column("trace_id"), rows.column("_references"))
    parents = ancestry["parent_span_id"]
    attributes = Attributes(key_values(np.diff(maps.offsets.to_numpy()), maps.keys, string=maps.items))
    columns: dict[str, pa.Array] = {
        "ts": rows.column("start").cast(pa.timestamp("us", "UTC")),
        **{name: rows.column(name) for name in ("trace_id", "span_id", "duration_us", "name")},
        **ancestry,
        "parent_span_id": pc.if_else(pc.equal(parents, ""), rows.column("_parent"), parents),
        "attributes": maps,
        "events": map_distinct(rows.column("_logs"), _events, pa.string()).fill_null(""),
        **_process_columns(rows.column("_process")),
        MESSAGE: rows.column(MESSAGE),
        "_record": rows.column("_record"),
    }
    return pa.RecordBatch.from_pydict(columns | tagged_columns(attributes, columns))


def _process_columns(text: pa.StringArray) -> dict[str, pa.Array]:
    """Identity and resource; a process stands in many spans and is read once."""
    encoded = text.fill_null("").dictionary_encode()
    processes = [_process(one) for one in encoded.dictionary.to_pylist()]
    return process_columns(processes, encoded.indices.to_numpy().astype(np.int32))


def _process(text: str) -> list[tuple[str, str]]:
    """A process as attributes of a resource."""
    found = json_value(text) if text else None
    if not isinstance(found, dict):
        return []
    tags = _tags(compact_json(found.get("tags")))
    return named(found.get("serviceName")) + [(tag.key, _tag_text(tag)) for tag in tags]


def _ancestry(trace_ids: pa.StringArray, texts: pa.StringArray) -> dict[str, pa.Array]:
    """`parent_span_id` and `links` of spans with these references."""
    lists = [_references(text) if text else [] for text in texts.to_pylist()]
    flat = [reference for references in lists for reference in references]
    traces, spans = (pa.array([reference[part] for reference in flat], pa.string()) for part in (0, 1))
    return parents_and_links(
        trace_ids,
        np.fromiter(map(len, lists), np.int64, len(lists)),
        id_column(traces, TRACE_WIDTH),
        id_column(spans, SPAN_WIDTH),
        pa.array([follows for _, _, follows in flat], pa.bool_()),
    )


def _references(text: str) -> list[tuple[str, str, bool]]:
    """(trace id, span id, whether it is a FOLLOWS_FROM) of each reference."""
    found = json_value(text)
    references: list[tuple[str, str, bool]] = []
    for item in found if isinstance(found, list) else []:
        if not isinstance(item, dict):
            continue
        trace, span = item.get("traceID", item.get("traceId")), item.get("spanID", item.get("spanId"))
        if isinstance(trace, str) and isinstance(span, str):
            references.append((trace, span, item.get("refType") in ("FOLLOWS_FROM", 1)))
    return references


def _events(text: str) -> str:
    """Logs as `events`: the field `event` is the name, the others are attributes."""
    found = json_value(text)
    events: list[dict[str, Any]] = []
    for item in found if isinstance(found, list) else []:
        if not isinstance(item, dict):
            continue
        fields = {tag.key: _tag_text(tag) for tag in _tags(compact_json(item.get("fields")))}
        name = fields.pop("event", "") or "log"
        events.append({"ts": _moment(item.get("timestamp")), "name": name, "attributes": fields})
    return compact_json(events) if events else ""


def _moment(given: Any) -> str:
    """A log's time, µs since 1970 or RFC 3339, as it stands in `events`; `""` for what is none."""
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            return ""
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        given = (moment - _EPOCH) // timedelta(microseconds=1)
    return event_time(given) if type(given) is int else ""


FORMAT = JsonFormat("jaeger_json", known=KNOWN, recognises=recognises, read=read, finish=finish, table="spans")
