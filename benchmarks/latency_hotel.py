"""What the latency statistics decide between recorded loads, and between two halves of one load.

    python -m benchmarks.latency_hotel [--data ../shared/data]

`hotel-reservation-load` has 1000 traces at each of three loads (25, 50, 75). Every link and side of it is judged by the
comparison and the limits of the detector: is it slower, faster, or the same? More load is slower, less is faster; two
halves that take turns are the same. Halves by time are as recorded: nobody knows that nothing changed. Neighbours
in time are alike, and every test is told by how much.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from analyzers.dependencies.change_tests import adjusted
from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.comparison import quantile_ratio, rank_test, share_test, shift, smirnov
from analyzers.latency.graph.blame import blame
from analyzers.latency.graph.model import Link, Side, Window
from analyzers.latency.limits import LIMITS
from analyzers.latency.stack import Stack, scattered

SET = "hotel-reservation-load"
LOADS = (25, 50, 75)
OUTSIDE = "(outside)"
BLOCKS = (20, 100)
"""Traces of a block, by which unrest is measured."""
Place = tuple[str, str, str, str]
"""Source, destination, operation, and the side that saw it."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Durations (us) of every place by trace, in order of time; 0 = the trace lacks the call."""

    durations_us: Mapping[Place, np.ndarray]
    starts_us: np.ndarray

    def take(self, rows: np.ndarray | slice) -> Traces:
        return Traces({place: values[rows] for place, values in self.durations_us.items()}, self.starts_us[rows])

    @property
    def seconds(self) -> float:
        """From the first to the last, with the pause after it."""
        many = len(self.starts_us)
        return float(self.starts_us[-1] - self.starts_us[0]) / 1e6 * many / max(many - 1, 1)


@dataclass(frozen=True, slots=True)
class Decision:
    place: Place
    verdict: str
    ratio: tuple[float, float, float]
    superiority: float
    distance: float
    q: float


def read(path: Path) -> Traces:
    """One load."""
    found: list[tuple[int, dict[Place, int]]] = []
    with lzma.open(path, "rt") as lines:
        for line in lines:
            (trace,) = json.loads(line)["data"]
            found.append(calls(trace))
    found.sort(key=lambda one: one[0])
    places = sorted({place for _, seen in found for place in seen})
    durations = {place: np.array([seen.get(place, 0) for _, seen in found], np.int64) for place in places}
    return Traces(durations, np.array([start for start, _ in found], np.int64))


def calls(trace: Mapping[str, object]) -> tuple[int, dict[Place, int]]:
    """(start, duration of each call at each of its sides) of a trace."""
    spans = {span["spanID"]: span for span in trace["spans"]}  # type: ignore[index, union-attr, attr-defined]
    processes: Mapping[str, Mapping[str, str]] = trace["processes"]  # type: ignore[assignment]
    seen: dict[Place, int] = {}
    for span in spans.values():
        tags = {tag["key"]: tag["value"] for tag in span["tags"]}
        if tags.get("span.kind") != "server":
            continue
        service = processes[span["processID"]]["serviceName"]
        parent = next((spans.get(each["spanID"]) for each in span["references"]), None)
        caller = processes[parent["processID"]]["serviceName"] if parent else OUTSIDE
        operation = span["operationName"]
        seen[caller, service, operation, "callee"] = span["duration"]
        if parent:
            seen[caller, service, operation, "caller"] = parent["duration"]
    return min(span["startTime"] for span in spans.values()), seen


def stack(traces: Traces, places: Sequence[Place]) -> Stack:
    """A histogram for every place."""
    rows, buckets = [], []
    for row, place in enumerate(places):
        values = traces.durations_us[place]
        values = values[values > 0]
        rows.append(np.full(len(values), row))
        buckets.append(bucket_of(values.astype(np.uint64)))
    each = np.concatenate(buckets)
    return scattered(np.concatenate(rows), each, np.ones(len(each)), len(places))


