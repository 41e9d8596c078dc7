"""From message bodies to lines: several in one message, and what log shippers wrap around each.

    bodies ──► split_lines ──► strip_prefixes ──► (envelopes: `opened`) ──► lines ──► line decoders

Known wrappings: the container runtime's prefix (`TIME stdout F `), `kubectl logs --timestamps` and `--prefix`,
Docker's json-file (`log`, `stream`, `time`), Fluent Bit and Fluentd (`log` or `message` beside `kubernetes`), Filebeat
and Vector (`message` beside `kubernetes`), Google Pub/Sub (`message` beside `subscription`), Cloud Logging
(`jsonPayload` or `textPayload` beside `resource`), a JSON string (the Collector's encoding `raw`). What they say of the
pod becomes the metadata columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode import cloud_logging, pubsub
from collector.decode.json_shapes import Shape
from collector.decode.limits import DEFAULT_LIMITS
from collector.decode.operators import METADATA
from collector.decode.spans import Bytes, Positions, Spans, bounds, positions
from collector.decode.values import present

_BLANKS = b" \t\r\n\x0b\x0c\x00"
WRITTEN = "written"
"""Column of `Lines.metadata`: when a line was written, by what is around it, as text. Only for lines that say no time
themselves: they begin with how long their process has been running (Linkerd's own log)."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a batch of messages.

    `spans` are the lines without blanks at either end, `message` and `record` (int32) say where each came from.
    `metadata` holds any of the columns of `operators.METADATA`; what is missing is unknown.
    """

    spans: Spans
    message: pa.Int32Array
    record: pa.Int32Array
    metadata: Mapping[str, pa.Array] = field(default_factory=dict[str, pa.Array])

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def text(self) -> pa.BinaryArray:
        """The lines as `pa.binary()`."""
        return self.spans.array()

    def take(self, rows: Positions) -> Lines:
        """These rows, in this order; the same object when they are all and in order."""
        if len(rows) == len(self) and bool((rows[1:] > rows[:-1]).all()):
            return self
        chosen = pa.array(rows)
        return Lines(
            self.spans.take(rows),
            self.message.take(chosen),
            self.record.take(chosen),
            {name: column.take(chosen) for name, column in self.metadata.items()},
        )


def split_lines(values: pa.LargeBinaryArray) -> Lines:
    """The lines in message bodies (together below 2 GiB), separated by LF or CRLF. Blank lines and bodies give none."""
    content, starts, ends = bounds(values)
    if len(starts):
        first = int(starts[0])
        content, starts, ends = content[first : int(ends[-1])], starts - first, ends - first
    breaks = positions(content, 10)
    message = np.arange(len(starts), dtype=np.int32)
    record = np.zeros(len(starts), np.int32)
    if len(breaks):
        count = np.searchsorted(breaks, ends) - np.searchsorted(breaks, starts) + 1
        message = np.repeat(message, count)
        record = (np.arange(len(message)) - np.repeat(np.cumsum(count) - count, count)).astype(np.int32)
        # Line by line, what begins one and what ends one both ascend: sorted, they are in step.
        starts = np.sort(np.concatenate((starts, breaks + 1)), kind="stable")
        ends = np.sort(np.concatenate((ends, breaks)), kind="stable")
    starts, ends = _trimmed(content, starts, ends)
    filled = starts < ends
    if not filled.all():
        starts, ends, message, record = starts[filled], ends[filled], message[filled], record[filled]
    return Lines(Spans(content, starts, ends), pa.array(message), pa.array(record))


def _trimmed(content: Bytes, starts: Positions, ends: Positions) -> tuple[Positions, Positions]:
    """Bounds without blanks at either end."""
    blank = np.zeros(256, np.bool_)
    blank[list(_BLANKS)] = True
    if not len(content):
        return starts, ends
    last = len(content) - 1
    for _ in range(4):  # almost always one round: a CR at the end
        tail = (starts < ends) & blank[content[np.clip(ends - 1, 0, last)]]
        head = (starts < ends) & blank[content[np.minimum(starts, last)]]
        if not tail.any() and not head.any():
            return starts, ends
        ends = ends - tail
        starts = starts + (head & (starts < ends))
    starts, ends = starts.copy(), ends.copy()
    for row in np.flatnonzero(starts < ends).tolist():
        begin, end = int(starts[row]), int(ends[row])
        if blank[content[begin]] or blank[content[end - 1]]:
            line = content[begin:end].tobytes()
            kept = line.strip(_BLANKS)
            starts[row] = begin + (len(line) - len(line.lstrip(_BLANKS)))
            ends[row] = starts[row] + len(kept)
    return starts, ends


_PREFIX = re.compile(
    rb"(?:\xef\xbb\xbf)?"  # the mark with which some editors and shippers begin a file
    rb"(?:\[pod/(?P<pod>[^/\]\s]{1,253})/(?P<container>[^\]\s]{1,63})\] )?"
    # ztunnel's own line begins with a time, which stays.
    rb"(?:(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"
    rb"(?![ \t]+(?i:trace|debug|info|warn|error)[ \t]+access\b)[ \t]+)?"
    rb"(?:(?:stdout|stderr) [FP](?::\S*)? )?"
)
_UPTIME_OF_TEXT = r'^(?:\{"timestamp":")?\[ {0,12}\d{1,12}\.\d{1,9}s\]'
_UPTIME = re.compile(_UPTIME_OF_TEXT.removeprefix("^").encode())


def without_prefix(line: bytes) -> bytes:
    """One line without what `strip_prefixes` takes away."""
    found = _PREFIX.match(line[:512])
    return line if found is None else line[found.end() :]


def strip_prefixes(lines: Lines) -> Lines:
    """Lines without the prefixes of container runtimes and `kubectl logs`; others are not touched."""
    content, starts, ends = lines.spans.content, lines.spans.starts, lines.spans.ends
    if not len(starts) or not len(content):
        return lines
    last = len(content) - 1
    first, second = content[np.minimum(starts, last)], content[np.minimum(starts + 1, last)]
    plain = (first == ord("{")) | ((first == ord("[")) & (second != ord("p")))
    suspects = np.flatnonzero(~plain & (starts < ends))
    if not len(suspects):
        return lines
    starts = starts.copy()
    pods: list[str | None] = [None] * len(lines)
    containers: list[str | None] = [None] * len(lines)
    written: dict[int, str] = {}
    for row in suspects.tolist():
        head = content[starts[row] : min(int(ends[row]), int(starts[row]) + 512)].tobytes()
        found = _PREFIX.match(head)
        if found is None or not found[0] or starts[row] + found.end() >= ends[row]:
            continue
        if found["time"] and _UPTIME.match(head, found.end()):
            written[row] = found["time"].decode()
        starts[row] += found.end()
        if found["pod"]:
            pods[row] = found["pod"].decode("utf-8", "backslashreplace")
            containers[row] = found["container"].decode("utf-8", "backslashreplace")
    metadata = dict(lines.metadata)
    if any(pods):
        metadata.setdefault("pod_name", pa.array(pods, pa.string()))
        metadata.setdefault("container", pa.array(containers, pa.string()))
    if written:
        own = pa.array([written.get(row) for row in range(len(lines))], pa.string())
        metadata[WRITTEN] = pc.coalesce(own, metadata[WRITTEN]) if WRITTEN in metadata else own
    return Lines(Spans(content, starts, ends), lines.message, lines.record, metadata)


ENVELOPE_KEYS: Set[str] = frozenset(
    {"log", "message", "kubernetes", "cluster", "cluster_name", "k8s_cluster", *pubsub.KEYS, *cloud_logging.KEYS}
)
"""Keys of an envelope that are read; the others (`stream`, `time`, `@timestamp`, tags) are the shipper's own."""

_SHIPPER = frozenset({"kubernetes", "@timestamp", "stream", "docker", "file", "source_type", *pubsub.KEYS})


def is_envelope(keys: Set[str]) -> bool:
    """Whether an object with these keys wraps a line."""
    shipped = "message" in keys and not keys.isdisjoint(_SHIPPER)
    return "log" in keys or shipped or cloud_logging.is_container_log(keys)


def opened(lines: Lines, shape: Shape) -> tuple[Lines, list[tuple[int, str]]]:
    """The lines inside envelopes, with what these say of the pod.

    Returns:
        the inner lines, and rows of `lines` whose envelope holds none, with the reason.
    """
    columns = shape.columns
    inner = next((columns[name] for name in ("log", "jsonPayload", "message", "textPayload") if name in columns), None)
    texts = pa.nulls(len(shape.rows), pa.string()) if inner is None else inner.text
    if inner is not None and not pubsub.KEYS.isdisjoint(columns):
        texts = pubsub.opened_data(texts, DEFAULT_LIMITS)
    empty = np.flatnonzero(~present(texts))
    refused = [
        (int(shape.rows[row]), "an envelope without a line: expected text in `log` or `message`") for row in empty
    ]
    outer = lines.take(shape.rows)
    metadata = {**outer.metadata, **metadata_of(shape), **cloud_logging.metadata_of(columns), **_written(texts, shape)}
    return _inside(outer, pc.fill_null(texts, ""), metadata), refused


_TIMES = ("time", "@timestamp", "timestamp", "date")
"""Keys of envelopes that say when a line was written: Docker's and Fluentd's, Filebeat's, Vector's, Fluent Bit's."""


def without_time(texts: pa.Array) -> Positions:
    """Which texts begin with how long their process has been running, and so need `WRITTEN`."""
    return np.flatnonzero(
        pc.match_substring_regex(texts, _UPTIME_OF_TEXT).fill_null(False).to_numpy(zero_copy_only=False)
    )


def _written(texts: pa.Array, shape: Shape) -> dict[str, pa.Array]:
    """`WRITTEN` of the lines in envelopes; nothing where no line needs it."""
    found: dict[int, str] = {}
    for row in without_time(texts).tolist():
        others = dict(shape.extra[row].as_py() or ())
        found[row] = next((others[name] for name in _TIMES if others.get(name)), "")
    if not found:
        return {}
    return {WRITTEN: pa.array([found.get(row) or None for row in range(len(texts))], pa.string())}


def _inside(outer: Lines, texts: pa.StringArray, metadata: Mapping[str, pa.Array]) -> Lines:
    """The lines in `texts`, one text for each of `outer`; each may hold several, which keep the place of its own."""
    inner = split_lines(texts.cast(pa.large_binary()))
    holder = inner.message
    held = {name: column.take(holder) for name, column in metadata.items()}
    return Lines(inner.spans, outer.message.take(holder), outer.record.take(holder), held)


_STRING = msgspec.json.Decoder(str)


def opened_strings(lines: Lines) -> tuple[Lines | None, Positions]:
    """Lines that are JSON strings, as the Collector's encoding `raw` writes a body of text.

    Returns:
        what stands in them, None where there are none; and the rows of all other lines.
    """
    content, starts, ends = lines.spans.content, lines.spans.starts, lines.spans.ends
    suspects = np.flatnonzero(ends - starts >= 2)
    suspects = suspects[(content[starts[suspects]] == 34) & (content[ends[suspects] - 1] == 34)]
    texts: dict[int, str] = {}
    for row in suspects.tolist():
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            if text := _STRING.decode(lines.spans[row]).strip():
                texts[row] = text
    others = np.ones(len(lines), np.bool_)
    others[list(texts)] = False
    if not texts:
        return None, np.flatnonzero(others)
    outer = lines.take(np.array([*texts]))
    return _inside(outer, pa.array(texts.values(), pa.string()), outer.metadata), np.flatnonzero(others)


def metadata_of(shape: Shape) -> dict[str, pa.Array]:
    """Metadata columns from a shape's `kubernetes` object and cluster keys."""
    found: dict[str, pa.Array] = {}
    for name in ("cluster", "cluster_name", "k8s_cluster"):
        if name in shape.columns:
            found["cluster"] = shape.columns[name].text
            break
    column = shape.columns.get("kubernetes")
    if column is not None:
        # Few pods write many lines: each distinct object is read once.
        distinct = column.text.dictionary_encode()
        pods = [_pod(text) for text in distinct.dictionary.to_pylist()]
        for name in METADATA.names:
            values = [pod.get(name) for pod in pods]
            if any(value is not None for value in values):
                found[name] = pa.array(values, METADATA.field(name).type).take(distinct.indices)
    return found


_POD_PATHS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Fluent Bit and Fluentd; Vector; Elastic's Filebeat.
    "pod_namespace": (("namespace_name",), ("pod_namespace",), ("namespace",), ("namespace", "name")),
    "pod_name": (("pod_name",), ("pod", "name")),
    "pod_ip": (("pod_ip",), ("pod", "ip")),
    "node": (("host",), ("pod_node_name",), ("node", "name")),
    "container": (("container_name",), ("container", "name")),
    "cluster": (("cluster_name",), ("cluster",)),
}


def _pod(text: str) -> dict[str, Any]:
    try:
        record: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    pod: dict[str, Any] = {}
    for name, paths in _POD_PATHS.items():
        for path in paths:
            value: Any = record
            for key in path:
                value = cast(Any, value).get(key) if isinstance(value, dict) else None
            if isinstance(value, str) and value:
                pod[name] = _storable(value)
                break
    if isinstance(record, dict):
        labels: Any = record.get("labels", record.get("pod_labels"))
        if isinstance(labels, dict):
            pod["pod_labels"] = [
                (_storable(key), _storable(value)) for key, value in labels.items() if isinstance(value, str)
            ]
    return pod


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
