"""What was counted on every edge of a window, group by group: a group is a pair of nodes and a kind of evidence.

edge_sums.sql, rollup by rollup (sums per base edge, and the hours in which it spoke) ──► who counts ──► edge_spread.sql
(statuses, faults, durations of what counts; edge_bounds.sql for metrics) ──► rows as those of edge_numbers.sql

Per edge and hour one reporter's lines count (docs/counting.md). Where the reporter of the highest rank spoke in every
hour in which anybody did, and that is nearly everywhere, it counts in the whole window, and sums over the window are
enough. The rest (`unsettled`) is for edge_numbers.sql, which decides hour by hour; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyzers.dependencies.breakdown import Breakdown, Pairs, fault_pairs
from analyzers.dependencies.faults import COLUMNS
from analyzers.dependencies.histograms import QUANTILES, bounded_quantiles_us, milliseconds
from analyzers.dependencies.map_keys import Flags, Ints, MapKeys
from analyzers.dependencies.rollups import Part, parts
from analyzers.dependencies.windows import Window
from storage.engine import Engine
from storage.sql import load

SEES_REQUESTS = 10
"""Added to the rank of a reporter that sees requests and not only the connections under them."""
FIRST = ("source", "gateway")
"""The reporters of the highest rank: nearly everywhere their lines count."""
FEW = 500
"""So many edge ids are cheaper in a statement than to read all edges of their reporters."""
STATEMENTS = 2
"""Statements that are under way at a time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMS = ("requests", "errors", "denied", "timed", "sized", "bytes_sent", "bytes_received")


@dataclass(frozen=True, slots=True)
class Totals:
    """What is settled, and what is not.

    `rows` have the columns of edge_numbers.sql, but `quantiles_ms` (p50, p95, p99; None where nothing was timed)
    instead of histograms. `unsettled` are the entries of the map's keys whose groups edge_numbers.sql must decide.
    """

    rows: Sequence[Mapping[str, Any]]
    unsettled: Flags