def unrest(values: np.ndarray) -> float:
    """How many times as much as independent ones blocks of neighbours vary (at least 1)."""
    found = [1.0]
    for length in BLOCKS:
        whole = len(values) // length * length
        if whole < 2 * length or not values.var():
            continue
        means = values[:whole].reshape(-1, length).mean(axis=1)
        found.append(float(np.mean(np.diff(means) ** 2) / 2 / (values.var() / length)))
    return max(found)


def spread(before: Traces, after: Traces, place: Place, share: float | None) -> float:
    """Unrest of ranks (`share` None), or of being beyond a quantile of the calls before."""
    one, two = (traces.durations_us[place] for traces in (before, after))
    ordered = np.sort(one)
    if share is None:
        # Each side by itself: a difference between the two is what is asked about.
        both = [unrest(np.searchsorted(np.sort(each), each).astype(np.float64)) for each in (one, two)]
        return sum(both) / 2
    limit = ordered[int(share * (len(ordered) - 1))]
    return sum(unrest((each > limit).astype(np.float64)) for each in (one, two)) / 2


def decide(before: Traces, after: Traces) -> list[Decision]:
    """One decision per place."""
    places = [place for place in before.durations_us if place in after.durations_us]
    one, two = stack(before, places), stack(after, places)
    rises, falls = judged(before, after, one, two, places), judged(after, before, two, one, places)
    noise = np.array([spread(before, after, place, None) for place in places])
    ratio, superiority = shift(one, two, noise), rank_test(one, two, noise).superiority
    distance, _ = smirnov(one, two, noise)
    found: list[Decision] = []
    for row, place in enumerate(places):
        verdict = "slower" if rises[row][0] else "faster" if falls[row][0] else "same"
        q = falls[row][1] if verdict == "faster" else rises[row][1]
        interval = (float(ratio.ratio[row]), float(ratio.low[row]), float(ratio.high[row]))
        found.append(Decision(place, verdict, interval, float(superiority[row]), float(distance[row]), q))
    return found


def judged(before: Traces, after: Traces, one: Stack, two: Stack, places: Sequence[Place]) -> list[tuple[bool, float]]:
    """(slower by the limits of the detector, adjusted p) of every place: the typical call, or a tail."""
    noises = [np.array([spread(before, after, place, share) for place in places]) for share in (None, 0.95, 0.99)]
    p = [rank_test(one, two, noises[0]).greater_p]
    large = [enough(shift(one, two, noises[0]), one, 0.5, LIMITS.min_ratio, LIMITS.sure_ratio, LIMITS.min_ms)]
    for share, noise in zip((0.95, 0.99), noises[1:], strict=True):
        hits = [[], []]  # type: ignore[var-annotated]
        for place in places:
            ordered = np.sort(before.durations_us[place])
            limit = ordered[int(share * (len(ordered) - 1))]
            for side, traces in enumerate((before, after)):
                hits[side].append(int((traces.durations_us[place] > limit).sum()))
        p.append(1 - ndtr(share_test(hits[0], one.calls, hits[1], two.calls, noise)))
        ratio = quantile_ratio(one, two, share, noise)
        large.append(enough(ratio, one, share, LIMITS.tail_ratio, LIMITS.sure_tail_ratio, LIMITS.tail_ms))
    least = np.minimum(1.0, 3 * np.min(p, axis=0))
    q = adjusted(least.tolist())
    return [(bool(q[row] <= LIMITS.alpha and any(each[row] for each in large)), q[row]) for row in range(len(places))]


