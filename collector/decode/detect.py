"""`format=auto`: what each message is, found from its bytes.

    message ──┬─ protobuf framing of OTLP ──► otlp_proto
              ├─ a Jaeger span's two ids    ──► jaeger_proto
              ├─ {"resourceSpans" ...       ──► otlp_json
              └─ anything else              ──► lines (`lines.decode_lines` tells their formats apart)

A topic may mix them. Looking costs a few bytes a message; lines are told apart while they are cut, by their keys.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.contract import Decoded, Decoder
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.lines import decode_bodies, decode_lines, merged, moved
from collector.decode.sniff import is_jaeger_proto, is_otlp_json, is_otlp_proto
from collector.decode.spans import bounds

LINES, OTLP_PROTO, OTLP_JSON, JAEGER_PROTO = 0, 1, 2, 3
KIND_NAMES = ("lines", "otlp_proto", "otlp_json", "jaeger_proto")


def kinds(values: pa.LargeBinaryArray) -> npt.NDArray[np.uint8]:
    """`LINES`, `OTLP_PROTO`, `OTLP_JSON` or `JAEGER_PROTO` for each message."""
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
        message = content[starts[row] : ends[row]].tobytes()
        if is_jaeger_proto(message[:32]):
            found[row] = JAEGER_PROTO
        elif is_otlp_proto(message):
            found[row] = OTLP_PROTO
    third = content[np.minimum(starts + 2, last)]
    blank = np.isin(second, (9, 10, 13, 32)) | np.isin(first, (9, 10, 13, 32))
    objects = (first == 123) & (second == 34) & (third == 114)
    suspects = filled & (objects | (blank & (first != 0x0A)) | ((first == 0x0A) & (found == LINES)))
    for row in np.flatnonzero(suspects).tolist():
        if is_otlp_json(content[starts[row] : min(int(ends[row]), int(starts[row]) + 256)].tobytes()):
            found[row] = OTLP_JSON
    return found


class Auto:
    """Decoder of any format that is recognised, message by message."""

    name = "auto"

    def __init__(self, proto: Decoder, json: Decoder, jaeger: Decoder, limits: Limits = DEFAULT_LIMITS) -> None:
        """`proto` and `json` decode OTLP, `jaeger` spans in protobuf."""
        self._limits = limits
        self._readers: tuple[Callable[[pa.LargeBinaryArray], Decoded], ...] = (
            *(self._lines, proto.decode, json.decode, jaeger.decode),
        )
        self.version = proto.version + json.version + jaeger.version

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