def totals(engine: Engine, keys: MapKeys, window: Window) -> Totals:
    """Count every group of `keys` that one reporter settles.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window_parts = parts(engine, window)
    # Planning takes about as long as reading here, and is done on one core: two statements at a time.
    with ThreadPoolExecutor(STATEMENTS) as pool:
        first = [pool.submit(part.read, engine, "edge_spread", reporters=FIRST, ids=[0]) for part in window_parts]
        read = [pool.submit(part.read, engine, "edge_sums") for part in window_parts]
        blamed = [pool.submit(part.read, engine, "edge_faults") for part in window_parts]
        sums = _Sums.of(keys, [rows.result() for rows in read])
        choice = _Choice.of(keys, sums)
        settled = ~choice.unsettled[keys.group]
        counts, comparable = choice.counted & settled, choice.comparable & settled
        others = _others(keys, counts)
        rest = [pool.submit(part.read, engine, "edge_spread", **others) for part in window_parts if others]
        answers = zip([*window_parts, *window_parts][: len(first) + len(rest)], [*first, *rest], strict=True)
        spread = _spread(keys, counts, [(part, rows.result()) for part, rows in answers])
        faults = _faults_by_side(keys, counts, comparable, spread[1], [rows.result() for rows in blamed])
    bounded = _bounded(engine, keys, counts, window)
    return Totals(_rows(keys, sums, counts, comparable, settled, spread, faults, bounded), ~settled)


def _others(keys: MapKeys, counts: Flags) -> Mapping[str, Any]:
    """Which rows of edge_spread.sql are to be read beside those of the reporters that nearly always count; {}: none."""
    entries = np.flatnonzero(counts & ~keys.codes("reporter", *FIRST))
    if not len(entries):
        return {}
    if len(entries) <= FEW:
        return {"reporters": [""], "ids": keys.edge_id[entries].tolist()}
    codes, texts = keys.labels["reporter"]
    return {"reporters": [texts[code] for code in np.unique(codes[entries]).tolist()], "ids": [0]}


def _known(keys: MapKeys, read: pa.Table) -> tuple[pa.Table, Ints]:
    """The rows of `read` whose edge has a key, and the (first) entry of each among the keys."""
    wanted = read["id"].to_numpy()
    if not len(keys.edge_id):
        return read.slice(0, 0), np.zeros(0, np.int64)
    entry = np.searchsorted(keys.edge_id, wanted)
    known = keys.edge_id[np.minimum(entry, len(keys.edge_id) - 1)] == wanted
    return (read, entry) if known.all() else (read.filter(pa.array(known)), entry[known])


@dataclass(frozen=True, slots=True)
class _Sums:
    """What the rollups say, by entry of the map's keys, and in which hours.

    `entry`, `day` and `hours` (a bit for each hour of the day) are one per row read; `values` and `seen` one per entry.
    """

    values: Mapping[str, npt.NDArray[Any]]
    seen: Flags
    entry: Ints
    day: Ints
    hours: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, keys: MapKeys, tables: Sequence[pa.Table]) -> _Sums:
        count = len(keys.edge_id)
        values = {name: np.zeros(count, np.uint64) for name in _SUMS}
        first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
        seen = np.zeros(count, np.bool_)
        entries, days, hours = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for table in tables:
            if not table.num_rows:
                continue
            read, entry = _known(keys, table)
            for name, sums in values.items():
                np.add.at(sums, entry, read[name].to_numpy())
            np.minimum.at(first, entry, read["first_us"].to_numpy())
            np.maximum.at(last, entry, read["last_us"].to_numpy())
            seen[entry] = True
            entries.append(entry)
            days.append(read["day"].to_numpy().astype(np.int64))
            hours.append(read["hours_of_day"].to_numpy())
        whole = {**values, "first_us": first, "last_us": last}
        return cls(whole, seen, np.concatenate(entries), np.concatenate(days), np.concatenate(hours))


@dataclass(frozen=True, slots=True)
class _Choice:
    """Whose lines count in the whole window.

    `counted` and `comparable` (not a connection under requests that somebody else saw) are one per entry. `unsettled`,
    one per group, tells where the choice does not hold for the whole window.
    """

    counted: Flags
    comparable: Flags
    unsettled: Flags

    @classmethod
    def of(cls, keys: MapKeys, sums: _Sums) -> _Choice:
        group, groups = keys.group, len(keys.members)
        sees = ~keys.codes("protocol", "tcp")
        merit = np.where(sums.seen, keys.rank + SEES_REQUESTS * sees, 0)
        best = np.zeros(groups, np.int64)
        np.maximum.at(best, group, merit)
        counted = sums.seen & (merit == best[group])
        comparable = sums.seen & (sees == (best[group] >= SEES_REQUESTS))
        return cls(counted, comparable, cls._unsettled(keys, sums, counted, sees))

    @staticmethod
    def _unsettled(keys: MapKeys, sums: _Sums, counted: Flags, sees: Flags) -> Flags:
        found = np.zeros(len(keys.members), np.bool_)
        # A name that changed within the window, or ever: hours are few enough to look closely.
        found[keys.group[keys.changing()]] = True
        # An hour in which others spoke, and nobody of the highest rank did.
        group = keys.group[sums.entry]
        first_day = int(sums.day.min(initial=1 << 16))
        days = int(sums.day.max(initial=first_day)) - first_day + 1
        place = group * days + (sums.day - first_day)
        anybody, best = np.zeros((2, len(found) * days), np.uint64)
        np.bitwise_or.at(anybody, place, sums.hours)
        chosen = counted[sums.entry]
        np.bitwise_or.at(best, place[chosen], sums.hours[chosen])
        found |= (anybody & ~best).reshape(len(found), days).any(axis=1)
        # A reporter that logs requests here and connections there is ranked by the hour.
        reporter, texts = keys.labels["reporter"]
        side = keys.group * len(texts) + reporter
        requests, connections = np.zeros((2, len(found) * len(texts)), np.bool_)
        requests[side[sums.seen & sees]] = True
        connections[side[sums.seen & ~sees]] = True
        return found | (requests & connections).reshape(len(found), len(texts)).any(axis=1)


def _spread(keys: MapKeys, counts: Flags, read: Sequence[tuple[Part, pa.Table]]) -> tuple[Breakdown, Ints]:
    """Statuses, faults and quantiles of what counts, by places, and the place of each group."""
    chosen = np.unique(keys.group[counts])
    place = np.full(len(keys.members), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    rows: list[tuple[pa.Table, Ints, bool]] = []
    for part, table in read:
        if table.num_rows:
            known, entry = _known(keys, table)
            rows.append((known, np.where(counts[entry], place[keys.group[entry]], -1), part.coarse))
    return Breakdown.of(rows, len(chosen)), place


def _faults_by_side(keys: MapKeys, counts: Flags, comparable: Flags, place: Ints, read: Sequence[pa.Table]) -> Pairs:
    """Faults by place and side: those of place p for column c of `COLUMNS` stand at p * len(COLUMNS) + c."""
    side = np.select([keys.codes("reporter", *FIRST), keys.codes("reporter", "destination")], [0, 1], 2)
    told = comparable & keys.codes("reporter", *FIRST, "destination", "waypoint")
    of_entry = np.where(told, place[keys.group] * len(COLUMNS) + 2 * side + ~counts, -1)
    rows: list[tuple[pa.Table, Ints]] = []
    for table in read:
        if table.num_rows:
            known, entry = _known(keys, table)
            rows.append((known, of_entry[entry]))
    return fault_pairs(rows, (int(place.max(initial=-1)) + 1) * len(COLUMNS))


def _bounded(engine: Engine, keys: MapKeys, counts: Flags, window: Window) -> Mapping[int, Sequence[float | None]]:
    """Quantiles (ms) of the groups whose latencies metrics tell, in buckets with bounds of their own."""
    entries = np.flatnonzero(counts & keys.codes("evidence", "metric"))
    if not len(entries):
        return {}
    asked = load("dependencies/edge_bounds")
    chosen = {"edge_ids": keys.edge_id[entries].tolist(), "groups": (keys.group[entries] + 1).tolist()}
    given = {
        name: value
        for name, value in {**window.parameters(), **chosen, "row_limit": len(entries)}.items()
        if name in asked.parameters
    }
    rows = engine.query(asked.text, given).to_pylist()
    return {
        row["group_number"] - 1: milliseconds(bounded_quantiles_us(row["bounds_histogram"], QUANTILES)) for row in rows
    }


def _rows(
    keys: MapKeys,
    sums: _Sums,
    counts: Flags,
    comparable: Flags,
    settled: Flags,
    spread: tuple[Breakdown, Ints],
    faults: Pairs,
    bounded: Mapping[int, Sequence[float | None]],
) -> Sequence[Mapping[str, Any]]:
    """One row per settled group."""
    chosen = np.flatnonzero(settled & sums.seen)
    key = chosen[np.argsort(keys.group[chosen], kind="stable")]
    if not len(key):
        return []
    group = keys.group[key]
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    counted, compared = counts[key], comparable[key]
    values = {name: column[key] for name, column in sums.values.items()}
    caller = keys.codes("reporter", *FIRST)[key]
    destination = keys.codes("reporter", "destination")[key]
    flow = keys.codes("evidence", "flow")[key]
    # What the network dropped on the caller's side never came to the other.
    refusing = keys.codes("reporter", "destination", "gateway", "waypoint")[key] | flow
    requests = values["requests"]

    def total(of: npt.NDArray[Any], where: Flags) -> list[Any]:
        return np.add.reduceat(np.where(where, of, 0), starts).tolist()

    ones = np.ones(len(key), np.int64)
    whom = keys.members[group[starts]]
    evidence, kinds = keys.labels["evidence"]
    counted_up, place = spread
    places = place[group[starts]].tolist()
    columns: dict[str, Sequence[Any]] = {
        "source": keys.source[whom].tolist(),
        "destination": keys.destination[whom].tolist(),
        "evidence": [kinds[code] for code in evidence[whom].tolist()],
        **{name: total(values[name], counted) for name in _SUMS if name != "denied"},
        "source_requests": total(requests, compared & caller),
        "destination_requests": total(requests, compared & destination),
        "source_errors": total(values["errors"], compared & caller),
        "destination_errors": total(values["errors"], compared & destination),
        "destination_rows": total(ones, compared & destination),
        "denied": total(values["denied"], refusing),
        "verdict_rows": total(ones, refusing),
        "mtls": total(requests, refusing & keys.codes("tls", "mtls")[key]),
        "tls_known": total(requests, refusing & keys.codes("tls", "mtls", "tls", "plaintext")[key]),
        "gateway_rows": total(ones, keys.codes("reporter", "gateway")[key]),
        "first_ts": _times(np.minimum.reduceat(values["first_us"], starts)),
        "last_ts": _times(np.maximum.reduceat(values["last_us"], starts)),
        "protocols": _counts(keys, "protocol", key, requests * counted, starts),
        "directions": _counts(keys, "direction", key, requests * counted, starts),
        "statuses": [counted_up.statuses[at] for at in places],
        "grpc_statuses": [counted_up.grpc_statuses[at] for at in places],
        "faults": [counted_up.faults[at] for at in places],
        **{name: [faults[at * len(COLUMNS) + number] for at in places] for number, name in enumerate(COLUMNS)},
        "quantiles_ms": [
            bounded.get(number, counted_up.quantiles_ms[at])
            for number, at in zip(group[starts].tolist(), places, strict=True)
        ],
    }
    for label in ("source_version", "source_principal", "destination_version", "destination_principal"):
        columns[f"{label}s"] = _texts(keys, label, key, starts)
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _times(moments_us: Ints) -> list[datetime]:
    return [_EPOCH + timedelta(microseconds=us) for us in moments_us.tolist()]


def _counts(
    keys: MapKeys, label: str, key: Ints, requests: npt.NDArray[np.uint64], starts: Ints
) -> list[list[tuple[str, int]]]:
    """Requests by the texts of `label`, per group."""
    codes, texts = keys.labels[label]
    sums = {
        text: np.add.reduceat(np.where(codes[key] == code, requests, 0), starts).tolist()
        for code, text in enumerate(texts)
    }
    return [
        [(text, count) for text, count in zip(sums, row, strict=True) if count]
        for row in zip(*sums.values(), strict=True)
    ]


def _texts(keys: MapKeys, label: str, key: Ints, starts: Ints) -> list[list[str]]:
    """The distinct texts of `label`, per group."""
    codes, texts = keys.labels[label]
    named = [[texts[code]] for code in range(len(texts))]
    chosen = codes[key]
    low, high = np.minimum.reduceat(chosen, starts), np.maximum.reduceat(chosen, starts)
    ends = np.append(starts[1:], len(chosen))
    return [
        named[first] if first == last else sorted(texts[int(code)] for code in set(chosen[start:end].tolist()))
        for first, last, start, end in zip(low.tolist(), high.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]
