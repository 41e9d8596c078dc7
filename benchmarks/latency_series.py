"""How well the detector for plain series does: recorded latencies with labels, and series made here.

    python -m benchmarks.latency_series [--data ../shared/data]

`dependency-latency` has expert labels of anomalous points. A labelled run is found when an anomaly or a change point
touches it, one point to either side forgiven; what touches none is a false alarm. One set of limits for all series.
Beside it a trailing robust z-score, at the threshold that is best for it on these very series.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzers.latency.series.detect import DEFAULTS, SeriesLimits, detect
from analyzers.latency.series.read_csv import Series, read_series

SET = "dependency-latency"
SCORES = (4.0, 5.0, 6.0, 8.0, 10.0)
TRAILING = 168
Run = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Score:
    """Events found, missed and false; points likewise."""

    found: int = 0
    missed: int = 0
    false: int = 0
    points: tuple[int, int, int] = (0, 0, 0)

    def __add__(self, other: Score) -> Score:
        points = tuple(a + b for a, b in zip(self.points, other.points, strict=True))
        return Score(self.found + other.found, self.missed + other.missed, self.false + other.false, points)  # type: ignore[arg-type]

    def row(self) -> str:
        recall = self.found / max(self.found + self.missed, 1)
        precision = self.found / max(self.found + self.false, 1)
        f1 = 2 * recall * precision / max(recall + precision, 1e-9)
        both, only_told, only_labelled = self.points
        point_f1 = 2 * both / max(2 * both + only_told + only_labelled, 1)
        events = f"{self.found} of {self.found + self.missed} | {self.false}"
        return f"{events} | {recall:.2f} | {precision:.2f} | {f1:.2f} | {point_f1:.2f}"


def runs(flags: np.ndarray) -> list[Run]:
    at = np.flatnonzero(flags)
    return [(int(run[0]), int(run[-1])) for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)] if len(at) else []


def scored(told: Sequence[Run], labels: np.ndarray) -> Score:
    real = runs(labels)
    touch = lambda a, b: a[0] <= b[1] + 1 and a[1] >= b[0] - 1  # noqa: E731
    found = sum(any(touch(one, event) for one in told) for event in real)
    false = sum(not any(touch(one, event) for event in real) for one in told)
    flagged = np.zeros(len(labels), np.bool_)
    for low, high in told:
        flagged[low : high + 1] = True
    points = int((flagged & labels).sum()), int((flagged & ~labels).sum()), int((~flagged & labels).sum())
    return Score(found, len(real) - found, false, points)


def ours(series: Series, limits: SeriesLimits) -> list[Run]:
    found = detect(series, limits)
    at = lambda moment: int(np.searchsorted(series.times_us, moment))  # noqa: E731
    told = [(at(one.since), at(one.until)) for one in found.anomalies]
    return told + [(at(one.at), at(one.at)) for one in found.change_points]


def trailing_z(values: np.ndarray, threshold: float) -> list[Run]:
    flags = np.zeros(len(values), np.bool_)
    for place in range(24, len(values)):
        before = values[max(0, place - TRAILING) : place]
        middle = np.median(before)
        noise = 1.4826 * np.median(np.abs(before - middle))
        flags[place] = abs(values[place] - middle) > threshold * max(noise, 0.01 * abs(middle), 1e-9)
    return runs(flags)


def recorded(data: Path) -> Iterator[tuple[str, Series, np.ndarray]]:
    for path in sorted((data / SET).glob("*.csv")):
        with path.open() as lines:
            series = read_series(lines, path.name)
        with path.open() as lines:
            labels = np.array([row["Label"] == "1" for row in csv.DictReader(lines)])
        assert len(labels) == len(series), path
        yield path.stem, series, labels


def simulated() -> str:
    """Steps, spikes and quiet series with noise that resembles its neighbours."""
    rng = np.random.default_rng(20)
    lines = [
        "| series of 400 points | found within 5 points | false change points | anomalies |",
        "|---|---:|---:|---:|",
    ]
    many = 100
    for ratio in (1.0, 1.1, 1.2, 1.5, 2.0):
        for rho in (0.0, 0.6):
            hits = false = gone = 0
            for _ in range(many):
                noise = rng.normal(0, 0.15 * np.sqrt(1 - rho**2), 400)
                for place in range(1, 400):
                    noise[place] += rho * noise[place - 1]
                at = int(rng.integers(60, 340))
                values = 100 * np.exp(noise)
                values[at:] *= ratio
                found = detect(Series(np.arange(400) * 60_000_000, values))
                near = [abs(one.at // 60_000_000 - at) <= 5 for one in found.change_points]
                hits += ratio > 1 and any(near)
                false += sum(not one for one in near) if ratio > 1 else len(near)
                gone += len(found.anomalies)
            kind = f"step of {ratio - 1:.0%}" if ratio > 1 else "quiet"
            kind += f", noise 15 %, neighbours alike {rho}"
            told = f"{hits / many:.2f}" if ratio > 1 else "-"
            lines.append(f"| {kind} | {told} | {false / many:.2f} | {gone / many:.2f} |")
    return "\n".join(lines)


def report(data: Path) -> str:
    """The tables, in markdown."""
    sets = list(recorded(data))
    head = (
        "| | events found | false alarms | recall | precision | F1 | F1 by point |\n|---|---|---:|---:|---:|---:|---:|"
    )
    lines = [head]
    for name, series, labels in sets:
        lines.append(f"| {name} | {scored(ours(series, DEFAULTS), labels).row()} |")
    for score in SCORES:
        limits = replace(DEFAULTS, score=score)
        total = sum((scored(ours(series, limits), labels) for _, series, labels in sets), Score())
        name = f"**all, score {score:g} (the default)**" if score == DEFAULTS.score else f"all, score {score:g}"
        lines.append(f"| {name} | {total.row()} |")
    naive = {
        threshold: sum((scored(trailing_z(series.values, threshold), labels) for _, series, labels in sets), Score())
        for threshold in (3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
    }
    best = max(naive, key=lambda threshold: naive[threshold].points[0] / max(sum(naive[threshold].points), 1))
    lines.append(f"| trailing robust z-score, its best threshold here ({best:g}) | {naive[best].row()} |")
    return "\n".join([f"`{SET}`, {len(sets)} series:", "", *lines, "", "Made here, seed 20:", "", simulated()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    print(report(parser.parse_args().data))
