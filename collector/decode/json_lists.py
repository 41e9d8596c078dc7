"""Messages that hold several records in one JSON value, on one line or over many.

    [{...}, {...}]                                     an array: each element is a record (Zipkin, batches of gateways)
    {"data": [{"traceID", "spans", "processes"}]}      a Jaeger export, or one trace of it: each span is a record,
                                                       with its process beside it as `process`

A record opened from a list is as if it had been a line. What cannot be opened is handed on as it is, and becomes a
dead letter where lines are read; elements before a damaged one are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa

from collector.decode.envelope import Lines
from collector.decode.spans import Spans

_BLANKS = b" \t\r\n\x0b\x0c\x00"
_LIST = re.compile(rb"\s*\[\s*\{")
_EXPORT = re.compile(rb'\s*\{\s*"data"\s*:\s*\[')
_TRACE = re.compile(rb'\s*\{\s*"traceID"\s*:\s*"[0-9A-Fa-f]{1,32}"\s*,\s*"spans"\s*:\s*\[')
_BLANK = re.compile(rb"\s*")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


class _Trace(msgspec.Struct):
    spans: list[msgspec.Raw] | None
    processes: dict[str, msgspec.Raw] | None = None


class _Export(msgspec.Struct):
    data: list[_Trace]


class _OfProcess(msgspec.Struct):
    processID: str = ""
    process: msgspec.Raw | None = None


_ONE_TRACE = msgspec.json.Decoder(_Trace)
_MANY_TRACES = msgspec.json.Decoder(_Export)
_PROCESS = msgspec.json.Decoder(_OfProcess)


def opened_lists(values: pa.LargeBinaryArray, lines: Lines) -> tuple[Lines, Lines | None, Mapping[int, list[bytes]]]:
    """Take the messages that are lists out of `lines`.

    Args:
        values: message bodies.
        lines: all their lines.

    Returns:
        the lines of the other messages; the records of the lists as lines, numbered from 0 in each message (None where
        there is no list); and these records by message.
    """
    suspects = _suspects(lines)
    if not len(suspects):
        return lines, None, {}
    found: dict[int, list[bytes]] = {}
    for message in suspects.tolist():
        records = records_of(values[message].as_py())
        if records is not None:
            found[message] = records
    if not found:
        return lines, None, {}
    message = lines.message.to_numpy()
    kept = np.flatnonzero(~np.isin(message, list(found)))
    counts = np.array([len(records) for records in found.values()])
    text = pa.array([record for records in found.values() for record in records], pa.binary())
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return (
        lines.take(kept),
        Lines(
            Spans.of(text),
            pa.array(np.repeat(np.array(list(found), np.int32), counts)),
            pa.array((np.arange(len(text)) - first).astype(np.int32)),
        ),
        found,
    )


def _suspects(lines: Lines) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Messages of which a line may begin a list, ascending; told by a few bytes a line."""
    content, starts, ends = lines.spans.content, lines.spans.starts, lines.spans.ends
    if not len(starts) or not len(content):
        return np.zeros(0, np.int32)
    last = len(content) - 1

    def byte(place: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        return content[np.minimum(starts + place, last)]

    first, second = byte(0), byte(1)
    alone = ends - starts == 1
    opens = alone | (second == ord("{")) | (second <= ord(" "))
    suspects = (first == ord("[")) & opens
    objects = first == ord("{")
    if objects.any():
        begins = objects & (alone | (second <= ord(" ")))
        # `{"data` and `{"traceID`
        begins |= objects & (second == ord('"')) & (byte(2) == ord("d")) & (byte(3) == ord("a")) & (byte(4) == ord("t"))
        begins |= objects & (byte(2) == ord("t")) & (byte(8) == ord("D")) & (byte(7) == ord("I"))
        # What begins with a brace is a list only as a whole message.
        suspects |= begins & (np.diff(lines.message.to_numpy(), prepend=-1) != 0)
    return np.unique(lines.message.to_numpy()[suspects])


def records_of(body: bytes) -> list[bytes] | None:
    """The records of a message; None where it holds no list that can be opened.

    Lines beside a list are records of their own.
    """
    if _EXPORT.match(body) or _TRACE.match(body):
        return _spans(body)
    if _LIST.match(body):
        try:
            elements = [bytes(raw) for raw in _ELEMENTS.decode(body)]
        except (msgspec.DecodeError, RecursionError):
            elements = _scanned(body)
    elif any(_LIST.match(line) for line in body.split(b"\n")):
        elements = _scanned(body)
    else:
        return None
    if not elements or not _TRACE.match(elements[0]):
        return elements
    opened = ((element, _spans(element) if _TRACE.match(element) else None) for element in elements)
    return [record for element, spans in opened for record in ([element] if spans is None else spans)]


def _spans(document: bytes) -> list[bytes] | None:
    """Spans of a Jaeger export or trace, each with its process; None where it cannot be read as one."""
    try:
        traces = [_ONE_TRACE.decode(document)] if _TRACE.match(document) else _MANY_TRACES.decode(document).data
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    if not traces:  # other things have `data` too: an empty list is no reason to drop them without a word
        return None
    spans: list[bytes] = []
    for trace in traces:
        processes = {name: bytes(process) for name, process in (trace.processes or {}).items()}
        spans += (_with_process(bytes(span), processes) for span in trace.spans or [])
    return spans


def _with_process(span: bytes, processes: Mapping[str, bytes]) -> bytes:
    try:
        said = _PROCESS.decode(span)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return span
    process = processes.get(said.processID)
    if process is None or said.process is not None or not said.processID:
        return span
    return b'%s,"process":%s}' % (span[:-1], process)


def _scanned(body: bytes) -> list[bytes]:
    """Elements of the arrays in `body`, and the lines beside them, the slow way: it reads what is damaged too."""
    records: list[bytes] = []
    at = 0
    while (at := _blanks_end(body, at)) < len(body):
        if _LIST.match(body, at):
            elements, at = _elements(body, body.index(b"[", at) + 1)
            records += elements
        else:
            end = body.find(b"\n", at)
            end = len(body) if end < 0 else end
            records.append(body[at:end])
            at = end + 1
    return [record for record in (record.strip(_BLANKS) for record in records) if record]


def _blanks_end(body: bytes, at: int) -> int:
    blanks = _BLANK.match(body, at)
    return at if blanks is None else blanks.end()


def _elements(body: bytes, begin: int) -> tuple[list[bytes], int]:
    """Elements of the array whose first one begins at `begin`, and where the array ends. A rest is one element."""
    elements: list[bytes] = []
    depth = 0
    for token in _TOKEN.finditer(body, begin):
        kind = token[0]
        if kind in (b"[", b"{"):
            depth += 1
        elif kind in (b"]", b"}"):
            depth -= 1
            if depth < 0:
                elements.append(body[begin : token.start()])
                return elements, token.end()
        elif kind == b"," and depth == 0:
            elements.append(body[begin : token.start()])
            begin = token.end()
        elif kind == b'"':  # nothing closes it
            break
    return [*elements, body[begin:]], len(body)
