"""How often blame on the graph names the cause, from metrics of five minutes only.

    python -m benchmarks.latency_petshop [--data ../shared/data]

`petshop-faults` has one number per node and five minutes: requests, mean latency, availability; the edges carry none.
So each link gets its callee's numbers, the callee's requests are shared out to its callers as those are busy, and no
caller's side is known. Before = the periods of an issue's file that end before it is noticed (levels drift over months,
and the period without issues is months away); after = the ten minutes from then on. The period without issues tells
how far two neighbouring periods differ. Beside it, the node whose metric has the largest z-score.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analyzers.latency.attribution import attribute
from analyzers.latency.graph.blame import blame
from analyzers.latency.graph.model import Link, Side, What, Window
from analyzers.latency.links import Link as Known
from analyzers.latency.links import Links, Place
from analyzers.latency.links import Side as View

SET = "petshop-faults"
PERIOD_S = 300
NOTICED_S = 600
"""Seconds from the noticed moment on that count as after."""
ROBUST = 1.4826
"""Median of absolute differences to standard deviation, of a normal distribution."""
OUTSIDE = "(outside)"
Metrics = Mapping[tuple[str, str, str], np.ndarray]


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault: what is known of it, and the truth (`cause`)."""

    name: str
    traffic: str
    graph: Sequence[tuple[str, str]]
    normal: Metrics
    metrics: Metrics
    times_s: np.ndarray
    target: str
    metric: str
    noticed_s: float
    cause: str

    @property
    def what(self) -> What:
        return "latency" if self.metric == "latency" else "errors"

    @property
    def before(self) -> np.ndarray:
        # A period counts when at most a tenth of it lies behind the moment.
        return self.times_s + 0.9 * PERIOD_S <= self.noticed_s

    @property
    def after(self) -> np.ndarray:
        middle = self.times_s + PERIOD_S / 2
        return (middle >= self.noticed_s) & (middle < self.noticed_s + NOTICED_S)


def read_metrics(path: Path) -> tuple[Metrics, np.ndarray]:
    """(columns by node, metric and statistic; start of each period); NaN = no number."""
    with path.open() as lines:
        rows = list(csv.reader(lines))
    names = list(zip(*rows[:3], strict=True))
    body = [row for row in rows[3:] if row[0].replace(".", "").isdigit()]
    values = np.array([[float(cell) if cell else math.nan for cell in row] for row in body])
    return {name: values[:, place] for place, name in enumerate(names) if place}, values[:, 0]


def read_graph(path: Path) -> list[tuple[str, str]]:
    """(caller, callee) of each edge."""
    with path.open() as lines:
        rows = list(csv.reader(lines))
    return [(row[0], rows[0][place]) for row in rows[1:] for place in range(1, len(row)) if float(row[place] or 0) > 0]


def issues(data: Path) -> Iterator[Issue]:
    for traffic in sorted(path.parent for path in (data / SET).glob("*/graph.csv")):
        normal, _ = read_metrics(traffic / "noissue" / "metrics.csv")
        graph = read_graph(traffic / "graph.csv")
        for path in sorted(traffic.glob("*/*/target.json")):
            document = json.loads(path.read_text())
            target = document["target"]
            metrics, times = read_metrics(path.parent / "metrics.csv")
            yield Issue(
                path.parent.name,
                traffic.name,
                graph,
                normal,
                metrics,
                times,
                target["node"],
                target["metric"],
                float(target["timestamp"]),
                document["root_cause"]["node"],
            )


def column(metrics: Metrics, node: str, metric: str, rows: np.ndarray | None = None) -> np.ndarray:
    """A metric of a node, empty where there is none."""
    found = metrics.get((node, metric, "Sum" if metric == "requests" else "Average"), np.zeros(0))
    return found if rows is None or not len(found) else found[rows]


def unrest(normal: Metrics, node: str, metric: str) -> float:
    """How far a period differs from its neighbour when nothing happens: standard deviation over level; 0 = unknown."""
    values = column(normal, node, metric)
    values = values[~np.isnan(values)]
    if len(values) < 10 or not values.any():
        return 0.0
    step = ROBUST * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)
    return step / float(np.median(values)) if np.median(values) > 0 else 0.0


def side(issue: Issue, node: str, rows: np.ndarray) -> Side | None:
    """What a node told in some periods; in the period without issues when there are none."""
    metrics = issue.metrics if rows.any() else issue.normal
    chosen = rows if rows.any() else None
    calls = np.nan_to_num(column(metrics, node, "requests", chosen))
    mean_s = column(metrics, node, "latency", chosen)
    good = column(metrics, node, "availability", chosen)
    if not calls.any() or not len(mean_s) or not len(good):
        return None
    timed = np.where(np.isnan(mean_s), 0.0, calls)
    mean_us = 1e6 * float((timed * np.nan_to_num(mean_s)).sum() / timed.sum()) if timed.any() else None
    # Never surer than of independent calls that vary by as much as they take.
    relative = max(unrest(issue.normal, node, "latency") / math.sqrt(len(calls)), 1 / math.sqrt(calls.sum()))
    failed = float((calls * (1 - np.nan_to_num(good, nan=100.0) / 100)).sum())
    return Side(float(calls.sum()), mean_us, (mean_us or 0.0) * relative, failed)


