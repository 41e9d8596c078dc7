"""A CSV of `timestamp,value` as a series; what cannot be read is told and loses nothing else."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

MOST_ROWS = 2_000_000
MOST_TOLD = 5
"""Lines that could not be read and are told by number; the others are counted."""
_LONGEST_LINE = 65_536
_TIMES, _VALUES = ("timestamp", "time", "ts", "date", "datetime"), ("value", "latency", "y")
_EMPTY = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
_SECONDS_BELOW, _MILLISECONDS_BELOW, _MICROSECONDS_BELOW = 1e11, 1e14, 1e17
_EARLIEST_US, _LATEST_US = -62_135_596_800_000_000, 253_402_300_799_000_000
"""The years 1 to 9999: what a datetime holds."""


class BadSeries(Exception):
    """A file that is no series: one line saying what, where and what was expected."""


@dataclass(frozen=True, slots=True)
class Series:
    """Points in order of time, one a time; gaps are left out.

    Attributes:
        times_us: microseconds since 1970, shape (points,).
        values: shape (points,), finite.
        notes: what could not be read.
    """

    times_us: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.values)


def read_series(lines: Iterable[str], name: str = "the file") -> Series:
    """Read the lines of a CSV whose first one names its columns.

    Points of one time become their mean. A value that is empty or NaN is a gap.

    Raises:
        BadSeries: no header with a time and a value, too many rows, or nothing that can be read.
    """
    rows = csv.reader(_bounded(lines, name))
    header = _header(rows, name)
    at, of = _column(header, _TIMES, 0), _column(header, _VALUES, 1)
    times: list[int] = []
    values: list[float] = []
    bad: list[str] = []
    count = 0
    for number, row in enumerate(_parsed(rows, name), 2):
        if not row:
            continue
        if number > MOST_ROWS:
            raise BadSeries(f"{name}: more than {MOST_ROWS:,} rows, expected a shorter series")
        if len(row) <= max(at, of):
            bad.append(f"line {number}: {len(row)} columns, expected {max(at, of) + 1}")
            continue
        count += 1
        if row[of].strip().lower() in _EMPTY:
            continue
        moment, value = _moment(row[at]), _value(row[of])
        if moment is None:
            bad.append(f"line {number}: {row[at][:40]!r} is no time, expected RFC 3339 or seconds since 1970")
        elif value is None:
            bad.append(f"line {number}: {row[of][:40]!r} is no finite number")
        else:
            times.append(moment)
            values.append(value)
    if bad and not times:
        raise BadSeries(f"{name}: {bad[0]}")
    notes = [f"{name}: {text}" for text in bad[:MOST_TOLD]]
    if len(bad) > MOST_TOLD:
        notes.append(f"{name}: and {len(bad) - MOST_TOLD:,} lines more that could not be read")
    return _ordered(np.array(times, np.int64), np.array(values, np.float64), notes)


def _bounded(lines: Iterable[str], name: str) -> Iterable[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_LINE:
            raise BadSeries(f"{name}: line {number} has more than {_LONGEST_LINE:,} characters")
        yield line.replace("\0", "")


def _parsed(rows: Iterable[list[str]], name: str) -> Iterable[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise BadSeries(f"{name}: {error}") from None


def _header(rows: Iterable[list[str]], name: str) -> list[str]:
    header = next((row for row in _parsed(rows, name) if row), None)
    if header is None:
        raise BadSeries(f"{name}: empty, expected a header `timestamp,value`")
    cleaned = [cell.strip().strip("\ufeff").lower() for cell in header]
    if len(cleaned) < 2:
        raise BadSeries(f"{name}: line 1 has one column, expected a header `timestamp,value`")
    if _moment(header[0]) is not None and _value(header[1]) is not None:
        raise BadSeries(f"{name}: line 1 is a point, expected a header `timestamp,value`")
    return cleaned


def _column(header: Sequence[str], names: Sequence[str], otherwise: int) -> int:
    return next((header.index(name) for name in names if name in header), otherwise)


def _moment(text: str) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time (without an offset UTC), or of a number of s, ms, us or ns."""
    text = text.strip()
    number = _value(text)
    if number is not None:
        size = abs(number)
        scale = (
            1e6
            if size < _SECONDS_BELOW
            else 1e3
            if size < _MILLISECONDS_BELOW
            else 1
            if size < _MICROSECONDS_BELOW
            else 1e-3
        )
        found = round(number * scale)
        return found if _EARLIEST_US <= found <= _LATEST_US else None
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith(("Z", "z")) else text)
    except ValueError:
        return None
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    try:
        return round(parsed.timestamp() * 1e6)
    except (OverflowError, ValueError):
        return None


def _value(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _ordered(times: npt.NDArray[np.int64], values: npt.NDArray[np.float64], notes: Sequence[str]) -> Series:
    if not len(times):
        return Series(times, values, notes)
    unique, place = np.unique(times, return_inverse=True)
    many = np.bincount(place)
    # Halves first: the sum of two values of 1e308 is no number.
    mean = np.bincount(place, values / many[place]).astype(np.float64)
    return Series(unique, mean, notes)
