"""Text values → typed columns, for every line format.

Each function takes text (null = absent) and returns the typed column, null where it is absent or wrong, beside a mask
of the rows whose text is there and wrong. The caller decides whether wrong means a dead letter or merely absent.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import EARLIEST_US, LATEST_US
from collector.decode.spans import bounds

Mask = npt.NDArray[np.bool_]
TIMESTAMP = pa.timestamp("us", "UTC")

_NUMBER = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[0-9]{1,19}$"
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,18}))?\s?(Z|z|UTC|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

GRPC_CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""gRPC status names in Envoy's CamelCase form, by number (grpc.io, "Status codes")."""

_GRPC_BY_NAME = {name.lower(): code for code, name in enumerate(GRPC_CODES)} | {"cancelled": 1}


def absent_to_null(text: pa.StringArray) -> pa.StringArray:
    """The proxies' ways to say absent, `-` and the empty string, as null."""
    content, starts, ends = bounds(text)
    length = ends - starts
    absent = length == 0
    dashes = np.flatnonzero(length == 1)
    if len(dashes):
        absent[dashes] = content[starts[dashes]] == 45
    if not absent.any():
        return text
    return pc.if_else(pa.array(absent), pa.scalar(None, pa.string()), text)


def present(text: pa.Array) -> Mask:
    """Which values are not null."""
    return text.is_valid().to_numpy(zero_copy_only=False)


def _matching(text: pa.StringArray, expression: str) -> Mask:
    return pc.match_substring_regex(text, expression).fill_null(False).to_numpy(zero_copy_only=False)


def _only(text: pa.StringArray, mask: Mask) -> pa.StringArray:
    return pc.if_else(pa.array(mask), text, pa.scalar(None, pa.string()))


def numbers(text: pa.StringArray) -> tuple[pa.DoubleArray, Mask]:
    """Finite numbers in JSON's notation."""
    wrong = np.zeros(len(text), np.bool_)
    try:
        values = text.cast(pa.float64())
    except pa.ArrowInvalid:
        good = _matching(text, _NUMBER)
        wrong = present(text) & ~good
        values = _only(text, good).cast(pa.float64())
    finite = pc.is_finite(values).fill_null(True).to_numpy(zero_copy_only=False)
    if not finite.all():
        wrong |= ~finite
        values = pc.if_else(pa.array(finite), values, pa.scalar(None, pa.float64()))
    return values, wrong


def unsigned(text: pa.StringArray, kind: pa.DataType, largest: int, *, fractions: bool = True) -> tuple[pa.Array, Mask]:
    """Whole numbers 0..`largest` as `kind`; a fraction is rounded to the nearest (half to even), or wrong."""
    try:
        whole = text.cast(pa.uint64())
        wrong = np.zeros(len(text), np.bool_)
    except pa.ArrowInvalid:
        plain = _matching(text, _INTEGER)
        whole = _only(text, plain).cast(pa.uint64())
        others, wrong = numbers(_only(text, ~plain))
        rounded = pc.round(others, round_mode="half_to_even").to_numpy(zero_copy_only=False)
        fits = (rounded >= 0) & (rounded <= min(largest, 1 << 63))
        if not fractions:
            fits &= rounded == others.to_numpy(zero_copy_only=False)
        wrong |= present(others) & ~fits
        rest = pa.array(np.where(fits, rounded, 0).astype(np.uint64), mask=~fits)
        whole = pc.coalesce(whole, rest)
    if len(whole) > whole.null_count and pc.max(whole).as_py() > largest:
        large = pc.greater(whole, pa.scalar(largest, pa.uint64())).fill_null(False).to_numpy(zero_copy_only=False)
        wrong |= large
        whole = pc.if_else(pa.array(large), pa.scalar(None, pa.uint64()), whole)
    return whole.cast(kind), wrong


