"""Lines of any format → rows: every way by which a line can come ends here.

    Lines ──► strip_prefixes ──┬─ JSON ──► shapes ──┬─ envelope ──► the line inside, once more
                               │                    └─ a JSON format's `read` ──┐
                               └─ text ──► each text format's `read`, in turn ──┴──► `finish`, once a format ──► rows

Messages that are lists of records in one JSON value are opened before (`json_lists`): each record is a line.

Which formats there are stands in `line_formats`. A format that the caller does not accept makes a dead letter that says
what the line looks like instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import pyarrow as pa

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode.cloud_logging import holds_text
from collector.decode.describe import describe_keys, describe_line
from collector.decode.envelope import ENVELOPE_KEYS, Lines, opened, opened_strings, split_lines, strip_prefixes
from collector.decode.json_lists import opened_lists
from collector.decode.json_shapes import Shape, Wanted, shapes
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.line_format import JsonFormat
from collector.decode.line_formats import BY_NAME, JSON_FORMATS, LINE_FORMATS, TEXT_FORMATS, form_of
from collector.decode.spans import Positions, bounds

_KNOWN: Mapping[str, Set[str]] = {"envelope": ENVELOPE_KEYS, **{form.name: form.known for form in JSON_FORMATS}}
_WANTED = {"envelope": Wanted(ENVELOPE_KEYS), **{form.name: Wanted(form.known, form.telling) for form in JSON_FORMATS}}
_MOST_ENVELOPES = 3
MAX_LETTERS = 1000
"""Dead letters of one message that is a list: a list of ten million empty objects must not become as many rows."""
# Bodies that are cut into lines together: int32 positions reach 2 GiB.
_CHUNK_BYTES = 1 << 29


@dataclass(slots=True)
class LineRows:
    """What lines became: batches as each format's `read` gave them, by format, and dead letters."""

    batches: dict[str, list[pa.RecordBatch]] = field(default_factory=dict[str, list[pa.RecordBatch]])
    dead: list[DeadLetter] = field(default_factory=list[DeadLetter])

    def add(self, format: str, batch: pa.RecordBatch) -> None:
        """Rows of a format."""
        if batch.num_rows:
            self.batches.setdefault(format, []).append(batch)

    def refuse(self, lines: Lines, rows: Sequence[tuple[int, str]], format: str) -> None:
        """Make dead letters of rows of `lines`."""
        for row, reason in rows:
            self.dead.append(
                DeadLetter(lines.message[row].as_py(), lines.record[row].as_py(), lines.spans[row], reason, format)
            )


def read_lines(lines: Lines, format: str = "auto", limits: Limits = DEFAULT_LIMITS) -> LineRows:
    """Lines as their formats' `read` gives them; `format` is one of `LINE_FORMATS`, or `auto` for all of them."""
    accepted = frozenset(LINE_FORMATS if format == "auto" else (format,))
    rows = LineRows()
    _read(lines, accepted, format, limits, rows, 0)
    rows.dead.sort(key=lambda letter: (letter.message, letter.record))
    return rows