def window(length_s: float, told: Side | None, share: float) -> Window:
    """A link's part of its callee's calls."""
    if told is None:
        return Window(length_s)
    part = Side(told.requests * share, told.mean_us, told.mean_error_us, told.errors * share)
    return Window(length_s, callee=part)


def links(issue: Issue) -> list[Link]:
    """The link from outside to the target first, then all of the graph."""
    nodes = sorted({node for edge in issue.graph for node in edge} | {issue.target})
    rows = (issue.before, issue.after)
    lengths = [PERIOD_S * (int(each.sum()) or len(column(issue.normal, issue.target, "requests"))) for each in rows]
    sides = {node: tuple(side(issue, node, each) for each in rows) for node in nodes}
    busy = {
        node: [(told.requests if told else 0.0) / length for told, length in zip(sides[node], lengths, strict=True)]
        for node in nodes
    }
    total: Counter[tuple[str, int]] = Counter()
    for caller, callee in issue.graph:
        for when in (0, 1):
            total[callee, when] += busy[caller][when]  # type: ignore[assignment]
    found: list[Link] = []
    for caller, callee in [(OUTSIDE, issue.target), *issue.graph]:
        windows = [
            window(
                lengths[when],
                sides[callee][when],
                1.0 if caller == OUTSIDE else busy[caller][when] / max(total[callee, when], 1e-9),
            )
            for when in (0, 1)
        ]
        found.append(Link(caller, callee, "", windows[0], windows[1]))
    return found


def ours(issue: Issue) -> list[str]:
    """Nodes, the likeliest first; nothing where all lies within noise."""
    (found,) = blame(links(issue), [0], what=issue.what)
    return list(dict.fromkeys(cause.service for cause in found.causes))


def guessed(issue: Issue) -> list[str]:
    """The same, and where nothing is sure what a single standard error tells: a ranking names somebody."""
    if found := ours(issue):
        return found
    (guess,) = blame(links(issue), [0], what=issue.what, sure=1.0)
    return list(dict.fromkeys(cause.service for cause in guess.causes))


def by_attribution(issue: Issue) -> list[str]:
    """What the first, simpler walk tells: noise is zero, and what no callee explains is the service's own."""
    found = Links.of(known(link) for link in links(issue))
    told = attribute(found, Place(OUTSIDE, issue.target, ""), errors=issue.what == "errors")
    return list(dict.fromkeys(part.service for part in told))


def known(link: Link) -> Known:
    """A link of the graph as one of the rollups."""
    views = [
        View(
            side.requests / each.seconds * 60,
            side.mean_us or 0.0,
            side.mean_error_us,
            side.errors / side.requests,
            side.requests,
        )
        if (side := each.callee) and side.requests
        else None
        for each in (link.before, link.after)
    ]
    return Known(Place(link.source, link.destination, link.operation), (None, None), (views[0], views[1]))


def by_z(issue: Issue, *, recent: bool) -> list[str]:
    """Nodes by how many standard deviations of the normal period the metric moved the bad way."""
    bad = 1 if issue.metric == "latency" else -1
    scores: dict[str, float] = {}
    for node in sorted({name for name, _, _ in issue.metrics}):
        usual = column(issue.normal, node, issue.metric)
        now = column(issue.metrics, node, issue.metric, issue.after)
        was = column(issue.metrics, node, issue.metric, issue.before) if recent else usual
        usual, now, was = (each[~np.isnan(each)] for each in (usual, now, was))
        if len(usual) >= 10 and len(now) and len(was):
            scores[node] = bad * float(now.mean() - was.mean()) / max(float(usual.std()), 1e-9)
    return sorted(scores, key=lambda node: -scores[node])


def injected(real: Sequence[Issue], seed: int = 5, each: int = 4) -> Iterator[Issue]:
    """Faults put into the period without issues: each node below the target causes one in turn.

    The target gets slower by 30 %, or fails in 3 % more of its calls. Noise and levels are real; a fault spreads as if
    all calls were made in sequence. The recorded issues may all have the same cause.
    """
    rng = np.random.default_rng(seed)
    models = {(issue.traffic, issue.target, issue.metric): issue for issue in real}
    for model in models.values():
        many = len(column(model.normal, model.target, "requests"))
        for cause in sorted({callee for _, callee in model.graph} | {model.target}):
            for start in rng.choice(many - 5, each, replace=False).tolist():
                metrics = {name: values[start : start + 5].copy() for name, values in model.normal.items()}
                times = PERIOD_S * np.arange(5.0)
                issue = replace(model, name="injected", metrics=metrics, times_s=times, noticed_s=times[2], cause=cause)
                if spread(issue, metrics):
                    yield issue


