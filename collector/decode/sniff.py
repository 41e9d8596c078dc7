"""What a whole message is by its first bytes: formats that are no lines."""

from __future__ import annotations

import re

_OTLP_JSON = re.compile(
    rb'\s*\{\s*"(?:resourceSpans|resourceLogs|resourceMetrics|resource_spans|resource_logs|resource_metrics)"\s*:'
)
# Field numbers that the first resource of an OTLP request can begin with: resource, scopes, schema_url.
_RESOURCE_TAGS = frozenset((0x0A, 0x12, 0x1A))
# A Jaeger span begins with its ids, 16 and 8 bytes.
_TRACE_ID, _SPAN_ID = b"\x0a\x10", b"\x12\x08"


def whole_message_format(message: bytes) -> str:
    """`otlp_proto`, `otlp_json` or `jaeger_proto`; `""` for anything else."""
    if is_jaeger_proto(message):
        return "jaeger_proto"
    if is_otlp_proto(message):
        return "otlp_proto"
    return "otlp_json" if is_otlp_json(message[:256]) else ""


def is_otlp_json(head: bytes) -> bool:
    """Whether a message that begins with `head` is an OTLP request in JSON."""
    return _OTLP_JSON.match(head) is not None


def is_jaeger_proto(head: bytes) -> bool:
    """Whether a message that begins with `head` is framed as a Jaeger span: fields 1 and 2 are its ids."""
    return head.startswith(_TRACE_ID) and head[18:20] == _SPAN_ID and len(head) >= 28


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