def grpc_statuses(text: pa.StringArray) -> pa.UInt8Array:
    """gRPC status as a number, from its number or name in any of Envoy's forms; null where it is neither."""
    distinct = text.dictionary_encode()
    codes = [_grpc_status(value) for value in distinct.dictionary.to_pylist()]
    return pa.array(codes, pa.uint8()).take(distinct.indices)


def _grpc_status(text: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= 3 and int(text) <= 255 else None
    return _GRPC_BY_NAME.get(text.replace("_", "").lower())


def times(text: pa.StringArray) -> tuple[pa.TimestampArray, Mask]:
    """RFC 3339 times, or seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart by their size).

    A time without a zone is UTC; digits beyond microseconds are cut. Times outside 1971..2100 are wrong.
    """
    wrong = np.zeros(len(text), np.bool_)
    try:
        values = text.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        values, wrong = _times_of_any_form(text)
    micros = values.cast(pa.int64())
    if len(text) > values.null_count:
        extremes = pc.min_max(micros).as_py()
        if extremes["min"] < EARLIEST_US or extremes["max"] >= LATEST_US:
            inside = pc.and_(pc.greater_equal(micros, EARLIEST_US), pc.less(micros, LATEST_US))
            inside = inside.fill_null(True).to_numpy(zero_copy_only=False)
            wrong |= ~inside
            values = pc.if_else(pa.array(inside), values, pa.scalar(None, TIMESTAMP))
    return values, wrong


def _times_of_any_form(text: pa.StringArray) -> tuple[pa.TimestampArray, Mask]:
    cut = pc.replace_substring_regex(text, r"(:\d\d\.\d{6})\d+", r"\1")
    common = _matching(cut, r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$")
    values = _only(cut, common).cast(TIMESTAMP)
    digits = _matching(text, r"^\d{1,18}$")
    if digits.any():
        values = pc.coalesce(values, _epochs(_only(text, digits)))
    rest = np.flatnonzero(present(text) & ~common & ~digits)
    wrong = np.zeros(len(text), np.bool_)
    if len(rest):
        found = [_micros(value) for value in text.take(pa.array(rest)).to_pylist()]
        micros = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).copy()
        known = present(values)
        for row, value in zip(rest.tolist(), found, strict=True):
            if value is None:
                wrong[row] = True
            else:
                micros[row], known[row] = value, True
        values = pa.array(micros, mask=~known).cast(TIMESTAMP)
    return values, wrong


def _epochs(text: pa.StringArray) -> pa.TimestampArray:
    """Whole numbers of at most 18 digits since 1970, as `_micros` reads them."""
    numbers = text.cast(pa.int64())
    given = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    micros = np.select(
        [given < 10**11, given < 10**14, given < 10**17], [given * 10**6, given * 10**3, given], given // 1000
    )
    return pa.array(micros, mask=~present(numbers)).cast(TIMESTAMP)


def _micros(text: str) -> int | None:
    """Microseconds since 1970 of one time in any accepted form, bounded to int64's range."""
    if match := _RFC3339.fullmatch(text):
        year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
        fraction = int((match[7] or "0")[:6].ljust(6, "0"))
        zone: timezone = UTC
        try:
            if match[9]:
                offset = timedelta(hours=int(match[10]), minutes=int(match[11]))
                zone = timezone(-offset if match[9] == "-" else offset)
            # A leap second is the first of the next minute.
            moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
        except ValueError:
            return None
        if second > 60:
            return None
        return (moment - _EPOCH) // timedelta(microseconds=1) + (second - min(second, 59)) * 1_000_000 + fraction
    if re.fullmatch(r"\d{1,19}(\.\d{1,18})?", text, re.ASCII):
        whole, _, fraction_digits = text.partition(".")
        number = int(whole)
        scale = 10**6 if number < 10**11 else 10**3 if number < 10**14 else 1 if number < 10**17 else 0
        if scale == 0:
            return number // 1000
        return number * scale + int((fraction_digits + "000000")[:6]) * scale // 10**6
    return None