def spread(issue: Issue, metrics: dict[tuple[str, str, str], np.ndarray]) -> bool:
    """Put the fault in, at its cause and at all that wait for it; False = the target hears too little of it."""
    effect = {issue.cause: 1.0}
    ways = [link for link in links(issue)[1:] if link.after.callee and link.after.callee.requests]
    into: Counter[str] = Counter()
    for node in {link.source for link in ways}:
        told = side(issue, node, issue.after)
        into[node] = told.requests if told else 0  # type: ignore[assignment]
    for _ in range(len(into)):
        heard = {
            node: sum(
                link.after.callee.requests / into[node] * effect.get(link.destination, 0.0)  # type: ignore[union-attr]
                for link in ways
                if link.source == node
            )
            for node in into
            if into[node]
        }
        effect = {**heard, issue.cause: 1.0}
    at_target = effect.get(issue.target, 0.0)
    level = column(metrics, issue.target, issue.metric, issue.after).mean()
    wanted = 0.3 * level if issue.what == "latency" else -3.0
    if not at_target > 0 or (issue.what == "errors" and 3.0 / at_target > 100):
        return False
    for node, heard in effect.items():
        values = column(metrics, node, issue.metric)
        if heard > 0 and len(values):
            values[issue.after] += heard / at_target * wanted
            if issue.what == "errors":
                np.clip(values, 0.0, 100.0, out=values)
    return bool(np.isfinite(column(metrics, issue.cause, issue.metric, issue.before | issue.after)).all())


OURS = "blame on the graph"
RANKERS = {
    OURS: ours,
    "the same, or else a guess": guessed,
    "`attribution`, which always names somebody": by_attribution,
    "largest z-score against the period without issues": lambda issue: by_z(issue, recent=False),
    "largest z-score against the minutes before": lambda issue: by_z(issue, recent=True),
}


def table(found: Sequence[Issue], ranked: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """First place and first three of each ranker, by traffic and metric."""
    groups = dict.fromkeys(f"{one.traffic}, {one.metric}" for one in found)
    lines = ["| ranker | issues | n | first place | first three | another first |", "|---|---|---:|---:|---:|---:|"]
    for name, ranks in ranked.items():
        for group in ["all", *groups]:
            chosen = [
                (issue, rank)
                for issue, rank in zip(found, ranks, strict=True)
                if group in ("all", f"{issue.traffic}, {issue.metric}")
            ]
            other = sum(bool(rank) and rank[0] != issue.cause for issue, rank in chosen) / len(chosen)
            first, three = (sum(issue.cause in rank[:most] for issue, rank in chosen) / len(chosen) for most in (1, 3))
            lines.append(f"| {name} | {group} | {len(chosen)} | {first:.2f} | {three:.2f} | {other:.2f} |")
    return lines


def confusion(found: Sequence[Issue], ranks: Sequence[Sequence[str]]) -> list[str]:
    """True cause against the one in first place."""
    pairs = Counter((issue.cause, rank[0] if rank else "(nothing)") for issue, rank in zip(found, ranks, strict=True))
    lines = ["| true | named | issues |", "|---|---|---:|"]
    return lines + [f"| {true} | {named} | {many} |" for (true, named), many in sorted(pairs.items())]


def report(data: Path) -> str:
    """The tables, in markdown."""
    found = list(issues(data))
    ranked = {name: [ranker(issue) for issue in found] for name, ranker in RANKERS.items()}
    made = list(injected(found))
    made_ranked = {name: [ranker(issue) for issue in made] for name, ranker in RANKERS.items()}
    causes = len({issue.cause for issue in made})
    wrong = [
        (issue, rank) for issue, rank in zip(made, made_ranked[OURS], strict=True) if not rank or rank[0] != issue.cause
    ]
    return "\n".join(
        [
            f"`{SET}`, {len(found)} issues:",
            "",
            *table(found, ranked),
            "",
            "Named in first place by blame on the graph:",
            "",
            *confusion(found, ranked[OURS]),
            "",
            f"Made from the period without issues, seed 5, {len(made)} faults of {causes} nodes:",
            "",
            *table(made, made_ranked),
            "",
            "Not named in first place by blame on the graph:",
            "",
            *confusion([issue for issue, _ in wrong], [rank for _, rank in wrong]),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    print(report(parser.parse_args().data))
