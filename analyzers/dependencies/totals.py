"""What was counted on every edge of a window, group by group: a group is a pair of nodes and a kind of evidence.

edge_totals.sql (sums per base edge, and the hours in which it spoke) ──► who counts ──► edge_spread.sql (statuses,
faults, quantiles of what counts; edge_bounds.sql for metrics) ──► rows as those of edge_numbers.sql

Per edge and hour one reporter's lines count (docs/counting.md). Where the reporter of the highest rank spoke in every
hour in which anybody did, and that is nearly everywhere, it counts in the whole window, and sums over the window are
enough. The rest (`unsettled`) is for edge_numbers.sql, which decides hour by hour; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyzers.dependencies.histograms import QUANTILES, bounded_quantiles_us, value_us
from analyzers.dependencies.map_keys import ROW_LIMIT, Flags, Ints, MapKeys
from analyzers.dependencies.windows import Window
from storage.engine import Engine
from storage.sql import load

RANKS = {"source": 4, "gateway": 4, "destination": 3, "waypoint": 2}
"""Whose lines count first; whoever else spoke has rank 1."""
SEES_REQUESTS = 10
"""Added to the rank of a reporter that sees requests and not only the connections under them."""

BLOCK = timedelta(days=2)
"""Hours that fit one mask."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUMS = ("requests", "errors", "denied", "timed", "sized", "bytes_sent", "bytes_received")


@dataclass(frozen=True, slots=True)
class Totals:
    """What is settled, and what is not.

    `rows` have the columns of edge_numbers.sql, but `quantiles_us` (p50, p95, p99; None where nothing was timed)
    instead of histograms. `unsettled` are the entries of the map's keys whose groups edge_numbers.sql must decide.
    """

    rows: Sequence[Mapping[str, Any]]
    unsettled: Flags


def totals(engine: Engine, keys: MapKeys, window: Window) -> Totals:
    """Count every group of `keys` that one reporter settles.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    parameters = {**window.parameters(), "row_limit": ROW_LIMIT}
    since_origin = {**parameters, "origin": window.origin}
    read = engine.query(load("dependencies/edge_totals").text, since_origin)
    short = window.until - window.origin <= BLOCK
    spoke = _Spoke.of(keys, read if short else engine.query(load("dependencies/edge_hours").text, since_origin))
    unsettled = spoke.unsettled(keys)
    settled = spoke.counted & ~unsettled[spoke.group]
    counts = np.zeros(len(keys.edge_id), np.bool_)
    counts[spoke.key[settled]] = True
    comparable = np.zeros(len(keys.edge_id), np.bool_)
    comparable[spoke.key[spoke.comparable]] = True
    spread = _spread(engine, keys, spoke.key, counts, parameters)
    bounded = _bounded(engine, keys, counts, parameters)
    return Totals(_rows(keys, read, counts, comparable, unsettled, spread, bounded), unsettled[keys.group])


def _entries(keys: MapKeys, read: pa.Table) -> tuple[pa.Table, Ints]:
    """The rows of `read` whose edge has a key, and the (first) entry of each among the keys."""
    wanted = read["edge_id"].to_numpy()
    if not len(keys.edge_id):
        return read.slice(0, 0), np.zeros(0, np.int64)
    key = np.searchsorted(keys.edge_id, wanted)
    known = keys.edge_id[np.minimum(key, len(keys.edge_id) - 1)] == wanted
    return (read, key) if known.all() else (read.filter(pa.array(known)), key[known])


def _ranks(keys: MapKeys) -> tuple[Ints, Flags]:
    """Rank of each entry's reporter, and whether the entry tells of requests (not of connections)."""
    reporter, texts = keys.labels["reporter"]
    ranks = np.array([RANKS.get(text, 1) for text in texts], np.int64)
    return ranks[reporter], ~keys.codes("protocol", "tcp")


