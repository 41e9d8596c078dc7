"""Format name → decoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collector.contract import DeadLetter, Decoded, Decoder
from collector.decode.detect import KIND_NAMES, LINES, Auto, kinds
from collector.decode.jaeger_proto import JaegerProto
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.line_formats import BY_NAME, LINE_FORMATS
from collector.decode.lines import decode_bodies, merged, moved
from collector.decode.otlp_json import OtlpJson
from collector.decode.otlp_proto import OtlpProto

FORMATS: tuple[str, ...] = ("auto", *LINE_FORMATS, "otlp_proto", "otlp_json", "jaeger_proto")
"""Every format that a source may name."""


@dataclass(frozen=True, slots=True)
class LineDecoder:
    """One of the line formats, bare or in the envelopes of log shippers."""

    name: str
    version: int
    limits: Limits

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Decode message bodies, each with one line or several. Never raises for any input bytes."""
        of_message = kinds(values)
        if not of_message.any():
            return decode_bodies(values, self.name, self.limits)
        lines, others = np.flatnonzero(of_message == LINES), np.flatnonzero(of_message)
        dead = [
            DeadLetter(
                row, 0, values[row].as_py(), f"not recognised: looks like {looks}; expected {self.name}", self.name
            )
            for row, looks in ((row, KIND_NAMES[of_message[row]]) for row in others.tolist())
        ]
        read = decode_bodies(values.take(pa.array(lines)), self.name, self.limits)
        return merged([moved(read, lines), Decoded({}, dead)])


def decoder(name: str, limits: Limits = DEFAULT_LIMITS) -> Decoder:
    """The decoder of a format.

    Raises:
        ValueError: for an unknown name; it lists the known ones.
    """
    if name == "auto":
        return Auto(OtlpProto(limits), OtlpJson(limits), JaegerProto(limits), limits)
    if name == "otlp_proto":
        return OtlpProto(limits)
    if name == "otlp_json":
        return OtlpJson(limits)
    if name == "jaeger_proto":
        return JaegerProto(limits)
    if name in BY_NAME:
        return LineDecoder(name, BY_NAME[name].version, limits)
    raise ValueError(f"unknown format {name!r}, expected one of {', '.join(FORMATS)}")
