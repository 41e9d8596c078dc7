"""Lines of any format → `calls`: every way by which a line can come ends here.

    Lines ──► strip_prefixes ──┬─ JSON ──► shapes ──┬─ envelope ──► the line inside, once more
                               │                    ├─ envoy_json ──► operators ──┐
                               │                    └─ calls_json ────────────────┼──► calls
                               └─ text ──► istio_text, envoy_text ──► operators ──┘

A format that the caller does not accept makes a dead letter that says what the line looks like instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode import calls_json, envoy_json, envoy_text, istio_text
from collector.decode.describe import describe_keys, describe_line
from collector.decode.envelope import ENVELOPE_KEYS, Lines, is_envelope, opened, split_lines, strip_prefixes
from collector.decode.envoy_lines import build
from collector.decode.json_shapes import shapes
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.operators import carried, concat_batches
from collector.decode.spans import Positions, bounds
from collector.decode.text_layout import Layout
from collector.envoy import to_calls

LINE_FORMATS: tuple[str, ...] = ("envoy_json", "istio_text", "envoy_text", "calls_json")
"""Formats of lines, in the order in which a line that fits several is claimed."""

_LAYOUTS: Mapping[str, Sequence[Layout]] = {"istio_text": istio_text.LAYOUTS, "envoy_text": envoy_text.LAYOUTS}
_MESHES: Mapping[str, str] = {"envoy_json": "envoy", "istio_text": "istio", "envoy_text": "envoy"}
_KNOWN: Mapping[str, Set[str]] = {
    "envelope": ENVELOPE_KEYS,
    "envoy_json": envoy_json.KNOWN,
    "calls_json": calls_json.KNOWN,
}
_MOST_ENVELOPES = 3
# Bodies that are cut into lines together: int32 positions reach 2 GiB.
_CHUNK_BYTES = 1 << 29


def form_of(keys: Set[str]) -> str:
    """The format of a JSON object by its keys: a line format, `envelope`, or `""`."""
    if "log" in keys:
        return "envelope"
    if calls_json.recognises(keys):
        return "calls_json"
    if envoy_json.recognises(keys):
        return "envoy_json"
    return "envelope" if is_envelope(keys) else ""


@dataclass(slots=True)
class LineRows:
    """What lines became: operator batches by format, finished `calls` batches, dead letters."""

    operators: dict[str, list[pa.RecordBatch]] = field(default_factory=dict[str, list[pa.RecordBatch]])
    calls: list[pa.RecordBatch] = field(default_factory=list[pa.RecordBatch])
    dead: list[DeadLetter] = field(default_factory=list[DeadLetter])

    def refuse(self, lines: Lines, rows: Sequence[tuple[int, str]], format: str) -> None:
        """Make dead letters of rows of `lines`."""
        for row, reason in rows:
            self.dead.append(
                DeadLetter(lines.message[row].as_py(), lines.record[row].as_py(), lines.spans[row], reason, format)
            )


def read_lines(lines: Lines, format: str = "auto", limits: Limits = DEFAULT_LIMITS) -> LineRows:
    """Lines as operators and calls; `format` is one of `LINE_FORMATS`, or `auto` for all of them."""
    accepted = frozenset(LINE_FORMATS if format == "auto" else (format,))
    rows = LineRows()
    _read(lines, accepted, format, limits, rows, 0)
    rows.dead.sort(key=lambda letter: (letter.message, letter.record))
    return rows


def decode_lines(lines: Lines, format: str = "auto", limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Lines as `calls`; rows come grouped by the shape of their line, not in their order. Never raises.

    Raises:
        ValueError: for a format that is none of `LINE_FORMATS` nor `auto`.
    """
    if format != "auto" and format not in LINE_FORMATS:
        raise ValueError(f"no line format {format!r}, expected auto, {', '.join(LINE_FORMATS)}")
    rows = read_lines(lines, format, limits)
    batches = list(rows.calls)
    for name, operators in rows.operators.items():
        batch = concat_batches(operators)
        if batch.num_rows:
            batches.append(to_calls(batch, _MESHES[name]))
    batches = [batch for batch in batches if batch.num_rows]
    return Decoded({"calls": joined(batches)} if batches else {}, rows.dead)


