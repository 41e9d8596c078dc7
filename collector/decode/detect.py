"""`format=auto`: what each message is, found from its bytes.

    message ──┬─ protobuf framing of OTLP ──► otlp_proto
              ├─ {"resourceSpans" ...       ──► otlp_json
              └─ anything else              ──► lines (`lines.decode_lines` tells their formats apart)

A topic may mix them. Looking costs a few bytes a message; lines are told apart while they are cut, by their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.contract import Decoded, Decoder
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.lines import decode_bodies, decode_lines, merged, moved
from collector.decode.spans import bounds

LINES, OTLP_PROTO, OTLP_JSON = 0, 1, 2
KIND_NAMES = ("lines", "otlp_proto", "otlp_json")

_OTLP_JSON = re.compile(
    rb'\s*\{\s*"(?:resourceSpans|resourceLogs|resourceMetrics|resource_spans|resource_logs|resource_metrics)"\s*:'
)
# Field numbers that the first resource of an OTLP request can begin with: resource, scopes, schema_url.
_RESOURCE_TAGS = frozenset((0x0A, 0x12, 0x1A))


def kinds(values: pa.LargeBinaryArray) -> npt.NDArray[np.uint8]:
    """`LINES`, `OTLP_PROTO` or `OTLP_JSON` for each message."""
    content, starts, ends = bounds(values)
    found = np.zeros(len(starts), np.uint8)
    if not len(content):
        return found
    filled = ends > starts
    last = len(content) - 1
    first = content[np.minimum(starts, last)]
    second = content[np.minimum(starts + 1, last)]
    # Protobuf begins with the tag of field 1; OTLP's JSON with a brace, and then r(esource) as the first key's letter.
    for row in np.flatnonzero(filled & (first == 0x0A)).tolist():
        if is_otlp_proto(content[starts[row] : ends[row]].tobytes()):
            found[row] = OTLP_PROTO
    third = content[np.minimum(starts + 2, last)]
    blank = np.isin(second, (9, 10, 13, 32)) | np.isin(first, (9, 10, 13, 32))
    objects = (first == 123) & (second == 34) & (third == 114)
    suspects = filled & (objects | (blank & (first != 0x0A)) | ((first == 0x0A) & (found == LINES)))
    for row in np.flatnonzero(suspects).tolist():
        if _OTLP_JSON.match(content[starts[row] : min(int(ends[row]), int(starts[row]) + 256)].tobytes()):
            found[row] = OTLP_JSON
    return found


def is_otlp_proto(message: bytes) -> bool:
    """Whether `message` is framed as an OTLP request: fields 1 that fill it and begin like a resource's contents."""
    at = 0
    while at < len(message):
        if message[at] != 0x0A:
            return False
        size, at = _varint(message, at + 1)
        if size < 0 or at + size > len(message):
            return False
        if size and message[at] not in _RESOURCE_TAGS:
            return False
        at += size
    return at > 2


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return -1, at


class Auto:
    """Decoder of any format that is recognised, message by message."""

    name = "auto"

    def __init__(self, proto: Decoder, json: Decoder, limits: Limits = DEFAULT_LIMITS) -> None:
        """`proto` and `json` decode OTLP."""
        self._limits = limits
        self._readers: tuple[Callable[[pa.LargeBinaryArray], Decoded], ...] = (self._lines, proto.decode, json.decode)
        self.version = 1 + proto.version + json.version

    def _lines(self, values: pa.LargeBinaryArray) -> Decoded:
        return decode_bodies(values, "auto", self._limits)

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Decode message bodies of any recognised format. Never raises for any input bytes."""
        of_message = kinds(values)
        parts: list[Decoded] = []
        for kind, read in enumerate(self._readers):
            rows = np.flatnonzero(of_message == kind)
            if len(rows) == len(of_message):
                return read(values)
            if len(rows):
                parts.append(moved(read(values.take(pa.array(rows))), rows))
        return merged(parts)


__all__ = ["Auto", "decode_lines", "is_otlp_proto", "kinds"]