@dataclass(frozen=True, slots=True)
class _Spoke:
    """Who spoke in which hours, by edge and block of hours: its entry and group, and whether it counts there."""

    key: Ints
    group: Ints
    sees: Flags
    comparable: Flags
    """Not a connection under requests that somebody else saw."""
    counted: Flags
    split: Ints
    """Groups in which nobody of the highest rank spoke in an hour in which others did."""

    @classmethod
    def of(cls, keys: MapKeys, read: pa.Table) -> _Spoke:
        read, key = _entries(keys, read)
        group = keys.group[key]
        rank, sees_requests = _ranks(keys)
        sees = sees_requests[key]
        merit = rank[key] + SEES_REQUESTS * sees
        hours = read["hours"].to_numpy().astype(np.uint64)
        place = group
        if "block" in read.schema.names:
            block = read["block"].to_numpy().astype(np.int64)
            place = np.unique(group * (int(block.max(initial=0)) + 1) + block, return_inverse=True)[1]
        best = np.zeros(int(place.max(initial=-1)) + 1, np.int64)
        np.maximum.at(best, place, merit)
        counted = merit == best[place]
        all_hours, best_hours = np.zeros(len(best), np.uint64), np.zeros(len(best), np.uint64)
        np.bitwise_or.at(all_hours, place, hours)
        np.bitwise_or.at(best_hours, place[counted], hours[counted])
        split = np.unique(group[(all_hours & ~best_hours)[place] != 0])
        return cls(key, group, sees, sees == (best[place] >= SEES_REQUESTS), counted, split)

    def unsettled(self, keys: MapKeys) -> Flags:
        """By group: whether one choice of reporters does not hold for the whole window."""
        found = np.zeros(len(keys.members), np.bool_)
        found[self.split] = True
        # A name that changed within the window, or ever: hours are few enough to look closely.
        found[keys.group[keys.changing()]] = True
        # A reporter that logs requests here and connections there is ranked by the hour.
        reporter = keys.labels["reporter"][0][self.key]
        side = np.unique(self.group * (int(reporter.max(initial=0)) + 1) + reporter, return_inverse=True)[1]
        for flags, of in ((self.sees, side), (self.counted, self.key), (self.comparable, self.key)):
            number = np.unique(of, return_inverse=True)[1]
            some, every = np.zeros(len(number), np.bool_), np.ones(len(number), np.bool_)
            np.logical_or.at(some, number, flags)
            np.logical_and.at(every, number, flags)
            found[self.group[some[number] & ~every[number]]] = True
        return found


def _spread(
    engine: Engine, keys: MapKeys, spoke: Ints, counts: Flags, parameters: Mapping[str, Any]
) -> Mapping[int, Mapping[str, Any]]:
    """Statuses, faults and quantiles of what counts, by group."""
    if not counts.any():
        return {}
    seen = np.zeros(len(keys.edge_id), np.bool_)
    seen[spoke] = True
    exceptions = seen & (counts != keys.codes("reporter", "source", "gateway"))
    entries = np.flatnonzero(counts)
    first = np.zeros(len(keys.members), np.int64)
    first[keys.group[entries[::-1]]] = entries[::-1]
    several = entries[first[keys.group[entries]] != entries]
    chosen = {
        "exceptions": [0, *keys.edge_id[exceptions].tolist()],
        "several": [0, *keys.edge_id[several].tolist()],
        "labels": [0, *keys.edge_id[first[keys.group[several]]].tolist()],
    }
    found = engine.query(load("dependencies/edge_spread").text, {**parameters, **chosen})
    group = keys.group[np.searchsorted(keys.edge_id, found["label"].to_numpy())].tolist()
    return dict(zip(group, found.to_pylist(), strict=True))


def _bounded(
    engine: Engine, keys: MapKeys, counts: Flags, parameters: Mapping[str, Any]
) -> Mapping[int, Sequence[float | None]]:
    """Quantiles (us) of the groups whose latencies metrics tell, in buckets with bounds of their own."""
    entries = np.flatnonzero(counts & keys.codes("evidence", "metric"))
    rows = _by_group(engine, "dependencies/edge_bounds", keys, entries, parameters)
    return {group: bounded_quantiles_us(row["bounds_histogram"], QUANTILES) for group, row in rows.items()}