def decode_lines(lines: Lines, format: str = "auto", limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Lines as rows of their tables; rows come grouped by the shape of their line, not in their order. Never raises.

    Raises:
        ValueError: for a format that is none of `LINE_FORMATS` nor `auto`.
    """
    if format != "auto" and format not in BY_NAME:
        raise ValueError(f"no line format {format!r}, expected auto, {', '.join(LINE_FORMATS)}")
    rows = read_lines(lines, format, limits)
    tables: dict[str, list[pa.RecordBatch]] = {}
    for name, batches in rows.batches.items():
        form = BY_NAME[name]
        tables.setdefault(form.table, []).append(form.finish(joined(batches)))
    return Decoded({table: joined(batches) for table, batches in tables.items()}, rows.dead)


def decode_bodies(values: pa.LargeBinaryArray, format: str, limits: Limits) -> Decoded:
    """`decode_lines` over message bodies, each with one line or several, or a JSON list of records.

    A dead letter is its line or record as it was sent.
    """
    parts: list[Decoded] = []
    for first, last in _chunks(values):
        bodies = values.slice(first, last - first)
        lines, listed, records = opened_lists(bodies, split_lines(bodies))
        found = [decode_lines(lines, format, limits)] if len(lines) or listed is None else []
        if listed is not None:
            found.append(decode_lines(listed, format, limits))
        part = merged(found)
        if part.dead:
            part = replace(part, dead=_as_sent(bodies, records, part.dead))
        parts.append(part if first == 0 else moved(part, np.arange(first, last)))
    return merged(parts)


def _as_sent(
    values: pa.LargeBinaryArray, records: Mapping[int, Sequence[bytes]], dead: Sequence[DeadLetter]
) -> list[DeadLetter]:
    """Dead letters with the bytes of their whole line: blanks, prefix and envelope, all but the line's end.

    `records` are those of messages that were opened as lists. Each gets at most `MAX_LETTERS`, and one more with the
    whole message for all the rest.
    """
    letters: list[DeadLetter] = []
    for message, group in groupby(dead, key=lambda letter: letter.message):
        own = list(group)
        lines = records.get(message)
        if lines is None:
            lines = [line.removesuffix(b"\r") for line in values[message].as_py().split(b"\n")]
        elif len(own) > MAX_LETTERS:
            own, rest = own[:MAX_LETTERS], own[MAX_LETTERS:]
            reason = f"{len(rest)} more records of this list cannot be used, the first of them: {rest[0].reason}"
            letters.append(replace(rest[0], payload=values[message].as_py(), reason=reason))
        letters += (replace(letter, payload=lines[letter.record]) for letter in own)
    return sorted(letters, key=lambda letter: (letter.message, letter.record))


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
    if depth < _MOST_ENVELOPES:
        inner, others = opened_strings(lines)
        if inner is not None:
            _read(inner, accepted, format, limits, rows, depth + 1)
            lines = lines.take(others)
    spans = lines.spans
    is_json = np.zeros(len(spans), np.bool_)
    filled = np.flatnonzero(spans.ends > spans.starts)
    is_json[filled] = spans.content[spans.starts[filled]] == 123
    if is_json.any():
        chosen = lines if is_json.all() else lines.take(np.flatnonzero(is_json))
        _read_json(chosen, accepted, format, limits, rows, depth)
    if len(spans) and not is_json.all():
        _read_text(lines.take(np.flatnonzero(~is_json)), accepted, format, limits, rows)


def _read_json(lines: Lines, accepted: Set[str], format: str, limits: Limits, rows: LineRows, depth: int) -> None:
    explicit = next(iter(accepted)) if len(accepted) == 1 else ""

    def classify(keys: Set[str]) -> str:
        form = form_of(keys)
        # What was named is believed, so that what is missing gets a precise reason; but not against most of the keys,
        # nor where another format knows more of them.
        if explicit in _KNOWN and (
            form == "" or (form in BY_NAME and _mostly(keys, _KNOWN[explicit], _KNOWN.get(form)))
        ):
            return explicit
        return form

    groups, refused = shapes(lines.spans, classify, _WANTED, limits)
    rows.refuse(lines, refused, format)
    for shape in [part for group in groups for part in _without_texts(group)]:
        form = BY_NAME.get(shape.form)
        if shape.form == "envelope" and depth < _MOST_ENVELOPES:
            inner, empty = opened(lines, shape)
            rows.refuse(lines, empty, format)
            _read(inner, accepted, format, limits, rows, depth + 1)
        elif isinstance(form, JsonFormat) and form.name in accepted:
            batch, wrong = form.read(lines, shape, limits)
            rows.add(form.name, batch)
            rows.refuse(lines, wrong, form.name)
        else:
            reason = describe_keys(shape.form, shape.keys, accepted)
            rows.refuse(lines, [(row, reason) for row in shape.rows.tolist()], format)


def _without_texts(shape: Shape) -> list[Shape]:
    """The shape, and apart from it its Cloud Logging entries that hold a container's text: those are envelopes."""
    held = holds_text(shape)
    if held is None:
        return [shape]
    texts = replace(shape.filter(held), form="envelope")
    return [texts] if held.all() else [texts, shape.filter(~held)]


def _mostly(keys: Set[str], known: Set[str], others: Set[str] | None) -> bool:
    own = len(keys & known)
    return 2 * own > len(keys) and own >= len(keys & (others or frozenset()))


def _read_text(lines: Lines, accepted: Set[str], format: str, limits: Limits, rows: LineRows) -> None:
    for form in TEXT_FORMATS:
        if form.name not in accepted or not len(lines):
            continue
        found = form.read(lines, limits)
        for batch in found.batches:
            rows.add(form.name, batch)
        rows.refuse(lines, found.refused, form.name)
        lines = lines.take(found.rest)
    rows.refuse(lines, [(row, describe_line(lines.spans[row], accepted)) for row in range(len(lines))], format)


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one table end to end; a column that some lack is null there, text and coded text become text."""
    if len(batches) == 1:
        return batches[0]
    if all(batch.schema.equals(batches[0].schema) for batch in batches) and not _coded(batches[0]):
        return pa.concat_batches(batches)
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


def _coded(batch: pa.RecordBatch) -> bool:
    return any(pa.types.is_dictionary(column.type) for column in batch.schema)


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