def decode_bodies(values: pa.LargeBinaryArray, format: str, limits: Limits) -> Decoded:
    """`decode_lines` over message bodies, each with one line or several. A dead letter is its line as it was sent."""
    parts: list[Decoded] = []
    for first, last in _chunks(values):
        part = decode_lines(split_lines(values.slice(first, last - first)), format, limits)
        parts.append(part if first == 0 else moved(part, np.arange(first, last)))
    whole = merged(parts)
    return replace(whole, dead=_as_sent(values, whole.dead)) if whole.dead else whole


def _as_sent(values: pa.LargeBinaryArray, dead: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Dead letters with the bytes of their whole line: blanks, prefix and envelope, all but the line's end."""
    letters: list[DeadLetter] = []
    for message, own in groupby(dead, key=lambda letter: letter.message):
        lines = values[message].as_py().split(b"\n")
        letters += (replace(letter, payload=lines[letter.record].removesuffix(b"\r")) for letter in own)
    return letters


def _chunks(values: pa.LargeBinaryArray) -> list[tuple[int, int]]:
    """Runs of messages of at most `_CHUNK_BYTES` (a larger message is alone)."""
    _, starts, ends = bounds(values)
    if not len(starts):
        return []
    chunks: list[tuple[int, int]] = []
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(ends, starts[first] + _CHUNK_BYTES, side="right"))
        last = max(last, first + 1)
        chunks.append((first, last))
        first = last
    return chunks


def _read(lines: Lines, accepted: Set[str], format: str, limits: Limits, rows: LineRows, depth: int) -> None:
    if not len(lines):
        return
    lines = strip_prefixes(lines)
    length = lines.spans.ends - lines.spans.starts
    if int(length.max()) > limits.record_bytes:
        long = np.flatnonzero(length > limits.record_bytes).tolist()
        reason = "record of {} bytes, the limit is {}"
        rows.refuse(lines, [(row, reason.format(int(length[row]), limits.record_bytes)) for row in long], format)
        lines = lines.take(np.flatnonzero(length <= limits.record_bytes))
        if not len(lines):
            return
    spans = lines.spans
    is_json = np.zeros(len(spans), np.bool_)
    filled = np.flatnonzero(spans.ends > spans.starts)
    is_json[filled] = spans.content[spans.starts[filled]] == 123
    if is_json.any():
        chosen = lines if is_json.all() else lines.take(np.flatnonzero(is_json))
        _read_json(chosen, accepted, format, limits, rows, depth)
    if not is_json.all():
        _read_text(lines.take(np.flatnonzero(~is_json)), accepted, format, limits, rows)


def _read_json(lines: Lines, accepted: Set[str], format: str, limits: Limits, rows: LineRows, depth: int) -> None:
    explicit = next(iter(accepted)) if len(accepted) == 1 else ""

    def classify(keys: Set[str]) -> str:
        form = form_of(keys)
        if explicit in ("envoy_json", "calls_json") and (form == "" or form in LINE_FORMATS):
            return explicit  # what was named is believed; what is missing gets a precise reason
        return form

    groups, refused = shapes(lines.spans, classify, _KNOWN, limits)
    rows.refuse(lines, refused, format)
    for shape in groups:
        if shape.form == "envelope" and depth < _MOST_ENVELOPES:
            inner, empty = opened(lines, shape)
            rows.refuse(lines, empty, format)
            _read(inner, accepted, format, limits, rows, depth + 1)
        elif shape.form in accepted:
            if shape.form == "calls_json":
                batch, wrong = calls_json.calls(lines, shape)
                rows.calls.append(batch)
            else:
                batch, wrong = envoy_json.operators(lines, shape)
                rows.operators.setdefault(shape.form, []).append(batch)
            rows.refuse(lines, wrong, shape.form)
        else:
            reason = describe_keys(shape.form, shape.keys, accepted)
            rows.refuse(lines, [(row, reason) for row in shape.rows.tolist()], format)


