"""The latency histograms of the rollups, in Python: ours (bucket bounds, values, nearest-rank quantiles), and those of
metrics, which keep the bounds they came with.

Bucket -1 holds durations of 0 us, bucket i >= 0 those in (g^(i-1), g^i] us with g = 1.01 / 0.99; its value
2 g^i / (g + 1) is within 1 % of every duration in it (C. Masson, J. Rim, H. Lee: DDSketch, VLDB 2019). The SQL of
`storage/migrations/0010_edges_1m_from_calls.sql` fills them with the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

RELATIVE_ERROR = 0.01
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
ZERO_BUCKET = -1
QUANTILES = (0.5, 0.95, 0.99)
"""The quantiles that the map shows."""
NO_BOUND = (1 << 64) - 1
"""The upper bound of a metric's last bucket, which has none."""


def bucket_of(durations_us: npt.NDArray[np.uint64]) -> npt.NDArray[np.int16]:
    """The bucket of each duration (us): the rule of the SQL view, for tests and references."""
    logs = np.log(np.maximum(durations_us, 1).astype(np.float64)) / np.log(GAMMA)
    return np.where(durations_us == 0, ZERO_BUCKET, np.ceil(logs)).astype(np.int16)


def value_us(buckets: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The duration (us) that stands for each bucket."""
    index = np.asarray(buckets, dtype=np.float64)
    return np.where(index < 0, 0.0, 2.0 * GAMMA**index / (GAMMA + 1.0))


def quantiles_us(histogram: Iterable[tuple[int, int]], shares: Sequence[float]) -> list[float] | None:
    """Nearest-rank quantiles (us) of a histogram given as (bucket, count) pairs; None when it is empty.

    Nearest rank: the smallest value whose cumulated count reaches ceil(share * n).
    """
    pairs = sorted((int(bucket), int(count)) for bucket, count in histogram if count)
    if not pairs:
        return None
    buckets = np.array([bucket for bucket, _ in pairs])
    cumulated = np.cumsum([count for _, count in pairs])
    ranks = np.maximum(np.ceil(np.asarray(shares) * cumulated[-1] - 1e-9), 1)
    return value_us(buckets[np.searchsorted(cumulated, ranks, side="left")]).tolist()


def bounded_quantiles_us(histogram: Iterable[tuple[int, int]], shares: Sequence[float]) -> Sequence[float | None]:
    """Quantiles (us) of a histogram given as (upper bound in us, count) pairs, empty buckets included.

    Within a bucket the durations are taken to lie evenly between its lower bound (that of the bucket before it; 0 for
    the first) and its upper one, as Prometheus does (prometheus.io, "histogram_quantile"). A quantile beyond the last
    bound is None: only that it is longer is known. All are None when the histogram is empty.
    """
    pairs = sorted((int(bound), int(count)) for bound, count in histogram)
    total = sum(count for _, count in pairs)
    found: list[float | None] = []
    for share in shares:
        rank, below, lower = share * total, 0, 0
        value: float | None = None
        for bound, count in pairs:
            if count and below + count >= rank:
                value = None if bound == NO_BOUND else lower + (bound - lower) * (rank - below) / count
                break
            below, lower = below + count, bound
        found.append(value)
    return found


def milliseconds(quantiles: Sequence[float | None]) -> Sequence[float | None]:
    """Microseconds as milliseconds with six places, what is not known left as it is."""
    return [None if quantile is None else round(quantile / 1000, 6) for quantile in quantiles]
