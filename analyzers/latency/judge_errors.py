"""The same stages for the share of failed calls: a proportion in place of a distribution."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from analyzers.latency.comparison import share_test
from analyzers.latency.grid import MINUTE_S, Grid
from analyzers.latency.judge import FEWEST, HOPELESS_P, OLDER
from analyzers.latency.judged import Judged, Stage
from analyzers.latency.limits import Limits
from analyzers.latency.screen import splits
from analyzers.latency.stack import Floats, Ints, empty


def judge_errors(rows: Ints, of: Grid, limits: Limits) -> list[Judged]:
    """Judge candidates, rows of a grid of `limits.look_min` minutes."""
    found: list[Judged] = []
    for row in rows.tolist():
        found.append(_judge(row, of.requests[row], of.errors[row], of, limits))
    return found


def _judge(row: int, requests: Floats, errors: Floats, of: Grid, limits: Limits) -> Judged:
    at = splits(of.minutes, limits)
    split = _split(requests, errors, at)
    low = split - limits.before_min
    n, m = float(requests[low:split].sum()), float(requests[split:].sum())
    k, j = float(errors[low:split].sum()), float(errors[split:].sum())
    spread = _dispersion(requests[low:split], errors[low:split])
    z = float(share_test(k, n, j, m, spread, limits.error_share / 2))
    p = min(1.0, float(ndtr(-z)) * len(at))
    before, after = k / max(n, 1.0), j / max(m, 1.0)
    third = (of.minutes - split + 2) // 3
    parts = slice(split, split + third), slice(of.minutes - third, of.minutes)
    many = min(float(requests[part].sum()) for part in parts)
    early, now = (float(errors[part].sum() / max(requests[part].sum(), 1.0)) for part in parts)
    ratio, bottom, top = _ratio(k, n, j, m, spread)
    older = split == at[0]
    told = f"p = {p:.2g} for a share of failed calls of {after:.2%}, {before:.2%} before"
    stages = [
        Stage("test", p <= HOPELESS_P and not older, OLDER if older else told),
        Stage("effect", after - before >= limits.error_share, f"{after - before:+.2%} of all calls"),
        Stage(
            "lasting",
            many >= FEWEST and now >= (before + after) / 2 and early >= before + (max(after, now) - before) / 4,
            f"{early:.2%} in the first third of {of.minutes - split} minutes, {now:.2%} in the last"
            if many >= FEWEST
            else f"not enough data: has {many:.0f} calls, needs {FEWEST}",
        ),
    ]
    return Judged(
        row=row,
        what="errors",
        shape="errors",
        since=of.start + split * MINUTE_S,
        until=of.end,
        ratio=ratio,
        low=bottom,
        high=top,
        p=p,
        q=1.0,
        superiority=0.5,
        distance=0.0,
        before=empty(1),
        after=empty(1),
        requests=(int(n), int(m)),
        errors=(int(k), int(j)),
        spread=spread,
        before_min=limits.before_min,
        stages=stages,
    )


def _split(requests: Floats, errors: Floats, at: Ints) -> int:
    n, k = np.cumsum(requests), np.cumsum(errors)
    before, hits = n[at - 1], k[at - 1]
    after, late = n[-1] - before, k[-1] - hits
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = np.maximum((late + 0.5) / (after + 1) - (hits + 0.5) / (before + 1), 0) ** 2 * before * after
    return int(at[int(np.where(np.isfinite(gain), gain, 0.0).argmax())])


def _dispersion(requests: Floats, errors: Floats) -> float:
    share = (errors.sum() + 1) / (requests.sum() + 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = errors / requests
        step = np.diff(mean) ** 2 / (1 / requests[1:] + 1 / requests[:-1]) / (share * (1 - share))
    step = step[np.isfinite(step)]
    return max(1.0, float(step.mean())) if len(step) else 1.0


def _ratio(k: float, n: float, j: float, m: float, spread: float) -> tuple[float, float, float]:
    """Ratio of the shares with a 95 % interval (D. Katz et al., 1978, half a failed call added to each)."""
    middle = math.log((j + 0.5) / (m + 1)) - math.log((k + 0.5) / (n + 1))
    error = 1.96 * math.sqrt(spread * max(1 / (k + 0.5) - 1 / (n + 1) + 1 / (j + 0.5) - 1 / (m + 1), 0.0))
    return math.exp(middle), math.exp(middle - error), math.exp(middle + error)