def _read_text(lines: Lines, accepted: Set[str], format: str, limits: Limits, rows: LineRows) -> None:
    for name, layouts in _LAYOUTS.items():
        if name not in accepted:
            continue
        for layout in layouts:
            if not len(lines):
                return
            cuts, rest = layout.cut(lines.spans)
            for cut in cuts:
                _text_rows(lines.take(cut.rows), name, cut.fields, limits, rows)
            lines = lines.take(rest)
    rows.refuse(lines, [(row, describe_line(lines.spans[row], accepted)) for row in range(len(lines))], format)


def _text_rows(lines: Lines, name: str, fields: Mapping[str, pa.StringArray], limits: Limits, rows: LineRows) -> None:
    known = {operator: text for operator, text in fields.items() if operator != "mixer_status"}
    size = len(lines)
    constants: dict[str, pa.Array] = {
        "carried": pa.array(np.full(size, carried(known), np.uint64)),
        "raw": lines.text,
        **lines.metadata,
        "_message": lines.message,
        "_record": lines.record,
    }
    long = np.zeros(size, np.bool_)
    if int((lines.spans.ends - lines.spans.starts).max(initial=0)) > limits.value_bytes:
        for text in known.values():
            long |= pc.greater(pc.binary_length(text), limits.value_bytes).to_numpy(zero_copy_only=False)
    if long.any():
        reason = f"a field is longer than {limits.value_bytes} bytes"
        rows.refuse(lines, [(row, reason) for row in np.flatnonzero(long).tolist()], name)
        kept = pa.array(~long)
        known = {operator: text.filter(kept) for operator, text in known.items()}
        constants = {column: values.filter(kept) for column, values in constants.items()}
        lines = lines.take(np.flatnonzero(~long))
    batch, refused = build(known, constants, len(lines))
    rows.operators.setdefault(name, []).append(batch)
    rows.refuse(lines, list(refused.items()), name)


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one table end to end; a column that some lack is null there, text and coded text become text."""
    if len(batches) == 1:
        return batches[0]
    types: dict[str, pa.DataType] = {}
    for batch in batches:
        for column in batch.schema:
            if types.setdefault(column.name, column.type) != column.type:
                types[column.name] = pa.string() if pa.types.is_dictionary(column.type) else column.type
    tables: list[pa.Table] = []
    for batch in batches:
        arrays = [
            batch.column(name).cast(kind) if name in batch.schema.names else pa.nulls(batch.num_rows, kind)
            for name, kind in types.items()
        ]
        tables.append(pa.Table.from_arrays(arrays, names=list(types)))
    return pa.concat_tables(tables).combine_chunks().to_batches()[0]


def moved(part: Decoded, index: Positions) -> Decoded:
    """`part` with message i renamed `index[i]`."""
    places = pa.array(index.astype(np.int32))
    tables = {
        name: batch.set_column(batch.schema.get_field_index(MESSAGE), MESSAGE, places.take(batch.column(MESSAGE)))
        for name, batch in part.tables.items()
    }
    dead = [
        DeadLetter(int(index[letter.message]), letter.record, letter.payload, letter.reason, letter.format)
        for letter in part.dead
    ]
    return Decoded(tables, dead)


def merged(parts: Sequence[Decoded]) -> Decoded:
    """Several decoded parts as one."""
    if len(parts) == 1:
        return parts[0]
    batches: dict[str, list[pa.RecordBatch]] = {}
    for part in parts:
        for name, batch in part.tables.items():
            batches.setdefault(name, []).append(batch)
    dead = sorted(
        (letter for part in parts for letter in part.dead), key=lambda letter: (letter.message, letter.record)
    )
    return Decoded({name: joined(found) for name, found in batches.items()}, dead)


__all__ = ["LINE_FORMATS", "LineRows", "Lines", "Positions", "decode_bodies", "decode_lines", "read_lines"]
