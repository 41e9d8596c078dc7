"""Files whose records are not lines: OTLP protobuf, whole or in length-prefixed frames, and JSON over several lines."""

from __future__ import annotations

import pyarrow as pa

DOCUMENT_BYTES = 256 << 20
"""A document is read as a whole; a larger one is refused."""
_FRAME_LENGTH = 4


def is_document(format: str, head: bytes) -> bool:
    """Whether a file beginning with `head` is to be read as a whole rather than line by line.

    `auto` calls a file a document when its head holds a zero byte (protobuf; no log line has one) or when its first
    line is a lone bracket (pretty-printed JSON).
    """
    if format in ("otlp_proto", "jaeger_proto"):
        return True
    if format not in ("auto", "otlp_json", "zipkin_json", "jaeger_json"):
        return False
    first = head.split(b"\n", 1)[0].strip()
    return first in (b"{", b"[") or (format == "auto" and b"\0" in head)


def split_document(block: pa.Buffer, position: int) -> tuple[pa.LargeBinaryArray, pa.Int64Array]:
    """Messages of a document and their positions, where it begins at `position`.

    The Collector's file exporter writes each protobuf message behind its length (4 bytes, big endian). No protobuf
    message begins with a zero byte, no frame of less than 16 MiB begins with another. A frame cut off at the end is
    kept as it is.
    """
    data = memoryview(block)
    if not len(data) or data[0] != 0:
        return pa.array([data.tobytes()] if len(data) else [], pa.large_binary()), pa.array(
            [position] if len(data) else [], pa.int64()
        )
    messages: list[bytes] = []
    offsets: list[int] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + _FRAME_LENGTH], "big")
        messages.append(data[at + _FRAME_LENGTH : at + _FRAME_LENGTH + length].tobytes())
        offsets.append(position + at)
        at += _FRAME_LENGTH + length
    return pa.array(messages, pa.large_binary()), pa.array(offsets, pa.int64())