def enough(ratio, before: Stack, share: float, least: float, sure: float, least_ms: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    level_ms = np.exp(before.log_quantiles(np.full((len(before), 1), share))[:, 0]) / 1000
    return (ratio.ratio >= least) & (ratio.low >= sure) & (level_ms * (ratio.ratio - 1) >= least_ms)


def links(before: Traces, after: Traces) -> list[Link]:
    """For blame: both windows change at one moment, and so does the load."""
    found: list[Link] = []
    for source, destination, operation in sorted({place[:3] for place in before.durations_us}):
        windows = [window(traces, (source, destination, operation)) for traces in (before, after)]
        busier = 0 if windows[1].per_second > windows[0].per_second else None
        found.append(Link(source, destination, operation, windows[0], windows[1], 0, busier))
    return found


def window(traces: Traces, key: tuple[str, str, str]) -> Window:
    sides = {side: traces.durations_us.get((*key, side)) for side in ("caller", "callee")}
    told = {name: None if values is None else seen(values) for name, values in sides.items()}
    one, two = sides["caller"], sides["callee"]
    gap = None if one is None or two is None else error_us((one - two)[(one > 0) & (two > 0)])
    return Window(traces.seconds, told["caller"], told["callee"], gap)


def seen(values: np.ndarray) -> Side:
    values = values[values > 0]
    return Side(float(len(values)), float(values.mean()), error_us(values))


def error_us(values: np.ndarray) -> float:
    """Standard error of the mean, neighbours being alike."""
    return float(np.sqrt(values.var() * unrest(values.astype(np.float64)) / len(values)))


def named(place: Place) -> str:
    source, destination, operation, side = place
    return f"{source} -> {destination} {operation.rsplit('/', 1)[-1]}, {side}'s side"


def report(data: Path) -> str:
    """The tables, in markdown."""
    recorded = {load: read(data / SET / f"load{load}.ndjson.xz") for load in LOADS}
    pairs: list[tuple[str, Traces, Traces, str]] = []
    for a, b in ((25, 50), (50, 75), (25, 75)):
        pairs += [
            (f"{a} -> {b}", recorded[a], recorded[b], "slower"),
            (f"{b} -> {a}", recorded[b], recorded[a], "faster"),
        ]
    for load, traces in recorded.items():
        half = len(traces.starts_us) // 2
        pairs.append((f"{load}, taking turns", traces.take(slice(0, None, 2)), traces.take(slice(1, None, 2)), "same"))
        pairs.append((f"{load}, by time", traces.take(slice(0, half)), traces.take(slice(half, None)), "as recorded"))
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    lines: list[str] = []
    summary = ["| pair | slower | same | faster | first cause of the whole request |", "|---|---:|---:|---:|---|"]
    for name, before, after, truth in pairs:
        decisions = decide(before, after)
        counted = Counter(one.verdict for one in decisions)
        confusion[truth].update(counted)
        summary.append(
            f"| {name} | {counted['slower']} | {counted['same']} | {counted['faster']} | {cause(before, after)} |"
        )
        if truth == "slower":
            lines += detail(name, decisions)
    table = ["| truth | slower | same | faster |", "|---|---:|---:|---:|"]
    for truth, counted in confusion.items():
        table.append(f"| {truth} | {counted['slower']} | {counted['same']} | {counted['faster']} |")
    many = len(recorded[LOADS[0]].durations_us)
    head = f"`{SET}`, {many} links and sides, three loads of {len(recorded[LOADS[0]].starts_us)} traces:"
    return "\n".join([head, "", *table, "", *summary, "", *lines]).rstrip()


def cause(before: Traces, after: Traces) -> str:
    """Whom blame on the graph names for the request as a whole."""
    found = links(before, after)
    root = next(place for place, link in enumerate(found) if link.source == OUTSIDE)
    (told,) = blame(found, [root])
    return ", ".join(f"{one.kind} {one.service} {one.share:.2f}" for one in told.causes[:3]) or "none"


def detail(name: str, decisions: Sequence[Decision]) -> list[str]:
    lines = [
        f"{name}:",
        "",
        "| place | decided | ratio (95 %) | a call after takes longer | distance | q |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for one in decisions:
        middle, low, high = one.ratio
        told = f"{middle:.2f} ({low:.2f} to {high:.2f}) | {one.superiority:.2f} | {one.distance:.2f} | {one.q:.1g}"
        lines.append(f"| {named(one.place)} | {one.verdict} | {told} |")
    return [*lines, ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    print(report(parser.parse_args().data))