def _by_group(
    engine: Engine, statement: str, keys: MapKeys, entries: Ints, parameters: Mapping[str, Any]
) -> Mapping[int, Mapping[str, Any]]:
    if not len(entries):
        return {}
    asked = load(statement)
    chosen = {"edge_ids": keys.edge_id[entries].tolist(), "groups": (keys.group[entries] + 1).tolist()}
    given = {name: value for name, value in {**parameters, **chosen}.items() if name in asked.parameters}
    return {row["group_number"] - 1: row for row in engine.query(asked.text, given).to_pylist()}


def _rows(
    keys: MapKeys,
    read: pa.Table,
    counts: Flags,
    comparable: Flags,
    unsettled: Flags,
    spread: Mapping[int, Mapping[str, Any]],
    bounded: Mapping[int, Sequence[float | None]],
) -> Sequence[Mapping[str, Any]]:
    """One row per settled group, from the rows of edge_totals.sql and from flags by entry and by group."""
    read, entry = _entries(keys, read)
    settled = np.flatnonzero(~unsettled[keys.group[entry]])
    order = settled[np.argsort(keys.group[entry[settled]], kind="stable")]
    if not len(order):
        return []
    key = entry[order]
    group = keys.group[key]
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    counted, compared = counts[key], comparable[key]
    first_rank = _ranks(keys)[0][key] == RANKS["source"]
    values = {name: read[name].to_numpy()[order] for name in (*_SUMS, "first_ts", "last_ts")}
    destination = keys.codes("reporter", "destination")[key]
    refusing = keys.codes("reporter", "destination", "gateway", "waypoint")[key]
    # What the network dropped on the caller's side never came to the other.
    refusing |= keys.codes("evidence", "flow")[key]
    flow = keys.codes("evidence", "flow")[key]
    requests = values["requests"]

    def total(of: npt.NDArray[Any], where: Flags) -> list[Any]:
        return np.add.reduceat(np.where(where, of, 0), starts).tolist()

    ones = np.ones(len(order), np.int64)
    whom = keys.members[group[starts]]
    evidence, kinds = keys.labels["evidence"]
    columns: dict[str, Sequence[Any]] = {
        "source": keys.source[whom].tolist(),
        "destination": keys.destination[whom].tolist(),
        "evidence": [kinds[code] for code in evidence[whom].tolist()],
        **{name: total(values[name], counted) for name in _SUMS if name != "denied"},
        "source_requests": total(requests, compared & first_rank),
        "destination_requests": total(requests, compared & destination),
        "destination_rows": total(ones, compared & destination),
        "denied": total(values["denied"], refusing | flow),
        "verdict_rows": total(ones, refusing | flow),
        "mtls": total(requests, refusing & keys.codes("tls", "mtls")[key]),
        "tls_known": total(requests, refusing & keys.codes("tls", "mtls", "tls", "plaintext")[key]),
        "gateway_rows": total(ones, keys.codes("reporter", "gateway")[key]),
        "first_ts": _times(np.minimum.reduceat(values["first_ts"], starts)),
        "last_ts": _times(np.maximum.reduceat(values["last_ts"], starts)),
        "protocols": _counts(keys, "protocol", key, requests * counted, starts),
        "directions": _counts(keys, "direction", key, requests * counted, starts),
    }
    for label in ("source_version", "source_principal", "destination_version", "destination_principal"):
        columns[f"{label}s"] = _texts(keys, label, key, starts)
    found = [spread.get(number, _NOTHING) for number in group[starts].tolist()]
    for name in ("statuses", "grpc_statuses", "faults"):
        columns[name] = [row[name] for row in found]
    buckets = np.array([row["quantile_buckets"] for row in found])
    timed = np.array(columns["timed"]) > 0
    columns["quantiles_us"] = [
        quantiles if known else bounded.get(number, _UNTIMED)
        for number, quantiles, known in zip(
            group[starts].tolist(), value_us(buckets).tolist(), timed.tolist(), strict=True
        )
    ]
    names = tuple(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_UNTIMED = (None, None, None)
_NOTHING: Mapping[str, Any] = {
    "statuses": (),
    "grpc_statuses": (),
    "faults": (),
    "quantile_buckets": (0, 0, 0),
}


def _times(moments: npt.NDArray[np.datetime64]) -> list[Any]:
    return [_EPOCH + timedelta(microseconds=us) for us in moments.astype("datetime64[us]").astype(np.int64).tolist()]


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
