"""Trace and span ids in one form: lower-case hex, padded to their full width; anything else is absent.

B3 allows 64-bit trace ids, padded or not (openzipkin/b3-propagation); W3C `traceparent` is `VERSION-TRACE-SPAN-FLAGS`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TRACE_WIDTH = 32
SPAN_WIDTH = 16

# Lower-case form of every hex digit; 0 for every other byte.
_HEX = np.zeros(256, np.uint8)
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = ord(chr(_digit).lower())


def hex_ids(column: pa.Array, width: int) -> pa.StringArray:
    """Ids as `width` lower-case hex digits, left-padded with zeros; `""` for null, all zeros and what is no such id."""
    rows = len(column)
    if column.null_count == rows:
        return pa.nulls(rows, pa.string()).fill_null("")
    column = column.fill_null("") if column.null_count else column
    lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
    fits = (lengths > 0) & (lengths <= width)
    if not (lengths == width).all():
        # Other text becomes zeros, which is no id; padding counts characters, so only ASCII may pass.
        fits &= pc.string_is_ascii(column).to_numpy(zero_copy_only=False)
        column = pc.ascii_lpad(pc.if_else(pa.array(fits), column, ""), width, "0")
    buffer = column.buffers()[2]
    offset = int(np.frombuffer(column.buffers()[1], np.int32)[column.offset])
    digits = _HEX[np.frombuffer(buffer, np.uint8, rows * width, offset)].reshape(rows, width)
    valid = fits & (digits != 0).all(axis=1) & (digits != ord("0")).any(axis=1)
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
    ids = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits)))
    if valid.all():
        return ids
    # Rows with a NUL byte in them are replaced here, so no invalid text leaves this function.
    return pc.if_else(pa.array(valid), ids, "")


def from_traceparent(column: pa.Array) -> tuple[pa.StringArray, pa.StringArray]:
    """Trace and span ids of W3C `traceparent` values; `""` where there is none."""
    column = column.fill_null("")
    shaped = pc.match_substring_regex(column, r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
    column = pc.if_else(shaped, column, "")
    return (
        hex_ids(pc.utf8_slice_codeunits(column, 3, 3 + TRACE_WIDTH), TRACE_WIDTH),
        hex_ids(pc.utf8_slice_codeunits(column, 36, 36 + SPAN_WIDTH), SPAN_WIDTH),
    )
