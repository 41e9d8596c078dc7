"""What an OTLP/HTTP receiver answers, in protobuf and JSON: successes, partial ones, and `google.rpc.Status`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from collector.decode.otlp.schema import Signal
from collector.decode.otlp.varint import varint

PROTOBUF, JSON = "application/x-protobuf", "application/json"
TEXT_MOST = 500
"""Characters of a reason."""
_REJECTED: Mapping[Signal, str] = {
    "traces": "rejectedSpans",
    "metrics": "rejectedDataPoints",
    "logs": "rejectedLogRecords",
}
# HTTP status -> google.rpc.Code
_CODES = {400: 3, 404: 5, 405: 12, 408: 4, 411: 3, 413: 3, 415: 3, 429: 8, 431: 3, 501: 12, 503: 14}
_UNKNOWN = 2


@dataclass(frozen=True, slots=True)
class Rejected:
    """Records of a request that could not be used, and why the first could not."""

    records: int
    reason: str


def success(rejected: Rejected | None, signal: Signal, encoding: str) -> bytes:
    """Export…ServiceResponse {partial_success = 1 {rejected_... = 1, error_message = 2}}; empty without `rejected`."""
    if rejected is None:
        return b"{}" if encoding == JSON else b""
    message = f"kept as dead letters, they cannot be used; the first: {rejected.reason}"[:TEXT_MOST]
    if encoding == JSON:
        # JSON of protobuf writes 64-bit numbers as text.
        told = {_REJECTED[signal]: str(rejected.records), "errorMessage": message}
        return json.dumps({"partialSuccess": told}).encode()
    partial = _number_and_text(rejected.records, message)
    return b"\x0a" + varint(len(partial)) + partial


def failure(status: int, reason: str, encoding: str) -> tuple[str, bytes]:
    """`google.rpc.Status` {code = 1, message = 2} of an HTTP status, and its encoding: JSON unless it is protobuf."""
    code, message = _CODES.get(status, _UNKNOWN), reason.replace("\n", " ")[:TEXT_MOST]
    if encoding == PROTOBUF:
        return PROTOBUF, _number_and_text(code, message)
    return JSON, json.dumps({"code": code, "message": message}).encode()


def _number_and_text(number: int, text: str) -> bytes:
    """A protobuf message with a number in field 1 and a text in field 2."""
    content = text.encode("utf-8", "replace")
    return b"\x08" + varint(number) + b"\x12" + varint(len(content)) + content
