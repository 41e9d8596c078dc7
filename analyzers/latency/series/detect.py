"""The detector over any series: habits away, levels that changed, and points that stood out and went back.

Series ──► without_habits ──► spikes (aside) ──► splits ──► minimum effect, persistence, discovery ──► Found
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzers.dependencies.change_tests import adjusted
from analyzers.dependencies.model import rfc3339
from analyzers.latency.series.change_points import Split, splits
from analyzers.latency.series.habits import without_habits
from analyzers.latency.series.read_csv import Series

Floats = npt.NDArray[np.float64]
_NORMAL = 1.4826
"""A median absolute deviation times this is the standard deviation of normal noise."""
_SHARES, _NORMAL_QUANTILES = (0.5, 0.9), (1 / _NORMAL, 1.6449)
"""Quantiles of how far points lie off, and what they are of normal noise."""


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """Attributes:
    persist: points that a new level must hold; what goes back sooner is an anomaly.
    min_ratio: levels must be so many times each other.
    min_noise: and so many standard deviations of a point apart.
    alpha: share of false ones among the change points told.
    score: robust standard deviations from which on a point stands out.
    around: points around each by which its usual level and noise are known.
    """

    persist: int = 10
    min_ratio: float = 1.1
    min_noise: float = 1.0
    alpha: float = 0.01
    score: float = 6.0
    around: int = 49

    @property
    def least(self) -> int:
        """Points without which nothing is said."""
        return 2 * self.persist


DEFAULTS = SeriesLimits()


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """`at` (us since 1970) is the first point of the new level; `before` and `after` are medians."""

    at: int
    before: float
    after: float
    p: float

    @property
    def ratio(self) -> float | None:
        """None where it would say nothing."""
        if self.before <= 0 or self.after <= 0:
            return None
        with np.errstate(over="ignore", under="ignore"):
            found = float(np.float64(self.after) / np.float64(self.before))
        return found if 0 < found < np.inf else None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Points that stood out, from the first to the last (us since 1970); `score` is the worst's, below 0 downwards."""

    since: int
    until: int
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a series shows.

    Attributes:
        tested: splits that were tested.
        habit: `day` or `week` where that was taken away.
        notes: what could not be read or said.
    """

    change_points: Sequence[ChangePoint]
    anomalies: Sequence[Anomaly]
    tested: int = 0
    habit: str | None = None
    notes: Sequence[str] = ()

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values (`eastwatch regressions --csv --json`)."""
        return {
            "change_points": [
                {
                    "at": _text(one.at),
                    "before": one.before,
                    "after": one.after,
                    "ratio": one.ratio,
                    "p_value": one.p,
                }
                for one in self.change_points
            ],
            "anomalies": [
                {"from": _text(one.since), "to": _text(one.until), "score": round(one.score, 3)}
                for one in self.anomalies
            ],
        }


def detect(series: Series, limits: SeriesLimits = DEFAULTS) -> Found:
    """Find what changed for good and what stood out."""
    if len(series) < limits.least:
        note = f"not enough data: has {len(series)} points, needs {limits.least}"
        return Found((), (), notes=(*series.notes, note))
    if series.values.min() == series.values.max():
        return Found((), (), notes=series.notes)
    # Sizes that squares would overflow at are brought down first.
    size = float(np.abs(series.values).max())
    values, habit = without_habits(series.times_us, series.values / size)
    scores = point_scores(values, limits)
    calm = np.where(np.abs(scores) >= limits.score, usual(values, limits.around)[0], values)
    candidates = splits(calm, limits.persist)
    large = _large(candidates, calm, limits)
    q = adjusted([one.p for one in large])
    kept = [one for one, chance in zip(large, q, strict=True) if chance <= limits.alpha]
    changes = _changes(kept, series, size)
    anomalies = _events(series, values, kept, limits)
    return Found(changes, anomalies, len(candidates), habit, series.notes)


def usual(values: Floats, around: int) -> tuple[Floats, Floats]:
    """(median, robust standard deviation) of the points around each one."""
    n = len(values)
    width = min(around, n if n % 2 else n - 1)
    half = width // 2
    padded = np.pad(values, half, mode="reflect") if n > half else np.pad(values, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    middle, noise = np.empty(n), np.empty(n)
    # In pieces: the windows of a long series together would fill the memory.
    for low in range(0, n, 20_000):
        part = windows[low : low + 20_000]
        middle[low : low + 20_000] = np.median(part, axis=1)
        noise[low : low + 20_000] = np.median(np.abs(part - middle[low : low + 20_000, None]), axis=1) * _NORMAL
    return middle, noise


def point_scores(values: Floats, limits: SeriesLimits) -> Floats:
    """How far each point lies from what is usual around it, in robust standard deviations of that and of all."""
    middle, noise = usual(values, limits.around)
    away = values - middle
    # A stretch that is quieter than the rest makes nothing a wonder. Of a series that is mostly still and often jumps
    # the jumps are usual: the widest tenth of its points counts as well.
    whole = max(
        float(quantile) / normal
        for quantile, normal in zip(np.quantile(np.abs(away), _SHARES), _NORMAL_QUANTILES, strict=True)
    )
    scale = np.maximum(noise, whole)
    least = np.maximum(np.abs(middle), np.abs(values).max() * 1e-9) * 0.01
    return away / np.maximum(np.maximum(scale, least), np.finfo(np.float64).tiny)


def _large(found: Sequence[Split], values: Floats, limits: SeriesLimits) -> Sequence[Split]:
    """Those whose levels lie far enough apart."""
    bounds = [0, *(one.at for one in found), len(values)]
    kept: list[Split] = []
    for place, one in enumerate(found):
        before, after = values[bounds[place] : one.at], values[one.at : bounds[place + 2]]
        low, high = sorted((float(np.median(before)), float(np.median(after))))
        noise = _NORMAL * float(
            np.median(np.abs(np.concatenate([before - np.median(before), after - np.median(after)])))
        )
        apart = high - low
        far = low <= 0 or high / low >= limits.min_ratio
        if apart > 0 and far and apart >= limits.min_noise * noise:
            kept.append(one)
    return kept


def _changes(kept: Sequence[Split], series: Series, size: float) -> Sequence[ChangePoint]:
    bounds = [0, *(one.at for one in kept), len(series)]
    values = series.values / size
    return [
        ChangePoint(
            int(series.times_us[one.at]),
            float(np.median(values[bounds[place] : one.at])) * size,
            float(np.median(values[one.at : bounds[place + 2]])) * size,
            one.p,
        )
        for place, one in enumerate(kept)
    ]


def _events(series: Series, values: Floats, kept: Sequence[Split], limits: SeriesLimits) -> Sequence[Anomaly]:
    """Points that stand out of their level; those next to each other, or one apart, are one event."""
    found: list[Anomaly] = []
    bounds = [0, *(one.at for one in kept), len(values)]
    for low, high in pairwise(bounds):
        scores = point_scores(values[low:high], limits)
        out = np.flatnonzero(np.abs(scores) >= limits.score)
        for run in np.split(out, np.flatnonzero(np.diff(out) > 2) + 1) if len(out) else []:
            worst = float(scores[run[np.argmax(np.abs(scores[run]))]])
            found.append(Anomaly(int(series.times_us[low + run[0]]), int(series.times_us[low + run[-1]]), worst))
    return found


def _text(moment_us: int) -> str:
    return rfc3339(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)) or ""
