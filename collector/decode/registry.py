"""Format name → decoder."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from collector.contract import Decoded, Decoder
from collector.decode.detect import Auto
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.line_formats import BY_NAME, LINE_FORMATS
from collector.decode.lines import decode_bodies
from collector.decode.otlp_json import OtlpJson
from collector.decode.otlp_proto import OtlpProto

FORMATS: tuple[str, ...] = ("auto", *LINE_FORMATS, "otlp_proto", "otlp_json")
"""Every format that a source may name."""


@dataclass(frozen=True, slots=True)
class LineDecoder:
    """One of the line formats, bare or in the envelopes of log shippers."""

    name: str
    version: int
    limits: Limits

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Decode message bodies, each with one line or several. Never raises for any input bytes."""
        return decode_bodies(values, self.name, self.limits)


def decoder(name: str, limits: Limits = DEFAULT_LIMITS) -> Decoder:
    """The decoder of a format.

    Raises:
        ValueError: for an unknown name; it lists the known ones.
    """
    if name == "auto":
        return Auto(OtlpProto(limits), OtlpJson(limits), limits)
    if name == "otlp_proto":
        return OtlpProto(limits)
    if name == "otlp_json":
        return OtlpJson(limits)
    if name in BY_NAME:
        return LineDecoder(name, BY_NAME[name].version, limits)
    raise ValueError(f"unknown format {name!r}, expected one of {', '.join(FORMATS)}")
